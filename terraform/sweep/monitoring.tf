locals {
  metric_prefix = replace(local.name, "-", "_")
  of_sweep      = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${local.name}\""
  metric        = "logging_googleapis_com:user_${local.metric_prefix}_%s{monitored_resource=\"cloud_run_revision\"}"
  monitored     = toset(var.pipeline.monitoring.enabled ? ["this"] : [])

  counters = {
    late     = "Files that were due more than an hour ago and whose tasks are not dispatched, each time one is looked at."
    restored = "Uploads that had neither a record nor a task and were given one."
    swept    = "Calls of the sweep that came to their end."
  }

  alerts = {
    swept_files = {
      severity = "ERROR"
      title    = "The sweep found lost uploads"
      means    = "At least one upload had neither a record nor a task: a task was deleted, purged or given up, or an event was lost. It has a task again; what lost it has not been found by that."
      first    = "make logs ENV=${var.pipeline.environment} PROJECT=${var.pipeline.project_id} EVENT=restored"
      # One is one file too many.
      query    = "sum(increase(${format(local.metric, "restored")}[15m])) > 0"
      duration = 0
    }
    swept_late = {
      severity = "WARNING"
      title    = "A delayed file is late"
      means    = "At least one file was due more than an hour ago (delay_seconds, process-after), and its queue, <lane>-later, does not dispatch its task: it is paused, or far behind."
      first    = "make ops ENV=${var.pipeline.environment} PROJECT=${var.pipeline.project_id} ARGS=doctor"
      # Each call looks at it again.
      query    = "sum(increase(${format(local.metric, "late")}[30m])) > 0"
      duration = 0
    }
    sweep_silent = {
      severity = "WARNING"
      title    = "The sweep does not run"
      means    = "No call of the sweep has come to its end for ${var.silent_minutes} minutes: what is lost is not found."
      first    = "make ops ENV=${var.pipeline.environment} PROJECT=${var.pipeline.project_id} ARGS=doctor"
      query    = "(sum(increase(${format(local.metric, "swept")}[${var.silent_minutes}m])) or vector(0)) < 1"
      # Longer than from an apply to the first call.
      duration = 1800
    }
  }
}

resource "google_logging_metric" "counter" {
  for_each = var.pipeline.monitoring.enabled ? local.counters : {}

  project     = var.pipeline.project_id
  name        = "${local.metric_prefix}_${each.key}"
  description = each.value
  filter      = "${local.of_sweep} AND jsonPayload.event=\"${each.key}\""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

module "alerts" {
  source   = "../modules/alerts"
  for_each = local.monitored

  project_id            = var.pipeline.project_id
  name_prefix           = var.pipeline.name
  alerts                = var.paused ? { for key, alert in local.alerts : key => alert if key != "sweep_silent" } : local.alerts
  notification_channels = var.pipeline.monitoring.notification_channels
  runbook_url           = var.pipeline.monitoring.runbook_url

  depends_on = [google_logging_metric.counter]
}

module "dashboard" {
  source   = "../modules/dashboard"
  for_each = local.monitored

  project_id = var.pipeline.project_id
  title      = "${var.pipeline.name}: sweep"

  rows = [{ title = "Sweep", tiles = [
    { title = "Calls", unit = "1", queries = { "" = "sum(increase(${format(local.metric, "swept")}[15m]))" } },
    { title = "Lost uploads found", unit = "1", queries = { "" = "sum(increase(${format(local.metric, "restored")}[15m]))" } },
    { title = "Delayed files that are late", unit = "1", queries = { "" = "sum(increase(${format(local.metric, "late")}[15m]))" } },
    { title = "Latency, 95 %", unit = "ms", queries = { "" = "histogram_quantile(0.95, sum by (le) (increase(run_googleapis_com:request_latencies_bucket{monitored_resource=\"cloud_run_revision\",service_name=\"${local.name}\"}[15m])))" } },
  ] }]
}
