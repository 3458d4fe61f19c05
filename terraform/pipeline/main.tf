# uploads → events → bridge → queue → processor → results, once for each lane from the queue on.

module "uploads" {
  source = "../modules/bucket"

  project_id      = var.project_id
  name            = "${var.project_id}-${local.name}-uploads"
  location        = var.region
  deletion_policy = var.deletion_policy
  kms_key_name    = var.kms_key_name
  force_destroy   = var.force_destroy
  retention       = var.uploads_retention
  cors            = { origins = var.uploads_origins }

  iam_members = merge(
    { processor = {
      because = "reads the upload; may list, because a file that is gone reads as forbidden otherwise"
      member  = module.processor_account.member
      role    = "roles/storage.objectViewer"
    } },
    { for lane, account in local.target_accounts : "target-${lane}" => {
      because = "reads the uploads that the lane ${lane} gives to it"
      member  = account
      role    = "roles/storage.objectViewer"
    } },
  )
}

module "object_events" {
  source = "../modules/object_events"

  project_id                 = var.project_id
  bucket                     = module.uploads.name
  url                        = module.bridge.url
  invoker_email              = module.events_invoker.email
  delivery                   = var.delivery
  dead_letter_retention_days = var.dead_letter_retention_days
  deletion_policy            = var.deletion_policy
  kms_key_name               = var.kms_key_name

  names = {
    dead_letters = "${local.name}-dead-letters"
    subscription = "${local.name}-bridge"
    topic        = "${local.name}-uploads"
  }
}

module "bridge" {
  source = "../modules/function"

  project_id    = var.project_id
  region        = var.region
  name          = "${local.name}-bridge"
  build         = local.builds["bridge"]
  account_email = module.bridge_account.email

  invokers = {
    events = {
      because = "Pub/Sub pushes the announcements to the bridge in its name"
      member  = module.events_invoker.member
    }
  }
  resources       = var.bridge
  deletion_policy = var.deletion_policy

  environment_variables = merge(local.function_settings, {
    EXCLUDE_PREFIXES = jsonencode(var.exclude_prefixes)
    INCLUDE_PREFIXES = jsonencode(var.include_prefixes)
    LANES            = jsonencode(local.bridge_lanes)
    TASKS_INVOKER    = module.tasks_invoker.email
  })
}

module "queue" {
  source   = "../modules/task_queue"
  for_each = var.lanes

  project_id                = var.project_id
  region                    = var.region
  name                      = "${local.name}-${each.key}"
  enqueuers                 = { bridge = { because = "makes a task of each upload", member = module.bridge_account.member } }
  max_concurrent_dispatches = each.value.queue.max_concurrent_dispatches
  max_dispatches_per_second = each.value.queue.max_dispatches_per_second
  paused                    = each.value.queue.paused
  deletion_policy           = var.deletion_policy

  retry = {
    max_attempts        = each.value.queue.max_attempts
    max_backoff_seconds = each.value.queue.max_backoff_seconds
    max_doublings       = each.value.queue.max_doublings
    min_backoff_seconds = each.value.queue.min_backoff_seconds
    retry_days          = var.retry_days
  }
}

module "queue_later" {
  source   = "../modules/task_queue"
  for_each = local.later_lanes

  project_id                = var.project_id
  region                    = var.region
  name                      = "${local.name}-${each.key}-later"
  enqueuers                 = { bridge = { because = "makes a task of each upload that is due later", member = module.bridge_account.member } }
  max_concurrent_dispatches = each.value.queue.max_concurrent_dispatches
  max_dispatches_per_second = each.value.queue.max_dispatches_per_second
  paused                    = each.value.queue.paused
  deletion_policy           = var.deletion_policy

  retry = {
    max_attempts        = each.value.queue.max_attempts
    max_backoff_seconds = each.value.queue.max_backoff_seconds
    max_doublings       = each.value.queue.max_doublings
    min_backoff_seconds = each.value.queue.min_backoff_seconds
    retry_days          = var.retry_days
  }
}

module "processor" {
  source   = "../modules/function"
  for_each = local.processor_lanes

  project_id      = var.project_id
  region          = var.region
  name            = "${local.name}-processor-${each.key}"
  build           = local.builds[local.processor_zips[each.key]]
  account_email   = module.processor_account.email
  invokers        = { tasks = { because = "Cloud Tasks calls the processor in its name", member = module.tasks_invoker.member } }
  deletion_policy = var.deletion_policy

  resources = { for name, value in each.value.processor : name => value if contains(local.of_instance, name) }

  # Of its settings, the processor is told those that are not the instance's, and how many it takes at once.
  environment_variables = merge(local.function_settings, {
    for name, value in each.value.processor : upper(name) => tostring(value) if name == "concurrency" || !contains(local.of_instance, name)
    }, {
    # A picture's memory in pages of 2 MiB, where the kernel gives them: up to a third less CPU.
    GLIBC_TUNABLES = "glibc.malloc.hugetlb=1"
    KIND           = each.value.kind
    LANE           = each.key
    MAX_ATTEMPTS   = tostring(each.value.queue.max_attempts)
    MEMORY_BYTES   = tostring(each.value.processor.memory_mib * 1048576)
    RENDITIONS     = jsonencode(local.renditions[each.key])
    # Towards its end a task that fails is recorded, whatever the fault, as the queue will delete it.
    TASK_SECONDS = tostring(max(1, floor(var.retry_days * 86400)))
  })
}

# Write once: whoever works on files may create results, and nobody may replace or delete them.
module "results" {
  source = "../modules/bucket"

  project_id      = var.project_id
  name            = "${var.project_id}-${local.name}-results"
  location        = var.region
  deletion_policy = var.deletion_policy
  kms_key_name    = var.kms_key_name
  force_destroy   = var.force_destroy
  # Claims of attempts are of use for as long as a task can live. Records stay: an upload without one
  # would be processed again.
  retention = merge(var.results_retention, {
    expire_days        = null
    expire_prefix_days = merge({ "attempts/" = 31 }, { for days in var.results_retention.expire_days[*] : "files/" => days })
  })

  iam_members = merge(
    { processor = {
      because = "writes attempts, outputs and records, but cannot replace or delete them"
      member  = module.processor_account.member
      role    = "roles/storage.objectCreator"
    } },
    { for lane, account in local.target_accounts : "target-${lane}" => {
      because = "writes outputs and records of the lane ${lane}, but cannot replace or delete them"
      member  = account
      role    = "roles/storage.objectCreator"
    } if local.target_lanes[lane].records },
  )
}
