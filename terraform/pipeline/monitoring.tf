# What an engineer on call sees. It watches names only: nothing of the pipeline depends on it.

module "monitoring" {
  source = "../modules/monitoring"
  count  = var.monitoring.enabled ? 1 : 0

  project_id            = var.project_id
  environment           = var.environment
  name_prefix           = local.name
  notification_channels = var.monitoring.notification_channels
  runbook_url           = var.monitoring.runbook_url
  shares                = var.monitoring.shares

  events = {
    bridge                   = module.bridge.name
    dead_letter_subscription = module.object_events.dead_letter_subscription
    subscription             = module.object_events.subscription
    topic                    = module.object_events.topic
  }

  lanes = { for lane, settings in var.lanes : lane => {
    max_backoff_seconds = settings.queue.max_backoff_seconds
    later               = contains(keys(local.later_lanes), lane) ? module.queue_later[lane].id : ""
    queue               = module.queue[lane].id
    retry_days          = var.retry_days
    service             = settings.target == null ? module.processor[lane].name : ""
    work_seconds        = settings.processor.work_seconds
  } }

  objective = {
    days    = var.monitoring.objective_days
    goal    = var.monitoring.objective_goal
    seconds = var.monitoring.objective_seconds
  }
}
