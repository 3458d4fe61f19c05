# One account for each part, and what each may do.

module "submit_account" {
  source = "../modules/service_account"

  project_id   = var.pipeline.project_id
  account_id   = "${var.pipeline.name}-submit"
  display_name = "${var.pipeline.name}: submit"
  description  = "The submit service runs as this account. May keep requests, publish tasks, and have workers started in the starter's name."
  deployer     = var.pipeline.deployer
}

module "worker_account" {
  source = "../modules/service_account"

  project_id   = var.pipeline.project_id
  account_id   = "${var.pipeline.name}-batch-worker"
  display_name = "${var.pipeline.name}: batch worker"
  description  = "Workers run as this account. May pull tasks, read requests and uploads, and create outcomes and results."
  deployer     = var.pipeline.deployer
}

module "starter_account" {
  source = "../modules/service_account"

  project_id   = var.pipeline.project_id
  account_id   = "${var.pipeline.name}-starter"
  display_name = "${var.pipeline.name}: starts workers"
  description  = "Cloud Tasks and Cloud Scheduler run the jobs in this account's name, and publish tasks whose time has come. Nothing else."
  deployer     = var.pipeline.deployer

  iam_members = {
    submit = {
      because = "a task may carry an account's name only if whoever makes it may act as that account"
      member  = module.submit_account.member
      role    = "roles/iam.serviceAccountUser"
    }
  }
}

module "clock_account" {
  source   = "../modules/service_account"
  for_each = length(var.schedules) == 0 ? [] : toset(["this"])

  project_id   = var.pipeline.project_id
  account_id   = "${var.pipeline.name}-batch-clock"
  display_name = "${var.pipeline.name}: submits by the clock"
  description  = "Cloud Scheduler submits tasks in this account's name. May invoke submit, nothing else."
  deployer     = var.pipeline.deployer
}

locals {
  invokers = merge(module.access.invokers, length(var.schedules) == 0 ? {} : {
    clock = {
      because = "Cloud Scheduler submits tasks in its name"
      member  = module.clock_account["this"].member
    }
  })

  executors = {
    starter = {
      because = "Cloud Tasks and Cloud Scheduler run the job in its name"
      member  = module.starter_account.member
    }
  }

  tasks_members = {
    submit_reads = {
      because = "tells how tasks stand, and whether one was submitted before"
      member  = module.submit_account.member
      role    = "roles/storage.objectViewer"
    }
    submit_writes = {
      because = "keeps each request before it is published, and what is cancelled; may replace none"
      member  = module.submit_account.member
      role    = "roles/storage.objectCreator"
    }
    worker_reads = {
      because = "reads a task's request, and whether it has an outcome"
      member  = module.worker_account.member
      role    = "roles/storage.objectViewer"
    }
    worker_writes = {
      because = "writes outputs and outcomes, and may replace none"
      member  = module.worker_account.member
      role    = "roles/storage.objectCreator"
    }
  }

  # What reads and writes the pipeline's buckets.
  pipeline_grants = {
    reads = {
      because = "reads the uploads that a task names"
      bucket  = var.pipeline.buckets.uploads
      member  = module.worker_account.member
      role    = "roles/storage.objectViewer"
    }
    writes = {
      because = "writes the pipeline's records and outputs of a file that a task names"
      bucket  = var.pipeline.buckets.results
      member  = module.worker_account.member
      role    = "roles/storage.objectCreator"
    }
  }

  publishers = {
    starter = { because = "publishes tasks whose time has come", member = module.starter_account.member }
    submit  = { because = "publishes each task", member = module.submit_account.member }
    worker  = { because = "publishes again what was lost", member = module.worker_account.member }
  }
  publisher_grants = merge([for key in keys(var.priorities) : {
    for who, it in local.publishers : "${key} ${who}" => merge(it, {
      role  = "roles/pubsub.publisher"
      topic = google_pubsub_topic.tasks[key].name
    })
  }]...)

  subscriber_grants = merge([for key in keys(var.priorities) : {
    "${key} tasks" = {
      because      = "takes tasks off it"
      member       = module.worker_account.member
      role         = "roles/pubsub.subscriber"
      subscription = google_pubsub_subscription.worker[key].name
    }
    "${key} dead letters" = {
      because      = "gives what was set aside its outcome"
      member       = module.worker_account.member
      role         = "roles/pubsub.subscriber"
      subscription = google_pubsub_subscription.dead_letters[key].name
    }
  }]...)
}

resource "google_storage_bucket_iam_member" "pipeline" {
  for_each = local.pipeline_grants

  bucket = each.value.bucket
  role   = each.value.role
  member = each.value.member
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = local.publisher_grants

  project = var.pipeline.project_id
  topic   = each.value.topic
  role    = each.value.role
  member  = each.value.member
}

resource "google_pubsub_subscription_iam_member" "worker" {
  for_each = local.subscriber_grants

  project      = var.pipeline.project_id
  subscription = each.value.subscription
  role         = each.value.role
  member       = each.value.member
}
