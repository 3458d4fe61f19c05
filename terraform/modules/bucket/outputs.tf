output "grants" {
  description = "Who holds which role on what here, and because of what."
  value       = [for grant in values(var.iam_members) : merge(grant, { resource = "projects/_/buckets/${var.name}" })]
}

output "name" {
  description = "The bucket's name, known once its accounts may use it."
  value       = google_storage_bucket.this.name
  depends_on  = [google_storage_bucket_iam_member.this]
}

output "project_number" {
  description = "The number of the bucket's project."
  value       = google_storage_bucket.this.project_number
}

output "url" {
  description = "The bucket as gs://name."
  value       = google_storage_bucket.this.url
  depends_on  = [google_storage_bucket_iam_member.this]
}
