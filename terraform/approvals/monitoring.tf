locals {
  metric_prefix = replace(local.name, "-", "_")
  of_workflow   = "resource.type=\"workflows.googleapis.com/Workflow\" AND resource.labels.workflow_id=\"${local.name}\""
  metric        = "logging_googleapis_com:user_${local.metric_prefix}_%s{monitored_resource=\"workflows.googleapis.com/Workflow\"}"
  finished      = "workflows_googleapis_com:finished_execution_count{monitored_resource=\"workflows.googleapis.com/Workflow\",workflow_id=\"${local.name}\"%s}"
  # Of all workflows in the project and region: they share one quota.
  running   = "serviceruntime_googleapis_com:quota_concurrent_usage{monitored_resource=\"consumer_quota\",service=\"workflowexecutions.googleapis.com\"}"
  unstarted = "pubsub_googleapis_com:subscription_oldest_unacked_message_age{monitored_resource=\"pubsub_subscription\",subscription_id=\"${local.name}\"}"
  monitored = toset(var.pipeline.monitoring.enabled ? ["this"] : [])

  counters = {
    asked   = { description = "Files that a person was asked about.", event = "approval_asked", labels = [] }
    decided = { description = "Files that were published or rejected.", event = "approval_decided", labels = ["decision"] }
    overdue = { description = "Files that have waited long for a person.", event = "approval_overdue", labels = [] }
  }

  ops = "make ops ENV=${var.pipeline.environment} PROJECT=${var.pipeline.project_id}"
  alerts = {
    approvals_failed = {
      severity = "ERROR"
      title    = "Executions of approvals fail"
      means    = "At least one execution ended with an error: its file is neither published nor rejected, and nobody is asked any more. Nothing is lost."
      first    = "${local.ops} ARGS=\"approvals --restart\""
      # One is one file too many.
      query    = "sum(increase(${format(local.finished, ",status!=\"SUCCEEDED\"")}[15m])) > 0"
      duration = 0
    }
    approvals_full = {
      severity = "CRITICAL"
      title    = "Executions of approvals near their limit"
      means    = "More than 8,000 executions run or wait. Google takes 10,000 in a region; beyond that none begins, and finished files wait."
      first    = "${local.ops} ARGS=approvals"
      query    = "max(${local.running}) > 8000"
      duration = 0
    }
    approvals_not_started = {
      severity = "ERROR"
      title    = "Approvals do not begin"
      means    = "A finished file has waited for an hour for its execution: the workflow may not be started, or its limit is reached. After 7 days the message is gone, and the file is found by its records alone."
      first    = "${local.ops} ARGS=doctor"
      query    = "max(${local.unstarted}) > 3600"
      duration = 60
    }
    approvals_overdue = {
      severity = "WARNING"
      title    = "Files wait for an approval"
      means    = "Somebody was asked about a file ${var.remind_days} days ago and has not answered. After ${var.expire_days} days it expires and is not published."
      first    = "${local.ops} ARGS=approvals"
      query    = "sum(increase(${format(local.metric, "overdue")}[1h])) > 0"
      duration = 0
    }
  }
}

resource "google_logging_metric" "counter" {
  for_each = var.pipeline.monitoring.enabled ? local.counters : {}

  project          = var.pipeline.project_id
  name             = "${local.metric_prefix}_${each.key}"
  description      = each.value.description
  filter           = "${local.of_workflow} AND jsonPayload.event=\"${each.value.event}\""
  label_extractors = { for label in each.value.labels : label => "EXTRACT(jsonPayload.${label})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }
}

module "alerts" {
  source   = "../modules/alerts"
  for_each = local.monitored

  project_id            = var.pipeline.project_id
  name_prefix           = var.pipeline.name
  alerts                = local.alerts
  notification_channels = var.pipeline.monitoring.notification_channels
  runbook_url           = var.pipeline.monitoring.runbook_url

  depends_on = [google_logging_metric.counter]
}

module "dashboard" {
  source   = "../modules/dashboard"
  for_each = local.monitored

  project_id = var.pipeline.project_id
  title      = "${var.pipeline.name}: approvals"

  rows = [
    { title = "Files", tiles = [
      { title = "Asked about", unit = "1", queries = { "" = "sum(increase(${format(local.metric, "asked")}[15m]))" } },
      { title = "Decided", unit = "1", queries = { "$${labels.decision}" = "sum by (decision) (increase(${format(local.metric, "decided")}[15m]))" } },
      { title = "Overdue", unit = "1", queries = { "" = "sum(increase(${format(local.metric, "overdue")}[1h]))" } },
    ] },
    { title = "Executions", tiles = [
      { title = "That run or wait, of 10,000", unit = "1", queries = { "" = "max(${local.running})" } },
      { title = "That ended", unit = "1", queries = { "$${labels.status}" = "sum by (status) (increase(${format(local.finished, "")}[15m]))" } },
      { title = "Oldest that has not begun", unit = "s", queries = { "" = "max(${local.unstarted})" } },
    ] },
  ]
}
