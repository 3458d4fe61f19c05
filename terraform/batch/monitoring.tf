# What an engineer on call sees of batch.

locals {
  subscriptions = join("|", [for it in values(google_pubsub_subscription.worker) : it.name])
  dead          = join("|", [for it in values(google_pubsub_subscription.dead_letters) : it.name])
  jobs          = join("|", concat([for it in values(module.worker) : it.name], [module.sweep.name]))
  of_work       = "monitored_resource=\"pubsub_subscription\",subscription_id=~\"${local.subscriptions}\""
  of_dead       = "monitored_resource=\"pubsub_subscription\",subscription_id=~\"${local.dead}\""
  of_jobs       = "monitored_resource=\"cloud_run_job\",job_name=~\"${local.jobs}\""

  # A visible message waits a window and a start; after a killed worker, its lease and the clock.
  patience_seconds = 600 + var.clock_minutes * 60 + max([for it in values(var.priorities) : it.task_seconds]...)

  alerts = {
    batch_backlog = {
      severity = "ERROR"
      title    = "Submitted tasks are waiting"
      means    = "The oldest task has waited longer than a killed worker's lease, the clock and a task's own time explain. Nothing is lost for 7 days."
      first    = "gcloud run jobs executions list --region ${var.pipeline.region} --project ${var.pipeline.project_id}"
      query    = "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.of_work}}) > ${local.patience_seconds}"
      duration = 300
    }
    batch_dead_letters = {
      severity = "CRITICAL"
      title    = "Tasks were set aside"
      means    = "A task was delivered 5 times and no worker ended it. The next execution gives it its outcome, failed with deliveries_exhausted."
      first    = "make ops ENV=${var.pipeline.environment} PROJECT=${var.pipeline.project_id} ARGS=\"tasks list --status failed\""
      query    = "sum(increase(pubsub_googleapis_com:subscription_dead_letter_message_count{${local.of_work}}[10m])) > 0"
      duration = 0
    }
    batch_executions_failed = {
      severity = "ERROR"
      title    = "Executions of a worker fail"
      means    = "A worker ended with an error after all its retries. Its tasks come back when their leases are over."
      first    = "gcloud run jobs executions list --region ${var.pipeline.region} --project ${var.pipeline.project_id}"
      query    = "sum(increase(run_googleapis_com:job_completed_execution_count{${local.of_jobs},result=\"failed\"}[1h])) > 2"
      duration = 0
    }
  }
}

module "alerts" {
  source = "../modules/alerts"
  count  = var.pipeline.monitoring.enabled ? 1 : 0

  project_id            = var.pipeline.project_id
  name_prefix           = var.pipeline.name
  notification_channels = var.pipeline.monitoring.notification_channels
  runbook_url           = var.pipeline.monitoring.runbook_url
  alerts                = local.alerts
}

module "dashboard" {
  source = "../modules/dashboard"
  count  = var.pipeline.monitoring.enabled ? 1 : 0

  project_id = var.pipeline.project_id
  title      = "${var.pipeline.name}: batch"

  rows = [
    { title = "Tasks", tiles = [
      { title = "Waiting", unit = "1", queries = { "$${labels.subscription_id}" = "sum by (subscription_id) (pubsub_googleapis_com:subscription_num_undelivered_messages{${local.of_work}})" } },
      { title = "Oldest waiting", unit = "s", queries = { "$${labels.subscription_id}" = "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.of_work}})" } },
      { title = "Set aside", unit = "1", queries = { "$${labels.subscription_id}" = "sum by (subscription_id) (pubsub_googleapis_com:subscription_num_undelivered_messages{${local.of_dead}})" } },
    ] },
    { title = "Workers", tiles = [
      { title = "Executions that run", unit = "1", queries = { "$${labels.job_name}" = "sum by (job_name) (run_googleapis_com:job_running_executions{${local.of_jobs}})" } },
      { title = "Executions by result", unit = "1", queries = { "$${labels.result}" = "sum by (result) (increase(run_googleapis_com:job_completed_execution_count{${local.of_jobs}}[5m]))" } },
    ] },
  ]
}
