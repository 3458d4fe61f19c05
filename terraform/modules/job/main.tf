# A container that is run, ends, and costs nothing in between.

resource "google_cloud_run_v2_job" "this" {
  project             = var.project_id
  location            = var.region
  name                = var.name
  deletion_protection = var.deletion_policy == "PREVENT"

  template {
    parallelism = 1
    task_count  = 1

    template {
      max_retries     = var.resources.max_retries
      service_account = var.account_email
      timeout         = "${var.resources.timeout_seconds}s"

      containers {
        image = var.image
        args  = var.arguments

        dynamic "env" {
          for_each = var.environment_variables
          content {
            name  = env.key
            value = env.value
          }
        }

        resources {
          limits = {
            cpu    = tostring(var.resources.cpu)
            memory = "${var.resources.memory_mib}Mi"
          }
        }
      }
    }
  }
}

resource "google_cloud_run_v2_job_iam_member" "executor" {
  for_each = var.executors

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_job.this.name
  role     = "roles/run.jobsExecutor"
  member   = each.value.member

  lifecycle {
    replace_triggered_by = [google_cloud_run_v2_job.this.id]
  }
}
