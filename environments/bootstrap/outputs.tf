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

output "state_bucket" {
  description = "The bucket that keeps the state of every environment."
  value       = module.state.name
}
