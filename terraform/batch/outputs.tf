output "access" {
  description = "Who may call."
  value       = var.access
}

output "grants" {
  description = "Who holds which role on what, and because of what."
  value = concat(
    module.submit.grants,
    module.tasks.grants,
    module.start_queue.grants,
    flatten([for job in values(module.worker) : job.grants]),
    module.sweep.grants,
    [for it in concat(values(local.publisher_grants), values(local.sets_aside)) : { because = it.because, member = it.member, resource = "projects/${var.pipeline.project_id}/topics/${it.topic}", role = it.role }],
    [for it in concat(values(local.subscriber_grants), values(local.takes_off)) : { because = it.because, member = it.member, resource = "projects/${var.pipeline.project_id}/subscriptions/${it.subscription}", role = it.role }],
    [for it in values(local.pipeline_grants) : { because = it.because, member = it.member, resource = "projects/_/buckets/${it.bucket}", role = it.role }],
    module.submit_account.grants,
    module.worker_account.grants,
    module.starter_account.grants,
    flatten([for account in values(module.clock_account) : account.grants]),
  )
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
