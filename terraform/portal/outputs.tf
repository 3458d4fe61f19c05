output "access" {
  description = "Who may call."
  value       = var.access
}

output "grants" {
  description = "Who holds which role on what, and because of what."
  value = concat(
    module.upload.grants,
    module.status.grants,
    [for it in values(local.bucket_grants) : { because = it.because, member = it.member, resource = "projects/_/buckets/${it.bucket}", role = it.role }],
    [local.signs],
    module.upload_account.grants,
    module.status_account.grants,
  )
}

output "status_url" {
  description = "The address of the status service, known once it may be called."
  value       = module.status.url
}

output "upload_url" {
  description = "The address of the upload service, which serves the page, too; known once it may be called."
  value       = module.upload.url
}
