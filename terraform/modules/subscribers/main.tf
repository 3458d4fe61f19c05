# topic → one subscription for each subscriber, pushed or pulled; what a webhook never takes → dead letters.

data "google_project" "this" {
  project_id = var.project_id
}

locals {
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"

  # The attribute status of the topic's messages.
  statuses = {
    approvals   = ["published", "rejected", "waiting"]
    completions = ["done", "failed"]
    observers   = []
  }

  pushed = { for key, it in var.subscribers : key => it if it.push_url != "" }
  pulled = { for key, it in var.subscribers : key => it if it.push_url == "" }

  dead_letters_grants = { for key, it in google_pubsub_topic.dead_letters : key => {
    because  = "keeps what no webhook took"
    member   = local.pubsub_agent
    resource = "projects/${var.project_id}/topics/${it.name}"
    role     = "roles/pubsub.publisher"
  } }
  subscription_grants = { for key, it in var.subscribers : key => {
    because  = it.push_url == "" ? "takes what it is told off its subscription" : "takes what the webhook did not take off the subscription"
    member   = it.push_url == "" ? it.reader : local.pubsub_agent
    resource = "projects/${var.project_id}/subscriptions/${google_pubsub_subscription.subscriber[key].name}"
    role     = "roles/pubsub.subscriber"
  } }
  reader_grants = { for reader in toset([for it in values(var.subscribers) : it.reader if it.reader != ""]) : reader => {
    because  = "reads the files that it is told of"
    member   = reader
    resource = "projects/_/buckets/${var.bucket}"
    role     = "roles/storage.objectViewer"
  } }

  # Whoever redrives a dead letter publishes it again with the subscriber's name: the others hear
  # nothing of it.
  filters = { for key, it in var.subscribers : key => join(" AND ", compact([
    it.only == "" ? "" : "attributes.status = \"${it.only}\"",
    "(NOT attributes:subscriber OR attributes.subscriber = \"${key}\")",
  ])) }
}

# The account in whose name one webhook is called: its token is the webhook's proof of the sender.
module "account" {
  source   = "../service_account"
  for_each = local.pushed

  project_id   = var.project_id
  account_id   = "${var.name}-${local.kinds[var.role].short}-${each.key}"
  display_name = "${var.name}: ${var.role} for ${each.key}"
  description  = "Pub/Sub calls the webhook ${each.key} in this account's name. Holds no role."
  deployer     = var.deployer
}

resource "google_pubsub_subscription" "subscriber" {
  #checkov:skip=CKV2_FILES_1:its blocks are dynamic, which the check cannot read; tests/terraform/test_subscribers.py holds both
  for_each = var.subscribers

  project         = var.project_id
  name            = "${var.name}-${var.role}-${each.key}"
  topic           = var.topic
  deletion_policy = var.deletion_policy
  filter          = local.filters[each.key]

  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  dynamic "push_config" {
    for_each = each.value.push_url == "" ? [] : [each.value]
    content {
      push_endpoint = push_config.value.push_url
      attributes    = {}

      oidc_token {
        service_account_email = module.account[each.key].email
        audience              = push_config.value.audience == "" ? push_config.value.push_url : push_config.value.audience
      }
    }
  }

  # As for the bridge: 10 s to 600 s and 100 deliveries are about 16 hours.
  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  # A consumer that pulls is asked for nothing: what it does not take waits for it.
  dynamic "dead_letter_policy" {
    for_each = each.value.push_url == "" ? [] : [each.value]
    content {
      dead_letter_topic     = google_pubsub_topic.dead_letters["this"].id
      max_delivery_attempts = 100
    }
  }

  expiration_policy {
    ttl = ""
  }

  # A dead letter published before its subscription exists would be lost.
  depends_on = [google_pubsub_subscription.dead_letters]
}

resource "google_pubsub_topic" "dead_letters" {
  for_each = toset(length(local.pushed) == 0 ? [] : ["this"])

  project         = var.project_id
  name            = "${var.name}-${var.role}-dead-letters"
  deletion_policy = var.deletion_policy
  kms_key_name    = var.kms_key_name == "" ? null : var.kms_key_name
}

resource "google_pubsub_subscription" "dead_letters" {
  for_each = google_pubsub_topic.dead_letters

  project         = var.project_id
  name            = each.value.name
  topic           = each.value.id
  deletion_policy = var.deletion_policy

  ack_deadline_seconds       = 60
  message_retention_duration = "2678400s"

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic_iam_member" "pubsub_publishes_dead_letters" {
  for_each = google_pubsub_topic.dead_letters

  project = var.project_id
  topic   = each.value.name
  role    = local.dead_letters_grants[each.key].role
  member  = local.dead_letters_grants[each.key].member

  # The agent appears when the project first uses Pub/Sub.
  depends_on = [google_pubsub_subscription.dead_letters]
}

resource "google_pubsub_subscription_iam_member" "pubsub_takes_dead_letters" {
  for_each = local.pushed

  project      = var.project_id
  subscription = google_pubsub_subscription.subscriber[each.key].name
  role         = local.subscription_grants[each.key].role
  member       = local.subscription_grants[each.key].member
}

resource "google_pubsub_subscription_iam_member" "consumer" {
  for_each = local.pulled

  project      = var.project_id
  subscription = google_pubsub_subscription.subscriber[each.key].name
  role         = local.subscription_grants[each.key].role
  member       = local.subscription_grants[each.key].member
}

resource "google_storage_bucket_iam_member" "reader" {
  for_each = local.reader_grants

  bucket = var.bucket
  role   = each.value.role
  member = each.value.member
}
