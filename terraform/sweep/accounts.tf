module "account" {
  source = "../modules/service_account"

  project_id   = var.pipeline.project_id
  account_id   = local.name
  display_name = "${var.pipeline.name}: sweep"
  description  = "The sweep runs as this account. May read uploads and records, and put tasks into the queues."
  deployer     = var.pipeline.deployer
}

module "invoker_account" {
  source = "../modules/service_account"

  project_id   = var.pipeline.project_id
  account_id   = "${local.name}-invoker"
  display_name = "${var.pipeline.name}: the schedule calls the sweep"
  description  = "Cloud Scheduler calls the sweep in this account's name. May invoke it, nothing else."
  deployer     = var.pipeline.deployer
}

locals {
  pipeline_grants = {
    hands_tasks_to_their_invoker = {
      because  = "a task may carry an account's name only if whoever makes it may act as that account"
      member   = module.account.member
      resource = "projects/${var.pipeline.project_id}/serviceAccounts/${var.pipeline.accounts.tasks_invoker}"
      role     = "roles/iam.serviceAccountUser"
    }
    lists_uploads = {
      because  = "lists the uploads, every generation"
      member   = module.account.member
      resource = "projects/_/buckets/${var.pipeline.buckets.uploads}"
      role     = "roles/storage.objectViewer"
    }
    reads_records = {
      because  = "lists the records, and reads of a failure whether a retry can help"
      member   = module.account.member
      resource = "projects/_/buckets/${var.pipeline.buckets.results}"
      role     = "roles/storage.objectViewer"
    }
  }

  # On each queue.
  queue_grants = {
    enqueues       = { because = "creates the task of what has none", role = "roles/cloudtasks.enqueuer" }
    looks_tasks_up = { because = "tells a task that waits from a name that is only blocked", role = "roles/cloudtasks.viewer" }
  }
}

resource "google_storage_bucket_iam_member" "lists_uploads" {
  bucket = var.pipeline.buckets.uploads
  role   = local.pipeline_grants.lists_uploads.role
  member = local.pipeline_grants.lists_uploads.member
}

resource "google_storage_bucket_iam_member" "reads_records" {
  bucket = var.pipeline.buckets.results
  role   = local.pipeline_grants.reads_records.role
  member = local.pipeline_grants.reads_records.member
}

resource "google_cloud_tasks_queue_iam_member" "enqueues" {
  for_each = var.pipeline.queues

  name     = each.value
  location = var.pipeline.region
  project  = var.pipeline.project_id
  role     = local.queue_grants.enqueues.role
  member   = module.account.member
}

resource "google_cloud_tasks_queue_iam_member" "looks_tasks_up" {
  for_each = var.pipeline.queues

  name     = each.value
  location = var.pipeline.region
  project  = var.pipeline.project_id
  role     = local.queue_grants.looks_tasks_up.role
  member   = module.account.member
}

resource "google_service_account_iam_member" "hands_tasks_to_their_invoker" {
  service_account_id = local.pipeline_grants.hands_tasks_to_their_invoker.resource
  role               = local.pipeline_grants.hands_tasks_to_their_invoker.role
  member             = local.pipeline_grants.hands_tasks_to_their_invoker.member
}
