module "account" {
  source = "../modules/service_account"

  project_id   = var.pipeline.project_id
  account_id   = local.name
  display_name = "${var.pipeline.name}: sweep"
  description  = "The sweep runs as this account. May read uploads and records, and put tasks into the queues."
  iam_members  = local.deployer_acts_as
}

module "invoker_account" {
  source = "../modules/service_account"

  project_id   = var.pipeline.project_id
  account_id   = "${local.name}-invoker"
  display_name = "${var.pipeline.name}: the schedule calls the sweep"
  description  = "Cloud Scheduler calls the sweep in this account's name. May invoke it, nothing else."
  iam_members  = local.deployer_acts_as
}

# Lists the uploads, every generation.
resource "google_storage_bucket_iam_member" "lists_uploads" {
  bucket = var.pipeline.buckets.uploads
  role   = "roles/storage.objectViewer"
  member = module.account.member
}

# Lists the records, and reads of a failure whether a retry can help.
resource "google_storage_bucket_iam_member" "reads_records" {
  bucket = var.pipeline.buckets.results
  role   = "roles/storage.objectViewer"
  member = module.account.member
}

# Makes the task of what has none.
resource "google_cloud_tasks_queue_iam_member" "enqueues" {
  for_each = var.pipeline.queues

  name     = each.value
  location = var.pipeline.region
  project  = var.pipeline.project_id
  role     = "roles/cloudtasks.enqueuer"
  member   = module.account.member
}

# Tells a task that waits from a name that is only blocked.
resource "google_cloud_tasks_queue_iam_member" "looks_tasks_up" {
  for_each = var.pipeline.queues

  name     = each.value
  location = var.pipeline.region
  project  = var.pipeline.project_id
  role     = "roles/cloudtasks.viewer"
  member   = module.account.member
}

# A task may carry an account's name only if whoever makes it may act as that account.
resource "google_service_account_iam_member" "hands_tasks_to_their_invoker" {
  service_account_id = "projects/${var.pipeline.project_id}/serviceAccounts/${var.pipeline.accounts.tasks_invoker}"
  role               = "roles/iam.serviceAccountUser"
  member             = module.account.member
}
