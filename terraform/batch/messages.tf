# One topic and one pull subscription for each priority, so that nothing urgent waits behind the rest.

data "google_project" "this" {
  project_id = var.pipeline.project_id
}

locals {
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"

  sets_aside = { for key in keys(var.priorities) : key => {
    because = "keeps tasks that could not be delivered"
    member  = local.pubsub_agent
    role    = "roles/pubsub.publisher"
    topic   = google_pubsub_topic.dead_letters[key].name
  } }
  takes_off = { for key in keys(var.priorities) : key => {
    because      = "takes those tasks off the subscription"
    member       = local.pubsub_agent
    role         = "roles/pubsub.subscriber"
    subscription = google_pubsub_subscription.worker[key].name
  } }
}

resource "google_pubsub_topic" "tasks" {
  for_each = var.priorities

  project         = var.pipeline.project_id
  name            = "${var.pipeline.name}-tasks-${each.key}"
  deletion_policy = var.pipeline.policy.deletion_policy
  kms_key_name    = var.pipeline.policy.kms_key_name == "" ? null : var.pipeline.policy.kms_key_name
}

resource "google_pubsub_subscription" "worker" {
  for_each = var.priorities

  project         = var.pipeline.project_id
  name            = "${var.pipeline.name}-worker-${each.key}"
  topic           = google_pubsub_topic.tasks[each.key].id
  deletion_policy = var.pipeline.policy.deletion_policy

  # The recipe's: 600 s to work, 7 days to wait, 5 deliveries. The worker renews what it holds.
  ack_deadline_seconds       = 600
  message_retention_duration = "604800s"

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters[each.key].id
    max_delivery_attempts = 5
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  expiration_policy {
    ttl = ""
  }

  # A dead letter published before its subscription exists would be lost.
  depends_on = [google_pubsub_subscription.dead_letters]
}

resource "google_pubsub_topic" "dead_letters" {
  for_each = var.priorities

  project         = var.pipeline.project_id
  name            = "${var.pipeline.name}-tasks-${each.key}-dead"
  deletion_policy = var.pipeline.policy.deletion_policy
  kms_key_name    = var.pipeline.policy.kms_key_name == "" ? null : var.pipeline.policy.kms_key_name
}

resource "google_pubsub_subscription" "dead_letters" {
  for_each = var.priorities

  project         = var.pipeline.project_id
  name            = "${var.pipeline.name}-tasks-${each.key}-dead"
  topic           = google_pubsub_topic.dead_letters[each.key].id
  deletion_policy = var.pipeline.policy.deletion_policy

  ack_deadline_seconds       = 60
  message_retention_duration = "2678400s"

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic_iam_member" "pubsub_publishes_dead_letters" {
  for_each = local.sets_aside

  project = var.pipeline.project_id
  topic   = each.value.topic
  role    = each.value.role
  member  = each.value.member

  # The agent appears when the project first uses Pub/Sub.
  depends_on = [google_pubsub_subscription.dead_letters]
}

resource "google_pubsub_subscription_iam_member" "pubsub_takes_dead_letters" {
  for_each = local.takes_off

  project      = var.pipeline.project_id
  subscription = each.value.subscription
  role         = each.value.role
  member       = each.value.member
}
