output "access" {
  description = "Who may call."
  value       = var.access
}

output "status_url" {
  description = "The address of the status service, known once it may be called."
  value       = module.status.url
}

output "upload_url" {
  description = "The address of the upload service, which serves the page, too; known once it may be called."
  value       = module.upload.url
}
