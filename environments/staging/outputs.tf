output "bridge_settings" {
  description = "What the bridge decides by. The operator's tool decides by the same."
  value       = module.pipeline.bridge_settings
}

output "dead_letter_subscription" {
  description = "Events that could not be delivered."
  value       = module.pipeline.dead_letter_subscription
}

output "grants" {
  description = "Who holds which role on what: because of what."
  value       = [for grant in module.pipeline.grants : "${grant.member} ${grant.role} ${grant.resource}: ${grant.because}"]
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
