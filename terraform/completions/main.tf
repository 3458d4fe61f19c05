# results bucket → topic → subscribers: each record that is written is told, done or failed.

locals {
  kinds = { done = "manifests/", failed = "failures/" }

  announces = {
    because  = "announces each record"
    member   = "serviceAccount:${data.google_storage_project_service_account.this.email_address}"
    resource = "projects/${var.pipeline.project_id}/topics/${google_pubsub_topic.this.name}"
    role     = "roles/pubsub.publisher"
  }
}

# Cloud Storage's agent does not exist with the project: reading it makes sure that it does.
data "google_storage_project_service_account" "this" {
  project = var.pipeline.project_id
}

resource "google_pubsub_topic" "this" {
  project         = var.pipeline.project_id
  name            = "${var.pipeline.name}-completions"
  deletion_policy = var.pipeline.policy.deletion_policy
  kms_key_name    = var.pipeline.policy.kms_key_name == "" ? null : var.pipeline.policy.kms_key_name
}

resource "google_pubsub_topic_iam_member" "storage_publishes_completions" {
  project = var.pipeline.project_id
  topic   = google_pubsub_topic.this.name
  role    = local.announces.role
  member  = local.announces.member
}

# The subscriptions come first, since a topic without one drops its messages.
resource "google_storage_notification" "record" {
  for_each = local.kinds

  bucket             = var.pipeline.buckets.results
  topic              = google_pubsub_topic.this.id
  custom_attributes  = { status = each.key }
  event_types        = ["OBJECT_FINALIZE"]
  object_name_prefix = each.value
  payload_format     = "JSON_API_V1"

  depends_on = [google_pubsub_topic_iam_member.storage_publishes_completions, module.subscribers]
}

module "subscribers" {
  source = "../modules/subscribers"

  project_id      = var.pipeline.project_id
  name            = var.pipeline.name
  role            = "completions"
  topic           = google_pubsub_topic.this.id
  bucket          = var.pipeline.buckets.results
  deletion_policy = var.pipeline.policy.deletion_policy
  deployer        = var.pipeline.deployer
  kms_key_name    = var.pipeline.policy.kms_key_name
  monitoring      = merge(var.pipeline.monitoring, { environment = var.pipeline.environment })
  subscribers     = var.subscribers
}
