# What an engineer on call sees of the portal.

locals {
  metric_prefix = replace(var.pipeline.name, "-", "_")
  user          = "logging_googleapis_com:user_${local.metric_prefix}"
  from_upload   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${module.upload.name}\""
  from_status   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${module.status.name}\""
  of_logs       = "monitored_resource=\"cloud_run_revision\""

  counters = {
    sessions_failed = {
      description = "Uploads that could not begin, since a call of Cloud Storage failed or the upload service has a fault."
      filter      = "${local.from_upload} AND jsonPayload.event=(\"upload_failed\" OR \"upload_broken\")"
    }
    status_errors = {
      description = "Questions after files that could not be answered, since a call of Google failed or the status service has a fault."
      filter      = "${local.from_status} AND jsonPayload.event=(\"status_failed\" OR \"status_broken\")"
    }
    uploads_accepted = {
      description = "Uploads that were accepted, whether their bytes came or not."
      filter      = "${local.from_upload} AND jsonPayload.event=\"upload_accepted\""
    }
    uploads_refused = {
      description = "Uploads that a rule refused, by reason."
      filter      = "${local.from_upload} AND jsonPayload.event=\"upload_refused\""
      labels      = { reason = "jsonPayload.reason" }
    }
  }

  increase = { for key in keys(local.counters) : key => "sum(increase(${local.user}_${key}{${local.of_logs}}[10m]))" }

  alerts = {
    sessions_failed = {
      severity = "ERROR"
      title    = "Uploads cannot begin"
      means    = "Clients that want to upload get an error: Cloud Storage refuses or does not answer, or the upload service has a fault. Nothing that was accepted is lost."
      first    = "make logs ENV=${var.pipeline.environment} PROJECT=${var.pipeline.project_id} EVENT=upload_failed"
      # Three at once are a moment's outage, which clients get over by themselves.
      query    = "${local.increase.sessions_failed} > 3"
      duration = 60
    }
    status_errors = {
      severity = "ERROR"
      title    = "Clients are not told what becomes of their files"
      means    = "The status service cannot read results or cannot sign addresses. Files are processed all the same."
      first    = "make logs ENV=${var.pipeline.environment} PROJECT=${var.pipeline.project_id} EVENT=status_failed"
      query    = "${local.increase.status_errors} > 5"
      duration = 60
    }
    uploads_refused = {
      severity = "WARNING"
      title    = "Most uploads are refused"
      means    = "More than half of ten minutes' uploads were refused by a rule: a client that sends what no folder takes, tokens that are not valid any more, or somebody who tries."
      first    = "make logs ENV=${var.pipeline.environment} PROJECT=${var.pipeline.project_id} EVENT=upload_refused"
      query    = "${local.increase.uploads_refused} > 20 and ${local.increase.uploads_refused} > (${local.increase.uploads_accepted} or vector(0))"
      duration = 300
    }
  }
}

resource "google_logging_metric" "counter" {
  for_each = { for key, counter in local.counters : key => counter if var.pipeline.monitoring.enabled }

  project          = var.pipeline.project_id
  name             = "${local.metric_prefix}_${each.key}"
  description      = each.value.description
  filter           = each.value.filter
  label_extractors = { for label, field in lookup(each.value, "labels", {}) : label => "EXTRACT(${field})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    dynamic "labels" {
      for_each = lookup(each.value, "labels", {})

      content {
        key        = labels.key
        value_type = "STRING"
      }
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

  depends_on = [google_logging_metric.counter]
}

module "dashboard" {
  source = "../modules/dashboard"
  count  = var.pipeline.monitoring.enabled ? 1 : 0

  project_id = var.pipeline.project_id
  title      = "${var.pipeline.name}: portal"

  rows = [
    {
      title = "What clients ask"
      tiles = [
        { title = "Uploads accepted and refused", unit = "1", queries = {
          accepted            = "sum(increase(${local.user}_uploads_accepted{${local.of_logs}}[5m]))"
          "$${labels.reason}" = "sum by (reason) (increase(${local.user}_uploads_refused{${local.of_logs}}[5m]))"
        } },
        { title = "Errors", unit = "1", queries = {
          status = "sum(increase(${local.user}_status_errors{${local.of_logs}}[5m]))"
          upload = "sum(increase(${local.user}_sessions_failed{${local.of_logs}}[5m]))"
        } },
      ]
    },
    {
      title = "What it takes"
      tiles = [
        { title = "Requests a minute", unit = "1", queries = { for name in [module.status.name, module.upload.name] :
          name => "sum(rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"${name}\"}[5m])) * 60"
        } },
        { title = "Instances", unit = "1", queries = { for name in [module.status.name, module.upload.name] :
          name => "sum(run_googleapis_com:container_instance_count{monitored_resource=\"cloud_run_revision\",service_name=\"${name}\"})"
        } },
      ]
    },
  ]
}
