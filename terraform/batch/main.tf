# clients → submit → tasks bucket and topic → subscription → worker (a job) → outcome in the tasks bucket
#                  └─ start queue ─▶ runs the job ◀─ clock

module "access" {
  source = "../modules/access"

  access  = var.access
  callers = var.callers
  tokens  = var.tokens
}

module "submit" {
  source = "../modules/function"

  project_id      = var.pipeline.project_id
  region          = var.pipeline.region
  name            = "${var.pipeline.name}-submit"
  build           = local.build
  account_email   = module.submit_account.email
  deletion_policy = var.pipeline.policy.deletion_policy
  ingress         = "ALLOW_ALL"
  invokers        = local.invokers
  public          = module.access.public
  resources       = var.submit

  environment_variables = merge(local.settings, {
    ACCESS         = module.access.setting
    PRIORITIES     = jsonencode({ for key, job in module.worker : key => { topic = google_pubsub_topic.tasks[key].id, job = job.id } })
    START_QUEUE    = module.start_queue.id
    STARTER        = module.starter_account.email
    WINDOW_SECONDS = tostring(var.window_seconds)
  })

  # Whoever reads the address may submit.
  depends_on = [google_pubsub_topic_iam_member.publisher]
}

# Requests and outcomes, each written once: a bucket of their own, since who works on one of the
# pipeline's must not list what others submitted.
module "tasks" {
  source = "../modules/bucket"

  project_id      = var.pipeline.project_id
  name            = "${var.pipeline.project_id}-${var.pipeline.name}-tasks"
  location        = var.pipeline.region
  deletion_policy = var.pipeline.policy.deletion_policy
  kms_key_name    = var.pipeline.policy.kms_key_name
  force_destroy   = var.pipeline.policy.force_destroy
  retention       = { expire_prefix_days = { "tasks/" = var.expire_days }, noncurrent_days = 1 }
  iam_members     = local.tasks_members
}

module "start_queue" {
  source = "../modules/task_queue"

  project_id      = var.pipeline.project_id
  region          = var.pipeline.region
  name            = "${var.pipeline.name}-starts"
  deletion_policy = var.pipeline.policy.deletion_policy

  enqueuers = {
    submit = {
      because = "has the worker started, and tasks published when their time has come"
      member  = module.submit_account.member
    }
  }
}

module "worker" {
  source   = "../modules/job"
  for_each = var.priorities

  project_id      = var.pipeline.project_id
  region          = var.pipeline.region
  name            = "${var.pipeline.name}-worker-${each.key}"
  account_email   = module.worker_account.email
  deletion_policy = var.pipeline.policy.deletion_policy
  image           = local.image
  executors       = local.executors

  resources = {
    cpu             = each.value.cpu
    max_retries     = each.value.max_retries
    memory_mib      = each.value.memory_mib
    timeout_seconds = each.value.timeout_seconds
  }

  environment_variables = merge(local.worker_settings, {
    AT_ONCE         = tostring(each.value.at_once)
    DEAD_LETTERS    = google_pubsub_subscription.dead_letters[each.key].id
    INSTANCE_BYTES  = tostring(each.value.memory_mib * 1048576)
    LIMIT_SECONDS   = tostring(each.value.task_seconds)
    SUBSCRIPTION    = google_pubsub_subscription.worker[each.key].id
    TIMEOUT_SECONDS = tostring(each.value.timeout_seconds)
  })

  depends_on = [google_pubsub_subscription_iam_member.worker, google_storage_bucket_iam_member.pipeline]
}

# Finds requests whose message was lost.
module "sweep" {
  source = "../modules/job"

  project_id      = var.pipeline.project_id
  region          = var.pipeline.region
  name            = "${var.pipeline.name}-worker-sweep"
  account_email   = module.worker_account.email
  arguments       = ["sweep"]
  deletion_policy = var.pipeline.policy.deletion_policy
  image           = local.image
  executors       = local.executors
  resources       = { cpu = 1, max_retries = 1, memory_mib = 512, timeout_seconds = 3600 }

  environment_variables = merge(local.worker_settings, {
    AT_ONCE         = "1"
    DEAD_LETTERS    = "-"
    INSTANCE_BYTES  = tostring(512 * 1048576)
    LIMIT_SECONDS   = "1"
    SUBSCRIPTION    = "-"
    TIMEOUT_SECONDS = "1"
  })
}

# A killed worker's leases hide its messages for 600 s: by then nobody else may submit.
resource "google_cloud_scheduler_job" "run" {
  for_each = merge(
    { for key, job in module.worker : key => { job = job.id, schedule = "*/${var.clock_minutes} * * * *" } },
    { sweep = { job = module.sweep.id, schedule = "7 * * * *" } },
  )

  project          = var.pipeline.project_id
  region           = var.pipeline.region
  name             = "${var.pipeline.name}-run-${each.key}"
  description      = "Runs the job ${basename(each.value.job)}."
  schedule         = each.value.schedule
  attempt_deadline = "60s"
  deletion_policy  = var.pipeline.policy.deletion_policy

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${each.value.job}:run"

    oauth_token {
      service_account_email = module.starter_account.email
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
}

resource "google_cloud_scheduler_job" "submit" {
  for_each = var.schedules

  project          = var.pipeline.project_id
  region           = var.pipeline.region
  name             = "${var.pipeline.name}-submits-${each.key}"
  description      = "Submits a task by the clock."
  schedule         = each.value.cron
  time_zone        = each.value.time_zone
  attempt_deadline = "60s"
  deletion_policy  = var.pipeline.policy.deletion_policy

  http_target {
    http_method = "POST"
    uri         = "${module.submit.url}/submit-task"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(each.value.task)

    oidc_token {
      service_account_email = module.clock_account["this"].email
      audience              = module.submit.url
    }
  }
}
