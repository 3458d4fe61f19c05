# clients → upload → uploads bucket → the pipeline → results bucket → status → clients

module "access" {
  source = "../modules/access"

  access  = var.access
  callers = var.callers
  tokens  = var.tokens
}

module "upload" {
  source = "../modules/function"

  project_id      = var.pipeline.project_id
  region          = var.pipeline.region
  name            = "${var.pipeline.name}-upload"
  build           = local.builds["upload"]
  account_email   = module.upload_account.email
  deletion_policy = var.pipeline.policy.deletion_policy
  ingress         = var.ingress
  invokers        = module.access.invokers
  public          = module.access.public
  resources       = var.upload

  environment_variables = merge(var.pipeline.bridge.settings, local.settings, {
    FOLDERS    = jsonencode(var.folders)
    ORIGINS    = jsonencode(var.origins)
    STATUS_URL = module.status.url
  })

  # Whoever reads the address may use it.
  depends_on = [google_storage_bucket_iam_member.this]
}

module "status" {
  source = "../modules/function"

  project_id      = var.pipeline.project_id
  region          = var.pipeline.region
  name            = "${var.pipeline.name}-status"
  build           = local.builds["status"]
  account_email   = module.status_account.email
  deletion_policy = var.pipeline.policy.deletion_policy
  ingress         = var.ingress
  invokers        = module.access.invokers
  public          = module.access.public
  resources       = { for key, value in var.status : key => value if !contains(["max_streams", "stream_seconds"], key) }

  environment_variables = merge(local.settings, {
    MAX_STREAMS      = tostring(var.status.max_streams)
    PUBLISHED_BUCKET = var.published_bucket == "" ? "-" : var.published_bucket
    SIGNER           = module.status_account.email
    STREAM_SECONDS   = tostring(var.status.stream_seconds)
  })

  depends_on = [google_storage_bucket_iam_member.this, google_service_account_iam_member.status_signs]
}

# What the two accounts may do in the pipeline's buckets, and nothing else. Whoever uploads has no
# access to results, and whoever reads results none to uploads.
resource "google_storage_bucket_iam_member" "this" {
  for_each = local.bucket_grants

  bucket = each.value.bucket
  role   = each.value.role
  member = each.value.member

  dynamic "condition" {
    for_each = each.value.prefixes == null ? [] : [each.value.prefixes]

    content {
      title       = "only the portal's folders"
      description = "Objects whose names begin with ${join(", ", condition.value)}."
      expression = join(" || ", [for prefix in condition.value :
        "resource.name.startsWith(\"projects/_/buckets/${each.value.bucket}/objects/${prefix}\")"
      ])
    }
  }
}

resource "google_service_account_iam_member" "status_signs" {
  service_account_id = local.signs.resource
  role               = local.signs.role
  member             = local.signs.member
}
