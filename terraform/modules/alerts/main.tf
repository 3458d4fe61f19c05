# Every condition is PromQL: it says share and least number in one expression, and it may name a
# metric that is minutes old. A filter may not: its policy is refused for up to ten minutes after the
# metric was created, which no apply waits for.

resource "google_monitoring_alert_policy" "this" {
  for_each = var.alerts

  project               = var.project_id
  display_name          = "${var.name_prefix}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = var.notification_channels
  user_labels           = { alert = each.key }

  conditions {
    display_name = each.value.title

    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = "${each.value.duration}s"
      evaluation_interval       = "60s"
      disable_metric_validation = true
    }
  }

  alert_strategy {
    auto_close           = "3600s"
    notification_prompts = ["OPENED", "CLOSED"]
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "${var.name_prefix}: ${each.value.title}"
    content   = <<-EOT
      ${each.value.means}

      First, in a checkout of the repository: `${each.value.first}`

      Then: ${var.runbook_url == "" ? "docs/runbook.md" : var.runbook_url}#${replace(each.key, "_", "-")}
    EOT

    dynamic "links" {
      for_each = var.runbook_url == "" ? [] : [var.runbook_url]

      content {
        display_name = "Runbook"
        url          = "${links.value}#${replace(each.key, "_", "-")}"
      }
    }
  }
}
