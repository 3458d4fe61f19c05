# What is published, every decision and the records: a bucket of its own, since whoever may create in
# the results bucket could forge a manifest. Its topic tells who is asked and how each file ended.

module "account" {
  source = "../modules/service_account"

  project_id   = var.pipeline.project_id
  account_id   = local.name
  display_name = "${var.pipeline.name}: approvals"
  description  = "The workflow runs as this account. May read results, and create in the published bucket. May replace nothing, and read no upload."
  deployer     = var.pipeline.deployer
}

module "published" {
  source = "../modules/bucket"

  project_id      = var.pipeline.project_id
  name            = "${var.pipeline.project_id}-${var.pipeline.name}-published"
  location        = var.pipeline.region
  deletion_policy = var.pipeline.policy.deletion_policy
  force_destroy   = var.pipeline.policy.force_destroy
  kms_key_name    = var.pipeline.policy.kms_key_name
  retention       = var.published_retention

  iam_members = merge(
    {
      reads = {
        because = "finds what was decided before"
        member  = module.account.member
        role    = "roles/storage.objectViewer"
      }
      writes = {
        because = "publishes, asks, and keeps decisions and records; may replace none"
        member  = module.account.member
        role    = "roles/storage.objectCreator"
      }
    },
    { for member in var.approvers : "approver ${member}" => {
      because = "sees what is asked and what was decided"
      member  = member
      role    = "roles/storage.objectViewer"
    } },
  )
}

locals {
  results_grants = merge(
    {
      workflow = {
        because  = "reads manifests, and copies from there what is published"
        member   = module.account.member
        resource = "projects/_/buckets/${var.pipeline.buckets.results}"
        role     = "roles/storage.objectViewer"
      }
    },
    { for member in var.approvers : "approver ${member}" => {
      because  = "looks at what is to be decided about"
      member   = member
      resource = "projects/_/buckets/${var.pipeline.buckets.results}"
      role     = "roles/storage.objectViewer"
    } },
  )

  announces = {
    because  = "announces who is asked, and how each file ended"
    member   = "serviceAccount:${data.google_storage_project_service_account.this.email_address}"
    resource = "projects/${var.pipeline.project_id}/topics/${google_pubsub_topic.this.name}"
    role     = "roles/pubsub.publisher"
  }

  # Prefix of the published bucket's records → the attribute status of their messages.
  kinds = { published = "published/", rejected = "rejected/", waiting = "requests/" }
}

resource "google_storage_bucket_iam_member" "results" {
  for_each = local.results_grants

  bucket = var.pipeline.buckets.results
  role   = each.value.role
  member = each.value.member
}

# Cloud Storage's agent does not exist with the project: reading it makes sure that it does.
data "google_storage_project_service_account" "this" {
  project = var.pipeline.project_id
}

resource "google_pubsub_topic" "this" {
  project         = var.pipeline.project_id
  name            = local.name
  deletion_policy = var.pipeline.policy.deletion_policy
  kms_key_name    = var.pipeline.policy.kms_key_name == "" ? null : var.pipeline.policy.kms_key_name
}

resource "google_pubsub_topic_iam_member" "storage_publishes_approvals" {
  project = var.pipeline.project_id
  topic   = google_pubsub_topic.this.name
  role    = local.announces.role
  member  = local.announces.member
}

# The subscriptions come first, since a topic without one drops its messages.
resource "google_storage_notification" "record" {
  for_each = local.kinds

  bucket             = module.published.name
  topic              = google_pubsub_topic.this.id
  custom_attributes  = { status = each.key }
  event_types        = ["OBJECT_FINALIZE"]
  object_name_prefix = each.value
  payload_format     = "JSON_API_V1"

  depends_on = [google_pubsub_topic_iam_member.storage_publishes_approvals, module.subscribers]
}

module "subscribers" {
  source = "../modules/subscribers"

  project_id      = var.pipeline.project_id
  name            = var.pipeline.name
  role            = "approvals"
  topic           = google_pubsub_topic.this.id
  bucket          = module.published.name
  deletion_policy = var.pipeline.policy.deletion_policy
  deployer        = var.pipeline.deployer
  kms_key_name    = var.pipeline.policy.kms_key_name
  monitoring      = merge(var.pipeline.monitoring, { environment = var.pipeline.environment })
  subscribers     = var.subscribers
}
