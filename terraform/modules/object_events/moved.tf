# Until November 2026 these were called as the pipeline calls them.

moved {
  from = google_pubsub_topic.uploads
  to   = google_pubsub_topic.this
}

moved {
  from = google_pubsub_topic_iam_member.storage_publishes_uploads
  to   = google_pubsub_topic_iam_member.publisher
}

moved {
  from = google_storage_notification.uploads
  to   = google_storage_notification.this
}

moved {
  from = google_pubsub_subscription.bridge
  to   = google_pubsub_subscription.push
}

moved {
  from = google_pubsub_topic_iam_member.pubsub_publishes_dead_letters
  to   = google_pubsub_topic_iam_member.dead_letters_publisher
}

moved {
  from = google_pubsub_subscription_iam_member.pubsub_takes_dead_letters
  to   = google_pubsub_subscription_iam_member.dead_letters_subscriber
}
