# completions → workflow ─▶ rules, check ─▶ published bucket ─▶ topic → subscribers
#                   └─ waits for a person, who answers by `make ops`

locals {
  name = "${var.pipeline.name}-approvals"

  # Made once for each project by environments/bootstrap, where approvals are among its capabilities:
  # Workflows has no IAM below the project.
  prefix        = trimsuffix(var.pipeline.name, "-${var.pipeline.environment}")
  starter_email = "${local.prefix}-approvals-starter@${var.pipeline.project_id}.iam.gserviceaccount.com"

  workflow = "projects/${var.pipeline.project_id}/locations/${var.pipeline.region}/workflows/${local.name}"
  trigger  = "https://workflowexecutions.googleapis.com/v1/${local.workflow}:triggerPubsubExecution"

  # Regular expressions of the rules' folders and types: the workflow has no other comparisons.
  special = "/([.+^$|()\\[\\]{}?*\\\\])/"
  rules = { for name, rule in var.rules : name => {
    min_bytes = rule.min_bytes
    mismatch  = rule.mismatch
    name      = length(rule.folders) == 0 ? "" : "^(${join("|", [for folder in rule.folders : replace(folder, local.special, "\\$1")])})"
    type      = length(rule.types) == 0 ? "" : "^(${join("|", [for type in rule.types : replace(replace(type, local.special, "\\$1"), "\\*", ".*")])})$"
  } }
}

resource "google_workflows_workflow" "this" {
  project         = var.pipeline.project_id
  region          = var.pipeline.region
  name            = local.name
  description     = "Decides about each finished file: published, or not."
  service_account = "projects/${var.pipeline.project_id}/serviceAccounts/${module.account.email}"
  source_contents = file("${path.module}/approvals.yaml")
  crypto_key_name = var.pipeline.policy.kms_key_name == "" ? null : var.pipeline.policy.kms_key_name
  deletion_policy = var.pipeline.policy.deletion_policy
  # Prod's deletion_policy protects it; elsewhere a destroy destroys.
  deletion_protection = false

  user_env_vars = {
    CHECK             = jsonencode(merge(var.check, { audience = var.check.audience == "" ? var.check.url : var.check.audience }))
    EXPIRE_SECONDS    = tostring(var.expire_days * 86400)
    HASH_OBJECT_NAMES = tostring(var.pipeline.policy.hash_object_names)
    PUBLISHED_BUCKET  = module.published.name
    REMIND_SECONDS    = tostring(var.remind_days * 86400)
    RESULTS_BUCKET    = var.pipeline.buckets.results
    RULES             = jsonencode(local.rules)
  }

  depends_on = [google_storage_bucket_iam_member.results]
}

# Each manifest that is written starts an execution. Failures have nothing to publish.
resource "google_pubsub_subscription" "starter" {
  #checkov:skip=CKV2_FILES_1:it needs no dead letters; what it does not start within 7 days is found in the records by the operator's `approvals --restart`
  project         = var.pipeline.project_id
  name            = local.name
  topic           = var.topic
  filter          = "attributes.status = \"done\" AND NOT attributes:subscriber"
  deletion_policy = var.pipeline.policy.deletion_policy

  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  push_config {
    push_endpoint = "${local.trigger}?__GCP_CloudEventsMode=CUSTOM_PUBSUB_${urlencode(var.topic)}"
    attributes    = {}

    oidc_token {
      service_account_email = local.starter_email
      audience              = local.trigger
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  expiration_policy {
    ttl = ""
  }

  depends_on = [google_workflows_workflow.this]
}
