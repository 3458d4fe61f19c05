output "approvals" {
  description = "Where files are published, and what the operator's tool answers."
  value = {
    dead_letter_subscription = module.approvals.dead_letter_subscription
    published_bucket         = module.approvals.published_bucket
    subscriptions            = module.approvals.subscriptions
    topic                    = module.approvals.topic
    workflow                 = module.approvals.workflow
  }
}

output "batch" {
  description = "Where tasks are submitted, and what keeps their requests and outcomes."
  value = {
    access       = module.batch.access
    submit       = module.batch.submit_url
    tasks_bucket = module.batch.tasks_bucket
  }
}

output "bridge_settings" {
  description = "What the bridge decides by. The operator's tool decides by the same."
  value       = module.pipeline.bridge_settings
}

output "completions" {
  description = "Where the application pulls what is done and failed, and the dead letters of webhooks."
  value = {
    dead_letter_subscription = module.completions.dead_letter_subscription
    subscriptions            = module.completions.subscriptions
    topic                    = module.completions.topic
  }
}

output "dead_letter_subscription" {
  description = "Events that could not be delivered."
  value       = module.pipeline.dead_letter_subscription
}

output "observers" {
  description = "Where the application pulls each upload, and the dead letters of webhooks."
  value = {
    dead_letter_subscription = module.observers.dead_letter_subscription
    subscriptions            = module.observers.subscriptions
    topic                    = module.pipeline.interface.topics.uploads
  }
}

output "portal" {
  description = "Where the portal is, and who may call it."
  value = {
    access = module.portal.access
    status = module.portal.status_url
    upload = module.portal.upload_url
  }
}

output "grants" {
  description = "Who holds which role on what: because of what."
  value = [for grant in concat(
    module.pipeline.grants,
    module.completions.grants,
    module.observers.grants,
    module.portal.grants,
    module.sweep.grants,
    module.batch.grants,
    module.approvals.grants,
    module.application.grants,
  ) : "${grant.member} ${grant.role} ${grant.resource}: ${grant.because}"]
}

output "queues" {
  description = "Each lane's queue."
  value       = module.pipeline.queues
}

output "results_bucket" {
  description = "Where results, manifests and failure records appear."
  value       = module.pipeline.results_bucket
}

output "uploads_are_gone" {
  description = "When the last byte of an upload is gone."
  value       = module.pipeline.uploads_are_gone
}

output "uploads_bucket" {
  description = "Where to put files."
  value       = module.pipeline.uploads_bucket
}
