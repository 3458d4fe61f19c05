# Delivery from GitHub without a key: GitHub's tokens are exchanged for two accounts, one that plans and
# one that applies, each under its own condition. Nothing of this is there unless a repository is named.

locals {
  # By numbers, which are never given to somebody else, as names are.
  of_repository = "assertion.repository_owner_id == '${var.github.owner_id}' && assertion.repository_id == '${var.github.repository_id}'"

  conditions = {
    # The workflow apply, from main, in the GitHub environment that this project is for.
    apply = "${local.of_repository} && assertion.ref == 'refs/heads/main' && assertion.environment == '${var.github.environment}' && assertion.workflow_ref.endsWith('/.github/workflows/apply.yml@refs/heads/main')"
    # Pull requests of the repository itself, and what main looks at before it applies and each night.
    plan = "${local.of_repository} && (assertion.event_name == 'pull_request' || assertion.ref == 'refs/heads/main')"
  }
  # Each login of a run exchanges GitHub's token and then becomes an account.
  delivery_apis = var.github.repository_id == "" ? {} : {
    "iamcredentials.googleapis.com" = "gives runs the tokens of the two accounts"
    "sts.googleapis.com"            = "exchanges GitHub's tokens"
  }

  deliveries = var.github.repository_id == "" ? {} : local.conditions

  # On the project, since what they are for does not exist before the first apply.
  delivery_roles = {
    apply = merge([for need in local.needed : need.apply]...)
    plan  = merge([for need in local.needed : need.plan]...)
  }
  delivery_grants = merge([for name in keys(local.deliveries) : {
    for role, because in local.delivery_roles[name] : "${name} ${role}" => {
      because = because, name = name, resource = "projects/${var.project_id}", role = role
    }
  }]...)

  # Each of one account alone.
  narrower_grants = { for key, it in {
    apply_builds = {
      because  = "hands this account to the functions' builds"
      name     = "apply"
      resource = "projects/${var.project_id}/serviceAccounts/${module.build_account.email}"
      role     = "roles/iam.serviceAccountUser"
    }
    plan_reads_state = {
      because  = "reads the state; locks nothing"
      name     = "plan"
      resource = "projects/_/buckets/${module.state.name}"
      role     = "roles/storage.objectViewer"
    }
    plan_reads_zips = {
      because  = "reads the zips back; a condition limits it to the bucket that environments upload them to"
      name     = "plan"
      resource = "projects/${var.project_id}"
      role     = "roles/storage.objectViewer"
    }
  } : key => it if contains(keys(local.deliveries), it.name) }
}

resource "google_iam_workload_identity_pool" "github" {
  for_each = var.github.repository_id == "" ? [] : toset(["this"])

  project                   = var.project_id
  workload_identity_pool_id = "${var.prefix}-github"
  display_name              = "${var.prefix}: GitHub Actions"
  description               = "Who delivers ${var.prefix} from GitHub."

  depends_on = [google_project_service.this]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  for_each = local.deliveries

  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.github["this"].workload_identity_pool_id
  workload_identity_pool_provider_id = "github-${each.key}"
  display_name                       = "GitHub Actions: ${each.key}"
  attribute_condition                = each.value
  attribute_mapping = {
    # Short, whatever branches are called (127 bytes at most), and in the audit log: which run it was.
    "google.subject"   = "assertion.repository_id + ':' + assertion.run_id + ':' + assertion.run_attempt"
    "attribute.access" = "'${each.key}'"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

module "delivery_account" {
  source   = "../../terraform/modules/service_account"
  for_each = local.deliveries

  project_id   = var.project_id
  account_id   = "${var.prefix}-${each.key}"
  display_name = "${var.prefix}: delivery, ${each.key}"
  description  = each.key == "plan" ? "Plans pull requests and looks for drift. May read the environment, not its files." : "Applies what was reviewed and approved."

  iam_members = {
    github = {
      because = "runs that meet the condition of the provider github-${each.key} become the account"
      role    = "roles/iam.workloadIdentityUser"
      member  = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github["this"].name}/attribute.access/${each.key}"
    }
  }
}

resource "google_project_iam_member" "delivery" {
  for_each = local.delivery_grants

  project = var.project_id
  role    = each.value.role
  member  = module.delivery_account[each.value.name].member
}

resource "google_project_iam_member" "plan_reads_zips" {
  for_each = { for name in keys(local.deliveries) : name => name if name == "plan" }

  project = var.project_id
  role    = local.narrower_grants.plan_reads_zips.role
  member  = module.delivery_account[each.key].member

  condition {
    title       = "zips of functions"
    description = "Only what environments upload to be built."
    expression  = "resource.name.startsWith(\"projects/_/buckets/${var.project_id}-${var.prefix}-${var.github.environment}-sources/objects/\")"
  }
}

resource "google_service_account_iam_member" "apply_builds" {
  for_each = { for name in keys(local.deliveries) : name => name if name == "apply" }

  service_account_id = "projects/${var.project_id}/serviceAccounts/${module.build_account.email}"
  role               = local.narrower_grants.apply_builds.role
  member             = module.delivery_account[each.key].member
}

resource "google_storage_bucket_iam_member" "plan_reads_state" {
  for_each = { for name in keys(local.deliveries) : name => name if name == "plan" }

  bucket = module.state.name
  role   = local.narrower_grants.plan_reads_state.role
  member = module.delivery_account[each.key].member
}

# Plans hold what the state holds, so they lie as safely; written once, so that none can be exchanged.
module "plans" {
  source   = "../../terraform/modules/bucket"
  for_each = var.github.repository_id == "" ? [] : toset(["this"])

  project_id = var.project_id
  name       = "${var.project_id}-${var.prefix}-plans"
  location   = var.region

  kms_key_name  = var.kms_key_name
  force_destroy = true
  retention     = { expire_prefix_days = { "prepared/" = 30, "reviewed/" = 90 }, noncurrent_days = 1, soft_delete_days = 0 }
  iam_members = {
    plan_reads  = { because = "compares with what was reviewed", role = "roles/storage.objectViewer", member = module.delivery_account["plan"].member }
    plan_writes = { because = "keeps what is reviewed, and what is to be applied; may replace none", role = "roles/storage.objectCreator", member = module.delivery_account["plan"].member }
  }

  depends_on = [google_project_service.this]
}
