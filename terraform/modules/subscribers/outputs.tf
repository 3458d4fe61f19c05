output "accounts" {
  description = "The account that calls each webhook: the email that its receiver checks tokens for."
  value       = { for key, account in module.account : key => account.email }
}

output "dead_letter_subscription" {
  description = "The full name of the subscription with what no webhook took; empty without webhooks."
  value       = join("", [for it in google_pubsub_subscription.dead_letters : it.id])
  depends_on  = [google_pubsub_topic_iam_member.pubsub_publishes_dead_letters, google_pubsub_subscription_iam_member.pubsub_takes_dead_letters]
}

output "grants" {
  description = "Who holds which role on what here, and because of what."
  value = concat(
    values(local.dead_letters_grants),
    values(local.subscription_grants),
    values(local.reader_grants),
    flatten([for account in values(module.account) : account.grants]),
  )
}

output "subscriptions" {
  description = "The full name of each subscriber's subscription."
  value       = { for key, it in google_pubsub_subscription.subscriber : key => it.id }
  depends_on  = [google_pubsub_subscription_iam_member.consumer, google_pubsub_subscription_iam_member.pubsub_takes_dead_letters]
}
