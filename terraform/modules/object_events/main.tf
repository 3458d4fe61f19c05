# bucket → topic → push to an address; what stays undelivered → dead letters.

data "google_project" "this" {
  project_id = var.project_id
}

# Cloud Storage's agent does not exist with the project: reading it makes sure that it does.
data "google_storage_project_service_account" "this" {
  project = var.project_id
}

locals {
  pubsub_agent  = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
  storage_agent = "serviceAccount:${data.google_storage_project_service_account.this.email_address}"

  # Nothing but Google's own agents holds a role here.
  grants = {
    publisher = {
      because  = "announces each finished object"
      member   = local.storage_agent
      resource = "projects/${var.project_id}/topics/${google_pubsub_topic.this.name}"
      role     = "roles/pubsub.publisher"
    }
    dead_letters_publisher = {
      because  = "keeps events that could not be delivered"
      member   = local.pubsub_agent
      resource = "projects/${var.project_id}/topics/${google_pubsub_topic.dead_letters.name}"
      role     = "roles/pubsub.publisher"
    }
    dead_letters_subscriber = {
      because  = "takes those events off the subscription"
      member   = local.pubsub_agent
      resource = "projects/${var.project_id}/subscriptions/${google_pubsub_subscription.push.name}"
      role     = "roles/pubsub.subscriber"
    }
  }
}

resource "google_pubsub_topic" "this" {
  project         = var.project_id
  name            = var.names.topic
  deletion_policy = var.deletion_policy
  kms_key_name    = var.kms_key_name == "" ? null : var.kms_key_name
}

resource "google_pubsub_topic_iam_member" "publisher" {
  project = var.project_id
  topic   = google_pubsub_topic.this.name
  role    = local.grants.publisher.role
  member  = local.grants.publisher.member
}

# The subscription comes first, since a topic without one drops its messages.
resource "google_storage_notification" "this" {
  bucket         = var.bucket
  topic          = google_pubsub_topic.this.id
  event_types    = ["OBJECT_FINALIZE"]
  payload_format = "JSON_API_V1"

  depends_on = [
    google_pubsub_subscription.push,
    google_pubsub_topic_iam_member.publisher,
  ]
}

resource "google_pubsub_subscription" "push" {
  project         = var.project_id
  name            = var.names.subscription
  topic           = google_pubsub_topic.this.id
  deletion_policy = var.deletion_policy

  ack_deadline_seconds       = var.delivery.ack_deadline_seconds
  message_retention_duration = "${var.delivery.retention_days * 86400}s"

  push_config {
    push_endpoint = var.url
    # Stated, or the provider fails over it when the address is only known during an apply.
    attributes = {}

    oidc_token {
      service_account_email = var.invoker_email
      audience              = var.url
    }
  }

  retry_policy {
    minimum_backoff = "${var.delivery.min_backoff_seconds}s"
    maximum_backoff = "${var.delivery.max_backoff_seconds}s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters.id
    max_delivery_attempts = var.delivery.max_attempts
  }

  # Never: otherwise a month without uploads deletes the subscription.
  expiration_policy {
    ttl = ""
  }

  # A dead letter published before its subscription exists would be lost.
  depends_on = [google_pubsub_subscription.dead_letters]
}

resource "google_pubsub_topic" "dead_letters" {
  project         = var.project_id
  name            = var.names.dead_letters
  deletion_policy = var.deletion_policy
  kms_key_name    = var.kms_key_name == "" ? null : var.kms_key_name
}

resource "google_pubsub_subscription" "dead_letters" {
  project         = var.project_id
  name            = var.names.dead_letters
  topic           = google_pubsub_topic.dead_letters.id
  deletion_policy = var.deletion_policy

  # As long for a person or a tool as the push has.
  ack_deadline_seconds       = 60
  message_retention_duration = "${var.dead_letter_retention_days * 86400}s"

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub's agent moves dead letters: it publishes them and takes them off the subscription. It
# appears when the project first uses Pub/Sub, so both bindings wait for a subscription.
resource "google_pubsub_topic_iam_member" "dead_letters_publisher" {
  project = var.project_id
  topic   = google_pubsub_topic.dead_letters.name
  role    = local.grants.dead_letters_publisher.role
  member  = local.grants.dead_letters_publisher.member

  depends_on = [google_pubsub_subscription.dead_letters]
}

resource "google_pubsub_subscription_iam_member" "dead_letters_subscriber" {
  project      = var.project_id
  subscription = google_pubsub_subscription.push.name
  role         = local.grants.dead_letters_subscriber.role
  member       = local.grants.dead_letters_subscriber.member
}
