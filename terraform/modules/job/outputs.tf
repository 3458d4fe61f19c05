output "grants" {
  description = "Who holds which role on what here, and because of what."
  value = [for grant in values(var.executors) : merge(grant, {
    resource = "projects/${var.project_id}/locations/${var.region}/jobs/${var.name}"
    role     = "roles/run.jobsExecutor"
  })]
}

output "id" {
  description = "The job's full name (projects/…/locations/…/jobs/…), known once its executors may run it."
  value       = google_cloud_run_v2_job.this.id
  depends_on  = [google_cloud_run_v2_job_iam_member.executor]
}

output "name" {
  description = "The job's name, known once its executors may run it."
  value       = google_cloud_run_v2_job.this.name
  depends_on  = [google_cloud_run_v2_job_iam_member.executor]
}
