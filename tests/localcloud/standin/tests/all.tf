# One of every resource type, and of most of what the tables hold of it.
variable "age" { default = 5 }
resource "google_storage_bucket" "b" {
  name                        = "demo-b"
  location                    = "us-central1"
  force_destroy               = true
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  labels                      = { a = "b" }
  versioning { enabled = true }
  soft_delete_policy { retention_duration_seconds = 0 }
  lifecycle_rule {
    action { type = "Delete" }
    condition {
      days_since_noncurrent_time = 7
      with_state                 = "ARCHIVED"
    }
  }
  lifecycle_rule {
    action { type = "AbortIncompleteMultipartUpload" }
    condition { age = var.age }
  }
}
resource "google_storage_bucket" "plain" {
  name     = "demo-plain"
  location = "US"
}
resource "google_storage_bucket_object" "o" {
  bucket  = google_storage_bucket.b.name
  name    = "x/y.txt"
  content = "hello"
}
resource "google_storage_bucket_object" "f" {
  bucket = google_storage_bucket.b.name
  name   = "x/z.txt"
  source = "source.txt"
}
resource "google_storage_notification" "n" {
  bucket         = google_storage_bucket.b.name
  topic          = google_pubsub_topic.t.id
  payload_format = "JSON_API_V1"
  event_types    = ["OBJECT_FINALIZE"]
}
resource "google_storage_bucket_iam_member" "m" {
  bucket = google_storage_bucket.b.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.s.member
}
resource "google_pubsub_topic" "t" { name = "demo-t" }
resource "google_pubsub_subscription" "s" {
  name                 = "demo-s"
  topic                = google_pubsub_topic.t.id
  ack_deadline_seconds = 60
  push_config {
    push_endpoint = "https://example.com/"
    oidc_token { service_account_email = google_service_account.s.email }
  }
  expiration_policy { ttl = "" }
  retry_policy { minimum_backoff = "10s" }
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.t.id
    max_delivery_attempts = 5
  }
}
resource "google_pubsub_subscription" "plain" {
  name  = "demo-p"
  topic = google_pubsub_topic.t.name
}
resource "google_pubsub_topic_iam_member" "m" {
  topic  = google_pubsub_topic.t.name
  role   = "roles/pubsub.publisher"
  member = "allUsers"
}
resource "google_pubsub_subscription_iam_member" "m" {
  subscription = google_pubsub_subscription.s.name
  role         = "roles/pubsub.subscriber"
  member       = "allUsers"
}
resource "google_cloud_tasks_queue" "q" {
  name     = "demo-q"
  location = "us-central1"
  rate_limits { max_concurrent_dispatches = 100 }
  retry_config {
    max_attempts = 3
    min_backoff  = "2s"
  }
  stackdriver_logging_config { sampling_ratio = 0.1 }
}
resource "google_cloud_tasks_queue" "plain" {
  name     = "demo-q2"
  location = "us-central1"
}
resource "google_cloud_tasks_queue_iam_member" "m" {
  name     = google_cloud_tasks_queue.q.name
  location = "us-central1"
  role     = "roles/cloudtasks.enqueuer"
  member   = "allUsers"
}
resource "google_cloudfunctions2_function" "f" {
  name     = "demo-f"
  location = "us-central1"
  build_config {
    runtime     = "python313"
    entry_point = "handle"
    source {
      storage_source {
        bucket = google_storage_bucket.b.name
        object = google_storage_bucket_object.f.name
      }
    }
    automatic_update_policy {}
  }
  service_config {
    environment_variables = { A = google_pubsub_topic.t.id }
    available_cpu         = "1"
    timeout_seconds       = 60
  }
}
resource "google_cloud_run_service_iam_member" "m" {
  service  = google_cloudfunctions2_function.f.name
  location = "us-central1"
  role     = "roles/run.invoker"
  member   = "allUsers"
}
resource "google_service_account" "s" {
  account_id   = "demo-account"
  display_name = "x"
}
resource "google_service_account_iam_member" "m" {
  service_account_id = google_service_account.s.name
  role               = "roles/iam.serviceAccountUser"
  member             = "allUsers"
}
resource "google_project_service" "s" {
  service            = "pubsub.googleapis.com"
  disable_on_destroy = false
}
resource "google_project_iam_member" "m" {
  project = "demo-project"
  role    = "roles/viewer"
  member  = "allUsers"
  condition {
    title      = "t"
    expression = "true"
  }
}
resource "google_project_iam_custom_role" "r" {
  role_id     = "demo_role"
  title       = "x"
  permissions = ["storage.buckets.get"]
}
resource "google_artifact_registry_repository" "r" {
  repository_id = "demo-r"
  location      = "us-central1"
  format        = "DOCKER"
  cleanup_policies {
    id     = "old"
    action = "DELETE"
    condition { older_than = "86400s" }
  }
}
resource "google_artifact_registry_repository_iam_member" "m" {
  repository = google_artifact_registry_repository.r.name
  location   = "us-central1"
  role       = "roles/artifactregistry.writer"
  member     = "allUsers"
}
resource "google_logging_metric" "m" {
  name   = "demo/m"
  filter = "severity>=ERROR"
  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    labels { key = "reason" }
  }
  label_extractors = { reason = "EXTRACT(jsonPayload.reason)" }
}
resource "google_monitoring_alert_policy" "a" {
  display_name = "x"
  combiner     = "OR"
  conditions {
    display_name = "c"
    condition_threshold {
      filter          = "metric.type=\"x\""
      comparison      = "COMPARISON_GT"
      duration        = "0s"
      threshold_value = 0.5
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }
  documentation { content = "x" }
  notification_channels = [google_monitoring_notification_channel.c.id]
}
resource "google_monitoring_notification_channel" "c" {
  type         = "email"
  display_name = "x"
  labels       = { email_address = "a@example.com" }
}
resource "google_monitoring_dashboard" "d" { dashboard_json = jsonencode({ displayName = "x", gridLayout = {} }) }
resource "google_monitoring_custom_service" "s" {
  service_id   = "demo"
  display_name = "x"
}
resource "google_monitoring_slo" "s" {
  service             = google_monitoring_custom_service.s.service_id
  goal                = 0.99
  rolling_period_days = 28
  request_based_sli {
    good_total_ratio {
      good_service_filter  = "a"
      total_service_filter = "b"
    }
  }
}
resource "google_iam_workload_identity_pool" "p" { workload_identity_pool_id = "github" }
resource "google_iam_workload_identity_pool_provider" "p" {
  workload_identity_pool_id          = google_iam_workload_identity_pool.p.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  attribute_mapping                  = { "google.subject" = "assertion.sub" }
  attribute_condition                = "true"
  oidc { issuer_uri = "https://token.actions.githubusercontent.com" }
}

resource "google_pubsub_topic" "lab" {
  name   = "demo-lab"
  labels = { a = lower(google_pubsub_topic.t.id) }
}
resource "google_logging_metric" "un" {
  name             = "demo/un"
  filter           = "a"
  label_extractors = { reason = google_pubsub_topic.t.id }
}
resource "google_storage_bucket_object" "md" {
  bucket   = google_storage_bucket.b.name
  name     = "x/md"
  content  = google_pubsub_topic.t.id
  metadata = { a = google_pubsub_topic.t.id }
}
resource "google_pubsub_topic" "msp" {
  name = "demo-msp"
  message_storage_policy { allowed_persistence_regions = [google_pubsub_topic.t.id] }
}

resource "google_cloud_scheduler_job" "http" {
  name             = "demo-http"
  region           = "us-central1"
  schedule         = "*/15 * * * *"
  time_zone        = "Europe/Berlin"
  attempt_deadline = "60s"
  paused           = true
  http_target {
    uri         = "https://example.com/x"
    http_method = "POST"
    body        = base64encode("{}")
    headers     = { "Content-Type" = "application/json" }
    oidc_token { service_account_email = google_service_account.s.email }
  }
  retry_config { retry_count = 2 }
}
resource "google_cloud_scheduler_job" "topic" {
  name     = "demo-topic"
  region   = "us-central1"
  schedule = "0 3 * * *"
  pubsub_target {
    topic_name = google_pubsub_topic.t.id
    attributes = { a = "b" }
  }
}

resource "google_cloud_run_v2_job" "j" {
  name                = "demo-job"
  location            = "us-central1"
  deletion_protection = false
  labels              = { a = "b" }
  template {
    task_count = 2
    template {
      max_retries     = 0
      service_account = google_service_account.s.email
      timeout         = "90s"
      containers {
        image = "us-central1-docker.pkg.dev/p/images/worker:1"
        args  = ["sweep"]
        env {
          name  = "A"
          value = "b"
        }
        env { name = "EMPTY" }
        resources { limits = { cpu = "1", memory = "1024Mi" } }
      }
    }
  }
}
resource "google_cloud_run_v2_job_iam_member" "j" {
  name     = google_cloud_run_v2_job.j.name
  location = "us-central1"
  role     = "roles/run.jobsExecutor"
  member   = google_service_account.s.member
}

resource "google_workflows_workflow" "w" {
  name                = "demo-workflow"
  region              = "us-central1"
  service_account     = google_service_account.s.email
  deletion_protection = false
  call_log_level      = "LOG_ERRORS_ONLY"
  user_env_vars       = { A = "b" }
  source_contents     = "main:\n  steps:\n    - end:\n        return: 1\n"
}

resource "google_project_iam_audit_config" "a" {
  project = "p"
  service = "workflowexecutions.googleapis.com"
  audit_log_config { log_type = "DATA_WRITE" }
  audit_log_config {
    log_type         = "DATA_READ"
    exempted_members = ["user:a@example.com"]
  }
}
