output "github" {
  description = "What the repository's variable ENVIRONMENTS says of this project: its value is an object of these by environment."
  value = var.github.repository_id == "" ? null : {
    (var.github.environment) = {
      project        = var.project_id
      apply_account  = module.delivery_account["apply"].email
      apply_provider = google_iam_workload_identity_pool_provider.github["apply"].name
      plan_account   = module.delivery_account["plan"].email
      plan_provider  = google_iam_workload_identity_pool_provider.github["plan"].name
    }
  }
}

output "grants" {
  description = "Who holds which role on what: because of what."
  value = [for grant in concat(
    values(local.build_grants),
    values(local.image_grants),
    values(local.approval_grants),
    flatten([for account in values(module.approvals_starter) : account.grants]),
    flatten([for bucket in values(module.builds) : bucket.grants]),
    flatten([for name, account in module.delivery_account : concat(
      account.grants,
      [for it in concat(values(local.delivery_grants), values(local.narrower_grants)) : merge(it, { member = account.member }) if it.name == name],
    )]),
    flatten([for bucket in values(module.plans) : bucket.grants]),
  ) : "${grant.member} ${grant.role} ${grant.resource}: ${grant.because}"]
}

# What the next run keeps where it does not name another.
output "settings" {
  description = "What was given to the run that was applied last."
  value = {
    approvers    = var.approvers
    capabilities = var.capabilities
    github       = var.github
    kms_key_name = var.kms_key_name
    region       = var.region
  }
}

output "state_bucket" {
  description = "The bucket that keeps the state of every environment."
  value       = module.state.name
}
