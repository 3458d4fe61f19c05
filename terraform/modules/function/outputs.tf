output "environment_variables" {
  description = "The function's own settings."
  value       = var.environment_variables
}

output "grants" {
  description = "Who holds which role on what here, and because of what."
  value = [for grant in values(local.invokers) : merge(grant, {
    resource = "projects/${var.project_id}/locations/${var.region}/services/${var.name}"
    role     = "roles/run.invoker"
  })]
}

output "name" {
  description = "The function's name, known once its invokers may call it."
  value       = google_cloudfunctions2_function.this.name
  depends_on  = [google_cloud_run_service_iam_member.invoker]
}

output "url" {
  description = "The function's run.app address, known once its invokers may call it. Only there do Pub/Sub and Cloud Tasks count as internal."
  value       = google_cloudfunctions2_function.this.service_config[0].uri
  depends_on  = [google_cloud_run_service_iam_member.invoker]
}
