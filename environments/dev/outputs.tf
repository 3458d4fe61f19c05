output "pipeline" {
  description = "Buckets, queues and addresses, for people and for scripts."
  value       = module.pipeline
}
