locals {
  kinds = {
    completions = { short = "to", what = "a finished file" }
    observers   = { short = "ob", what = "an upload" }
  }

  of = "monitored_resource=\"pubsub_subscription\",subscription_id=~\"${var.name}-${var.role}-(%s)\""

  alerts = merge(
    length(local.pushed) == 0 ? {} : {
      "${var.role}_dead_letters" = {
        severity = "ERROR"
        title    = "A webhook was not told"
        means    = "At least one message about ${local.kinds[var.role].what} was set aside: a webhook of ${var.role} took it in none of 100 deliveries. It waits for 31 days to be redriven."
        first    = "make ops ENV=${var.monitoring.environment} PROJECT=${var.project_id} ARGS=\"redrive --subscribers ${var.role}\""
        # One is one message too many.
        query    = "max(pubsub_googleapis_com:subscription_num_undelivered_messages{${format(local.of, "dead-letters")}}) > 0"
        duration = 0
      }
    },
    length(var.subscribers) == 0 ? {} : {
      "${var.role}_waiting" = {
        severity = "WARNING"
        title    = "A subscriber does not listen"
        means    = "A message about ${local.kinds[var.role].what} has waited for an hour for a webhook, or for a day for a consumer that pulls: away, refusing, or slower than files are finished. After 16 hours a webhook's messages become dead letters; after 7 days a consumer's are gone."
        first    = "make ops ENV=${var.monitoring.environment} PROJECT=${var.project_id} ARGS=doctor"
        query = join(" or ", [for bound, keys in { 3600 = keys(local.pushed), 86400 = keys(local.pulled) } :
          "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age{${format(local.of, join("|", keys))}}) > ${bound}"
          if length(keys) > 0
        ])
        duration = 60
      }
    },
  )
}

module "alerts" {
  source = "../alerts"
  count  = var.monitoring.enabled ? 1 : 0

  project_id            = var.project_id
  name_prefix           = var.name
  alerts                = local.alerts
  notification_channels = var.monitoring.notification_channels
  runbook_url           = var.monitoring.runbook_url
}
