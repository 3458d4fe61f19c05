# What only the logs tell. Names have underscores, so that they are the same in PromQL. A metric
# counts from its creation on.

locals {
  metric_prefix = replace(var.name_prefix, "-", "_")

  services = sort([for lane in values(var.lanes) : lane.service if lane.service != ""])

  # A run after the first is somebody's redrive: it says nothing about how long an upload waits.
  from_processor = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(${join(" OR ", [for service in local.services : "\"${service}\""])})"
  from_bridge    = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.events.bridge}\""
  first_run      = "${local.from_processor} AND jsonPayload.run=0"

  expiring_days = min([for lane in values(var.lanes) : lane.retry_days]...) > 4 ? min([for lane in values(var.lanes) : lane.retry_days]...) - 4 : 1

  counters = {
    expiring = {
      description = "Attempts to be repeated of files due more than ${local.expiring_days} days before."
      filter      = "${local.first_run} AND jsonPayload.event=\"retry\" AND jsonPayload.age_seconds>${local.expiring_days * 86400}"
    }
    finished = {
      description = "Files that got a record, by outcome (done, failed) and, where failed, by reason."
      filter      = "${local.from_processor} AND jsonPayload.event=(\"done\" OR \"failed\")"
      labels      = { outcome = "jsonPayload.event", reason = "jsonPayload.reason" }
    }
    # A file that cannot be processed counts neither way: its uploader got a timely answer.
    in_time = {
      description = "Files done within the objective."
      filter      = "${local.first_run} AND jsonPayload.event=\"done\" AND jsonPayload.age_seconds<=${var.objective.seconds}"
    }
    missed = {
      description = "Files done later than the objective, or failed for a reason that is not the file's."
      filter      = "${local.first_run} AND ((jsonPayload.event=\"done\" AND jsonPayload.age_seconds>${var.objective.seconds}) OR (jsonPayload.event=\"failed\" AND jsonPayload.retryable=true))"
    }
    overdue = {
      description = "Attempts to be repeated of files due more than an hour before."
      filter      = "${local.first_run} AND jsonPayload.event=\"retry\" AND jsonPayload.age_seconds>3600"
    }
    passed_over = {
      description = "Events that lead to no record now: ignored by a rule, handed over to a lane without records, or due later."
      filter      = "${local.from_bridge} AND (jsonPayload.event=\"ignored\" OR jsonPayload.reason=(\"handed_over\" OR \"delayed\"))"
    }
  }
}

resource "google_logging_metric" "counter" {
  for_each = local.counters

  project          = var.project_id
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

resource "google_logging_metric" "upload_to_done" {
  project         = var.project_id
  name            = "${local.metric_prefix}_upload_to_done"
  description     = "Seconds from the upload to its manifest."
  filter          = "${local.first_run} AND jsonPayload.event=\"done\""
  value_extractor = "EXTRACT(jsonPayload.age_seconds)"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "s"
  }

  # From a quarter of a second to 12 days, each bucket half as wide again: a quantile is right to
  # within that.
  bucket_options {
    exponential_buckets {
      growth_factor      = 1.5
      num_finite_buckets = 38
      scale              = 0.25
    }
  }
}
