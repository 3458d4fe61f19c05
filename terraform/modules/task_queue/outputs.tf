output "grants" {
  description = "Who holds which role on what here, and because of what."
  value = [for grant in values(var.enqueuers) : merge(grant, {
    resource = "projects/${var.project_id}/locations/${var.region}/queues/${google_cloud_tasks_queue.this.name}"
    role     = "roles/cloudtasks.enqueuer"
  })]
}

output "id" {
  description = "The queue's full name (projects/…/locations/…/queues/…), known once its enqueuers may use it."
  value       = "projects/${var.project_id}/locations/${var.region}/queues/${google_cloud_tasks_queue.this.name}"
  depends_on  = [google_cloud_tasks_queue_iam_member.enqueuer]
}

output "name" {
  description = "The queue's name with its suffix."
  value       = google_cloud_tasks_queue.this.name
}
