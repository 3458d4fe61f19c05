output "grants" {
  description = "Who holds which role on what, and because of what."
  value = concat(
    module.function.grants,
    values(local.pipeline_grants),
    flatten([for queue in values(var.pipeline.queues) : [
      for it in values(local.queue_grants) : merge(it, { member = module.account.member, resource = queue })
    ]]),
    module.sweeps.grants,
    module.account.grants,
    module.invoker_account.grants,
  )
}

output "name" {
  description = "The name of the function and of its schedule."
  value       = module.function.name
}

output "sweeps_bucket" {
  description = "Where each call says where it stopped and what it found."
  value       = module.sweeps.name
}
