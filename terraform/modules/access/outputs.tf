output "invokers" {
  description = "Who holds run.invoker: the callers, under iam alone."
  value       = local.public ? {} : var.callers
}

output "public" {
  description = "Whether the function itself asks who calls, or nobody does."
  value       = local.public
}

output "setting" {
  description = "The same for the function's setting ACCESS, in JSON."
  value       = local.setting
}
