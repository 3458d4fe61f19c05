# A deleted queue's name is blocked for up to three days, so each creation gets a name of its own.
resource "terraform_data" "suffix" {
  input = formatdate("YYMMDDhhmmss", plantimestamp())

  # What re-creates the queue needs a new name for it, too.
  triggers_replace = [var.project_id, var.region, var.name]

  lifecycle {
    ignore_changes = [input]
  }
}

resource "google_cloud_tasks_queue" "this" {
  project  = var.project_id
  location = var.region
  name     = "${var.name}-${terraform_data.suffix.input}"

  deletion_policy = var.deletion_policy
  desired_state   = var.paused ? "PAUSED" : "RUNNING"

  rate_limits {
    max_concurrent_dispatches = var.max_concurrent_dispatches
    max_dispatches_per_second = var.max_dispatches_per_second
  }

  # A task is given up only when both limits are passed: attempts and duration.
  retry_config {
    max_attempts       = var.retry.max_attempts
    max_backoff        = "${var.retry.max_backoff_seconds}s"
    max_doublings      = var.retry.max_doublings
    max_retry_duration = "${var.retry.retry_days * 86400}s"
    min_backoff        = "${var.retry.min_backoff_seconds}s"
  }

  stackdriver_logging_config {
    sampling_ratio = var.logging_ratio
  }
}

# The provider sees no difference in what somebody paused or resumed by hand: a plan warns of it.
check "runs_as_declared" {
  assert {
    condition     = google_cloud_tasks_queue.this.state == google_cloud_tasks_queue.this.desired_state
    error_message = "The queue ${google_cloud_tasks_queue.this.name} is ${google_cloud_tasks_queue.this.state}, and declared is paused = ${var.paused}. Unless this plan changes that, somebody did it by hand; undo it with: make ops ARGS=${var.paused ? "pause" : "resume"}"
  }
}

resource "google_cloud_tasks_queue_iam_member" "enqueuer" {
  for_each = var.enqueuers

  project  = var.project_id
  location = var.region
  name     = google_cloud_tasks_queue.this.name
  role     = "roles/cloudtasks.enqueuer"
  member   = each.value.member
}
