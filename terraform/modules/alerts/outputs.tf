output "names" {
  description = "The full name of each alert policy, by its key."
  value       = { for key, policy in google_monitoring_alert_policy.this : key => policy.name }
}
