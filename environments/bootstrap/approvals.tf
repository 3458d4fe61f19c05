# Approvals, where they are switched on: Workflows has no IAM below the project, so two roles of one's
# own are as narrow as can be, and granted here. The account that starts executions is here, too, since
# whoever applies an environment may not grant it anything on the project.

locals {
  approvals = toset(contains(var.capabilities, "approvals") ? ["this"] : [])

  approval_roles = length(local.approvals) == 0 ? {} : {
    approver = {
      description = "Answers what approvals ask: sees whether an execution waits, and sends to its callback."
      permissions = ["workflows.callbacks.list", "workflows.callbacks.send", "workflows.executions.get"]
    }
    starter = {
      description = "Starts executions of approvals, and nothing else."
      permissions = ["workflows.executions.create"]
    }
  }

  approval_grants = merge(
    { for key in local.approvals : "starter" => {
      because  = "Pub/Sub starts an execution for each finished file in its name"
      member   = module.approvals_starter[key].member
      resource = "projects/${var.project_id}"
      role     = "projects/${var.project_id}/roles/${google_project_iam_custom_role.approvals["starter"].role_id}"
    } },
    { for member in var.approvers : "approver ${member}" => {
      because  = "answers what approvals ask"
      member   = member
      resource = "projects/${var.project_id}"
      role     = "projects/${var.project_id}/roles/${google_project_iam_custom_role.approvals["approver"].role_id}"
    } },
  )
}

resource "google_project_iam_custom_role" "approvals" {
  for_each = local.approval_roles

  project     = var.project_id
  role_id     = "${replace(var.prefix, "-", "_")}_approvals_${each.key}"
  title       = "${var.prefix}: approvals, ${each.key}"
  description = each.value.description
  permissions = each.value.permissions

  depends_on = [google_project_service.this]
}

module "approvals_starter" {
  source   = "../../terraform/modules/service_account"
  for_each = local.approvals

  project_id   = var.project_id
  account_id   = "${var.prefix}-approvals-starter"
  display_name = "${var.prefix}: starts approvals"
  description  = "Pub/Sub starts executions of approvals in this account's name. Nothing else."

  deployer = join("", [for name, account in module.delivery_account : account.member if name == "apply"])

  depends_on = [google_project_service.this]
}

resource "google_project_iam_member" "approvals" {
  for_each = local.approval_grants

  project = var.project_id
  role    = each.value.role
  member  = each.value.member
}

# Who sent an answer: a record's claimed_by is what the sender said, this is what Google saw.
resource "google_project_iam_audit_config" "approvals" {
  for_each = local.approvals

  project = var.project_id
  service = "workflowexecutions.googleapis.com"

  audit_log_config {
    log_type = "DATA_WRITE"
  }
}
