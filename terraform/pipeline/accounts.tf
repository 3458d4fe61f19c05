# One account for each part, so that each can be granted exactly what it needs. The deployer acts
# as those that it hands to a function or a subscription.

module "events_invoker" {
  source = "../modules/service_account"

  project_id   = var.project_id
  account_id   = "${local.name}-events-invoker"
  display_name = "${local.name}: events call the bridge"
  description  = "Pub/Sub pushes upload events to the bridge in this account's name. May invoke the bridge, nothing else."
  deployer     = var.deployer
}

module "bridge_account" {
  source = "../modules/service_account"

  project_id   = var.project_id
  account_id   = "${local.name}-bridge"
  display_name = "${local.name}: bridge"
  description  = "The bridge runs as this account. May put tasks into the queues, in the name of the tasks' invoker."
  deployer     = var.deployer
}

module "tasks_invoker" {
  source = "../modules/service_account"

  project_id   = var.project_id
  account_id   = "${local.name}-tasks-invoker"
  display_name = "${local.name}: tasks call the processor"
  description  = "Cloud Tasks calls the processors in this account's name. May invoke them, nothing else."
  iam_members = {
    bridge = {
      because = "a task may carry an account's name only if whoever makes it may act as that account"
      member  = module.bridge_account.member
      role    = "roles/iam.serviceAccountUser"
    }
  }
}

module "processor_account" {
  source = "../modules/service_account"

  project_id   = var.project_id
  account_id   = "${local.name}-processor"
  display_name = "${local.name}: processor"
  description  = "The processors run as this account. May read uploads and create results."
  deployer     = var.deployer
}
