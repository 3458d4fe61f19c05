locals {
  invokers = merge(var.invokers, var.public ? {
    public = { because = "ANYONE ON THE INTERNET may call it: public is true", member = "allUsers" }
  } : {})

  # Google answers with a copy of the source of its own, so the function itself says what it runs.
  source_version = trimsuffix(basename(var.build.source_object), ".zip")

  threads = coalesce(var.resources.threads, ceil(var.resources.cpu * 4))

  memory = var.resources.memory_mib % 1024 == 0 ? "${var.resources.memory_mib / 1024}Gi" : "${var.resources.memory_mib}Mi"
}

resource "google_cloudfunctions2_function" "this" {
  project  = var.project_id
  location = var.region
  name     = var.name

  deletion_policy = var.deletion_policy
  kms_key_name    = var.build.kms_key_name == "" ? null : var.build.kms_key_name

  build_config {
    runtime           = "python313"
    entry_point       = "handle"
    docker_repository = var.build.repository
    service_account   = "projects/${var.project_id}/serviceAccounts/${var.build.account_email}"

    source {
      storage_source {
        bucket = var.build.source_bucket
        object = var.build.source_object
        # Else the provider sends the generation of Google's copy with the next object's name.
        generation = var.build.source_generation
      }
    }

    # Google patches the runtime under the function without a deployment.
    automatic_update_policy {}
  }

  service_config {
    all_traffic_on_latest_revision   = true
    available_cpu                    = tostring(var.resources.cpu)
    available_memory                 = local.memory
    environment_variables            = merge(var.environment_variables, { SOURCE_VERSION = local.source_version, THREADS = tostring(local.threads) })
    ingress_settings                 = var.ingress
    max_instance_count               = var.resources.max_instances
    max_instance_request_concurrency = var.resources.concurrency
    min_instance_count               = var.resources.min_instances
    service_account_email            = var.account_email
    timeout_seconds                  = var.resources.timeout_seconds
  }
}

# The invoker role belongs on the Cloud Run service under the function, which has its name. A
# re-created service comes without bindings.
resource "google_cloud_run_service_iam_member" "invoker" {
  for_each = local.invokers

  project  = var.project_id
  location = var.region
  service  = google_cloudfunctions2_function.this.name
  role     = "roles/run.invoker"
  member   = each.value.member

  lifecycle {
    replace_triggered_by = [google_cloudfunctions2_function.this.id]
  }
}
