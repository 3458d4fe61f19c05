# uploads topic → observers, beside the bridge: each upload is told to all of them.

module "subscribers" {
  source = "../modules/subscribers"

  project_id      = var.pipeline.project_id
  name            = var.pipeline.name
  role            = "observers"
  topic           = var.pipeline.topics.uploads
  bucket          = var.pipeline.buckets.uploads
  deletion_policy = var.pipeline.policy.deletion_policy
  deployer        = var.pipeline.deployer
  kms_key_name    = var.pipeline.policy.kms_key_name
  monitoring      = merge(var.pipeline.monitoring, { environment = var.pipeline.environment })
  subscribers     = var.subscribers
}
