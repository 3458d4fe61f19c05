output "alerts" {
  description = "The full name of each alert policy, by its key, which is also its section in the runbook."
  value       = { for key, policy in google_monitoring_alert_policy.this : key => policy.name }
}

output "dashboard" {
  description = "The full name of the dashboard."
  value       = google_monitoring_dashboard.this.id
}
