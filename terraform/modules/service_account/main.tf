locals {
  # Spelt out rather than read back, so that a plan shows who is granted what.
  email = "${var.account_id}@${var.project_id}.iam.gserviceaccount.com"

  members = merge(var.iam_members, var.deployer == "" ? {} : {
    deployer = {
      because = "hands this account to what it deploys"
      member  = var.deployer
      role    = "roles/iam.serviceAccountUser"
    }
  })
}

resource "google_service_account" "this" {
  project      = var.project_id
  account_id   = var.account_id
  display_name = var.display_name
  description  = var.description
}

resource "google_service_account_iam_member" "this" {
  for_each = local.members

  service_account_id = "projects/${google_service_account.this.project}/serviceAccounts/${local.email}"
  role               = each.value.role
  member             = each.value.member
}
