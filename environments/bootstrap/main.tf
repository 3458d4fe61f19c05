# What a project needs once, before its environments: APIs, the bucket that keeps Terraform's state,
# and the account and repository that functions are built with. Applied by an owner of the project.

locals {
  # What is needed (needs.tf.json) by the pipeline, and by each capability that is switched on.
  needed = [for name in setunion(["pipeline"], var.capabilities) : local.needs[name]]

  # Google copies a function's source into this bucket of its own and builds from there. It does
  # not exist before the first build, so it cannot carry a binding of its own.
  build_sources = "gcf-v2-sources-${module.state.project_number}-${var.region}"

  build_grants = {
    reads_sources = {
      because  = "reads the functions' source, which Google copies into a bucket of its own; a condition limits it to that bucket, which does not exist before the first build"
      member   = module.build_account.member
      resource = "projects/${var.project_id}"
      role     = "roles/storage.objectViewer"
    }
    writes_images = {
      because  = "pushes the built images"
      member   = module.build_account.member
      resource = "projects/${var.project_id}/locations/${var.region}/repositories/${google_artifact_registry_repository.functions.repository_id}"
      role     = "roles/artifactregistry.writer"
    }
    writes_logs = {
      because  = "writes the builds' log; nothing narrower than the project carries this role"
      member   = module.build_account.member
      resource = "projects/${var.project_id}"
      role     = "roles/logging.logWriter"
    }
  }
}

resource "google_project_service" "this" {
  for_each = merge(local.delivery_apis, [for need in local.needed : need.apis]...)

  project            = var.project_id
  service            = each.key
  disable_on_destroy = false
}

module "state" {
  source = "../../terraform/modules/bucket"

  project_id = var.project_id
  name       = "${var.project_id}-${var.prefix}-tfstate"
  location   = var.region

  kms_key_name  = var.kms_key_name
  force_destroy = var.force_destroy
  # Earlier states are the way back from a broken one: kept for a quarter.
  retention = { noncurrent_days = 90 }

  depends_on = [google_project_service.this]
}

module "build_account" {
  source = "../../terraform/modules/service_account"

  project_id   = var.project_id
  account_id   = "${var.prefix}-build"
  display_name = "${var.prefix}: builds functions"
  description  = "Cloud Build builds the functions as this account. May read their source, write logs and push images to one repository."

  depends_on = [google_project_service.this]
}

resource "google_artifact_registry_repository" "functions" {
  project       = var.project_id
  location      = var.region
  repository_id = "${var.prefix}-functions"
  format        = "DOCKER"
  description   = "Images of the functions, made by their builds."
  kms_key_name  = var.kms_key_name == "" ? null : var.kms_key_name

  # Each deployment leaves an image behind. Cloud Run keeps its own copy of what it serves.
  cleanup_policies {
    id     = "old"
    action = "DELETE"

    condition {
      older_than = "${30 * 86400}s"
    }
  }

  cleanup_policies {
    id     = "newest"
    action = "KEEP"

    most_recent_versions {
      keep_count = 3
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_artifact_registry_repository_iam_member" "build_writes_images" {
  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.functions.repository_id
  role       = local.build_grants.writes_images.role
  member     = local.build_grants.writes_images.member
}

resource "google_project_iam_member" "build_writes_logs" {
  project = var.project_id
  role    = local.build_grants.writes_logs.role
  member  = local.build_grants.writes_logs.member
}

resource "google_project_iam_member" "build_reads_sources" {
  project = var.project_id
  role    = local.build_grants.reads_sources.role
  member  = local.build_grants.reads_sources.member

  condition {
    title       = "sources of functions"
    description = "Only objects of the bucket that Google copies functions' sources into."
    expression  = "resource.name.startsWith(\"projects/_/buckets/${local.build_sources}/objects/\")"
  }
}
