output "email" {
  description = "The account's address, known once whoever needs it may act as it."
  value       = local.email
  depends_on  = [google_service_account.this, google_service_account_iam_member.this]
}

output "grants" {
  description = "Who holds which role on what here, and because of what."
  value       = [for grant in values(local.members) : merge(grant, { resource = "projects/${var.project_id}/serviceAccounts/${local.email}" })]
}

output "member" {
  description = "The account as an IAM member."
  value       = "serviceAccount:${local.email}"
  depends_on  = [google_service_account.this, google_service_account_iam_member.this]
}
