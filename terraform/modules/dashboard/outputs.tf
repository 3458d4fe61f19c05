output "id" {
  description = "The dashboard's full name."
  value       = google_monitoring_dashboard.this.id
}
