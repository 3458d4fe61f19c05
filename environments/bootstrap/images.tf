# Images of jobs, where batch is switched on: the repository that keeps them, under tags that never
# move, and the bucket that Cloud Build takes their source from.

locals {
  images = toset(contains(var.capabilities, "batch") ? ["this"] : [])

  image_grants = { for key in local.images : key => {
    because  = "pushes the built images of jobs"
    member   = module.build_account.member
    resource = "projects/${var.project_id}/locations/${var.region}/repositories/${google_artifact_registry_repository.images[key].repository_id}"
    role     = "roles/artifactregistry.writer"
  } }
}

resource "google_artifact_registry_repository" "images" {
  for_each = local.images

  project       = var.project_id
  location      = var.region
  repository_id = "${var.prefix}-images"
  format        = "DOCKER"
  description   = "Images of jobs, by the sha256 of their source."
  kms_key_name  = var.kms_key_name == "" ? null : var.kms_key_name

  docker_config {
    immutable_tags = true
  }

  # Enough to go back to; an image that a job still runs is among the newest.
  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "2592000s"
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_artifact_registry_repository_iam_member" "build_writes_job_images" {
  for_each = local.image_grants

  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.images["this"].repository_id
  role       = each.value.role
  member     = each.value.member
}

module "builds" {
  source   = "../../terraform/modules/bucket"
  for_each = local.images

  project_id    = var.project_id
  name          = "${var.project_id}-${var.prefix}-builds"
  location      = var.region
  kms_key_name  = var.kms_key_name
  force_destroy = true
  retention     = { expire_prefix_days = { "" = 30 }, noncurrent_days = 1, soft_delete_days = 0 }

  iam_members = {
    build = {
      because = "reads the source of the images that it builds"
      member  = module.build_account.member
      role    = "roles/storage.objectViewer"
    }
  }

  depends_on = [google_project_service.this]
}
