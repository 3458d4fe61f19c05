# One account for each function. The deployer hands them over, and so acts as them.

module "upload_account" {
  source = "../modules/service_account"

  project_id   = var.pipeline.project_id
  account_id   = "${var.pipeline.name}-upload"
  display_name = "${var.pipeline.name}: upload"
  description  = "The upload service runs as this account. May create objects in the portal's folders of the uploads bucket, nothing else."
  deployer     = var.pipeline.deployer
}

module "status_account" {
  source = "../modules/service_account"

  project_id   = var.pipeline.project_id
  account_id   = "${var.pipeline.name}-status"
  display_name = "${var.pipeline.name}: status"
  description  = "The status service runs as this account. May read results, and sign in its own name."
  deployer     = var.pipeline.deployer
}
