output "account" {
  description = "The account that the workflow runs as: a check of your own must let it in (roles/run.invoker)."
  value       = module.account.email
}

output "dead_letter_subscription" {
  description = "The full name of the subscription with what no webhook took; empty without webhooks."
  value       = module.subscribers.dead_letter_subscription
}

output "grants" {
  description = "Who holds which role on what, and because of what."
  value = concat(
    values(local.results_grants),
    module.published.grants,
    [local.announces],
    module.subscribers.grants,
    module.account.grants,
  )
}

# Known once files are published into it.
output "published_bucket" {
  description = "Where published files, requests, decisions and records are."
  value       = module.published.name
  depends_on  = [google_pubsub_subscription.starter]
}

output "subscriptions" {
  description = "The full name of each subscriber's subscription."
  value       = module.subscribers.subscriptions
}

output "topic" {
  description = "The full name of the topic that requests and ends are announced on."
  value       = google_pubsub_topic.this.id
  depends_on  = [google_storage_notification.record]
}

output "workflow" {
  description = "The full name of the workflow, whose executions the operator's tool answers."
  value       = google_workflows_workflow.this.id
}
