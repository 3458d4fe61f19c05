# Cloud Scheduler → sweep → the pipeline's queues, for what has neither a record nor a task.

locals {
  name = "${var.pipeline.name}-sweep"
  zip  = "${var.pipeline.build.zips}/sweep.zip"
}

resource "google_cloud_scheduler_job" "this" {
  project         = var.pipeline.project_id
  region          = var.pipeline.region
  name            = local.name
  description     = "Has uploads compared with records."
  schedule        = var.schedule
  time_zone       = "Etc/UTC"
  paused          = var.paused
  deletion_policy = var.pipeline.policy.deletion_policy

  # As long as the function may take, and a little for its start.
  attempt_deadline = "${local.timeout_seconds + 30}s"

  retry_config {
    retry_count          = 1
    min_backoff_duration = "30s"
    max_backoff_duration = "60s"
  }

  http_target {
    http_method = "POST"
    uri         = module.function.url

    oidc_token {
      service_account_email = module.invoker_account.email
      audience              = module.function.url
    }
  }
}

module "function" {
  source = "../modules/function"

  project_id    = var.pipeline.project_id
  region        = var.pipeline.region
  name          = local.name
  account_email = module.account.email

  build = merge(var.pipeline.build, {
    source_generation = google_storage_bucket_object.zip.generation
    source_object     = google_storage_bucket_object.zip.name
  })

  invokers = {
    schedule = {
      because = "Cloud Scheduler calls the sweep in its name"
      member  = module.invoker_account.member
    }
  }

  # One call at a time: the next one goes on where it stopped.
  resources = {
    concurrency     = 1
    cpu             = 0.5
    max_instances   = 1
    memory_mib      = 512
    timeout_seconds = local.timeout_seconds
  }
  deletion_policy = var.pipeline.policy.deletion_policy

  environment_variables = merge(var.pipeline.bridge.settings, {
    CALL_SECONDS          = tostring(var.limits.call_seconds)
    MIN_AGE_SECONDS       = tostring(var.min_age_seconds)
    REDRIVE_AFTER_SECONDS = tostring(var.redrive_after_seconds)
    SWEEPS_BUCKET         = module.sweeps.name
    TASKS_PER_CALL        = tostring(var.limits.tasks_per_call)
    UPLOADS_PER_CALL      = tostring(var.limits.uploads_per_call)
  })
}

locals {
  # The thousand uploads under way when call_seconds are over are looked at to their end.
  timeout_seconds = var.limits.call_seconds + 300
}

resource "google_storage_bucket_object" "zip" {
  bucket       = var.pipeline.build.source_bucket
  name         = "sweep/${filesha256(local.zip)}.zip"
  source       = local.zip
  content_type = "application/zip"

  # The function takes the new zip before the old one goes.
  lifecycle {
    create_before_destroy = true
  }
}

# Where each call stopped: an object for each, written once.
module "sweeps" {
  source = "../modules/bucket"

  project_id      = var.pipeline.project_id
  name            = "${var.pipeline.project_id}-${local.name}s"
  location        = var.pipeline.region
  deletion_policy = var.pipeline.policy.deletion_policy
  kms_key_name    = var.pipeline.policy.kms_key_name
  # Without them a sweep begins anew.
  force_destroy = true
  retention     = { expire_prefix_days = { "sweeps/" = 7 }, noncurrent_days = 1, soft_delete_days = 0 }

  iam_members = {
    reads = {
      because = "finds where the last call stopped"
      member  = module.account.member
      role    = "roles/storage.objectViewer"
    }
    writes = {
      because = "says where this call stopped, and may replace nothing"
      member  = module.account.member
      role    = "roles/storage.objectCreator"
    }
  }
}
