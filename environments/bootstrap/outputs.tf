output "state_bucket" {
  description = "The bucket that keeps the state of every environment."
  value       = module.state.name
}
