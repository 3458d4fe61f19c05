# The objective itself, for its page in the console; the alerts on its burn rate count the same logs.

resource "google_monitoring_custom_service" "this" {
  project      = var.project_id
  service_id   = var.name_prefix
  display_name = var.name_prefix
}

resource "google_monitoring_slo" "answered_in_time" {
  project             = var.project_id
  service             = google_monitoring_custom_service.this.service_id
  slo_id              = "answered-in-time"
  display_name        = "${var.objective.goal * 100} % of files within ${var.objective.seconds} s"
  goal                = var.objective.goal
  rolling_period_days = var.objective.days

  request_based_sli {
    good_total_ratio {
      good_service_filter = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.counter["in_time"].name}\" resource.type=\"cloud_run_revision\""
      bad_service_filter  = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.counter["missed"].name}\" resource.type=\"cloud_run_revision\""
    }
  }
}
