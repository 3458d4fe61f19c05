output "dead_letter_subscription" {
  description = "The full name of the subscription that holds undelivered events."
  value       = google_pubsub_subscription.dead_letters.id
  depends_on = [
    google_pubsub_subscription_iam_member.dead_letters_subscriber,
    google_pubsub_topic_iam_member.dead_letters_publisher,
  ]
}

output "grants" {
  description = "Who holds which role on what here, and because of what."
  value       = [local.grants.publisher, local.grants.dead_letters_publisher, local.grants.dead_letters_subscriber]
}

output "subscription" {
  description = "The full name of the push subscription."
  value       = google_pubsub_subscription.push.id
  depends_on  = [google_pubsub_subscription_iam_member.dead_letters_subscriber]
}

output "topic" {
  description = "The full name of the topic that objects are announced on, known once they are."
  value       = google_pubsub_topic.this.id
  depends_on  = [google_storage_notification.this]
}
