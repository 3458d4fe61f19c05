output "access" {
  description = "Who may call."
  value       = var.access
}

output "jobs" {
  description = "The full name of each priority's job."
  value       = { for key, job in module.worker : key => job.id }
}

output "submit_url" {
  description = "The address of the submit service, known once it may be called."
  value       = module.submit.url
}

output "subscriptions" {
  description = "The full name of each priority's subscription."
  value       = { for key, subscription in google_pubsub_subscription.worker : key => subscription.id }
}

output "tasks_bucket" {
  description = "Where requests, outcomes and outputs are."
  value       = module.tasks.name
}
