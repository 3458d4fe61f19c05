output "alerts" {
  description = "The full name of each alert policy, by its key, which is also its section in the runbook."
  value       = module.alerts.names
}

output "dashboard" {
  description = "The full name of the dashboard."
  value       = module.dashboard.id
}
