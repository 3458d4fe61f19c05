output "dead_letter_subscription" {
  description = "The full name of the subscription that holds undelivered events."
  value       = google_pubsub_subscription.dead_letters.id
  depends_on = [
    google_pubsub_subscription_iam_member.pubsub_takes_dead_letters,
    google_pubsub_topic_iam_member.pubsub_publishes_dead_letters,
  ]
}

output "subscription" {
  description = "The full name of the push subscription."
  value       = google_pubsub_subscription.bridge.id
  depends_on  = [google_pubsub_subscription_iam_member.pubsub_takes_dead_letters]
}

output "topic" {
  description = "The full name of the topic that uploads are announced on, known once they are."
  value       = google_pubsub_topic.uploads.id
  depends_on  = [google_storage_notification.uploads]
}
