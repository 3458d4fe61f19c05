locals {
  kinds = {
    approvals   = { short = "ap", heading = "Who is told of approvals", what = "an approval" }
    completions = { short = "to", heading = "Who is told of finished files", what = "a finished file" }
    observers   = { short = "ob", heading = "Who is told of uploads", what = "an upload" }
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

locals {
  of_all  = format(local.of, join("|", keys(var.subscribers)))
  of_push = format(local.of, join("|", keys(local.pushed)))

  tiles = concat(
    [
      { title = "Oldest waiting message", unit = "s", queries = { "$${labels.subscription_id}" = "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.of_all}})" } },
      { title = "Messages waiting", unit = "1", queries = { "$${labels.subscription_id}" = "max by (subscription_id) (pubsub_googleapis_com:subscription_num_undelivered_messages{${local.of_all}})" } },
    ],
    length(local.pushed) == 0 ? [] : [
      { title = "Pushes by answer", unit = "1", queries = { "$${labels.subscription_id} $${labels.response_class}" = "sum by (subscription_id, response_class) (increase(pubsub_googleapis_com:subscription_push_request_count{${local.of_push}}[5m]))" } },
      { title = "Dead letters waiting", unit = "1", queries = { "" = "max(pubsub_googleapis_com:subscription_num_undelivered_messages{${format(local.of, "dead-letters")}})" } },
    ],
  )
}

module "dashboard" {
  source = "../dashboard"
  count  = var.monitoring.enabled && length(var.subscribers) > 0 ? 1 : 0

  project_id = var.project_id
  title      = "${var.name}: ${var.role}"
  rows       = [{ title = local.kinds[var.role].heading, tiles = local.tiles }]
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
