output "name" {
  description = "The name of the function and of its schedule."
  value       = module.function.name
}

output "sweeps_bucket" {
  description = "Where each call says where it stopped and what it found."
  value       = module.sweeps.name
}
