output "accounts" {
  description = "The account that calls each webhook: the email that its receiver checks tokens for."
  value       = module.subscribers.accounts
}

output "dead_letter_subscription" {
  description = "The full name of the subscription with what no webhook took; empty without webhooks."
  value       = module.subscribers.dead_letter_subscription
}

output "grants" {
  description = "Who holds which role on what, and because of what."
  value       = concat([local.announces], module.subscribers.grants)
}

output "subscriptions" {
  description = "The full name of each subscriber's subscription."
  value       = module.subscribers.subscriptions
}

# Known once completions are announced.
output "topic" {
  description = "The full name of the topic that completions are announced on."
  value       = google_pubsub_topic.this.id
  depends_on  = [google_storage_notification.record]
}
