resource "google_storage_bucket" "this" {
  project  = var.project_id
  name     = var.name
  location = var.location

  deletion_policy             = var.deletion_policy
  force_destroy               = var.force_destroy
  public_access_prevention    = "enforced"
  uniform_bucket_level_access = true

  versioning {
    enabled = true
  }

  # Stated although 7 days is Google's default: soft-deleted bytes are paid for.
  soft_delete_policy {
    retention_duration_seconds = var.retention.soft_delete_days * 86400
  }

  dynamic "cors" {
    for_each = length(var.cors.origins) == 0 ? [] : [var.cors]
    content {
      max_age_seconds = cors.value.max_age_seconds
      method          = sort(cors.value.methods)
      origin          = sort(cors.value.origins)
      response_header = sort(cors.value.response_headers)
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key_name == "" ? [] : [var.kms_key_name]
    content {
      default_kms_key_name = encryption.value
    }
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = var.retention.noncurrent_days
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age        = var.retention.incomplete_upload_days
      with_state = "ANY"
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.retention.expire_prefix_days
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value
        matches_prefix = [lifecycle_rule.key]
        with_state     = "LIVE"
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.retention.expire_days[*]
    content {
      action {
        type = "Delete"
      }
      condition {
        age        = lifecycle_rule.value
        with_state = "LIVE"
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = var.retention.storage_class_days
    content {
      action {
        type          = "SetStorageClass"
        storage_class = lifecycle_rule.key
      }
      condition {
        age        = lifecycle_rule.value
        with_state = "LIVE"
      }
    }
  }

  lifecycle {
    precondition {
      condition     = terraform_data.identity.input == local.identity
      error_message = "Bucket ${terraform_data.identity.input.name} in ${terraform_data.identity.input.location} would be re-created as ${var.name} in ${local.identity.location}, and its objects lost. Put project, prefix, environment and region back, or copy the objects away and destroy this environment first."
    }
  }
}

locals {
  identity = {
    location = upper(var.location)
    name     = var.name
    project  = var.project_id
  }
}

# Remembers what the bucket was created as: a plan that would re-create it is refused above.
resource "terraform_data" "identity" {
  input = local.identity

  lifecycle {
    ignore_changes = [input]
  }
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = var.iam_members

  bucket = google_storage_bucket.this.name
  role   = each.value.role
  member = each.value.member
}
