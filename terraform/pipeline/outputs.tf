output "bridge_settings" {
  description = "What the bridge decides by. The operator's tool decides by the same."
  value       = module.bridge.environment_variables
}

output "bridge_url" {
  description = "The address that upload events are pushed to."
  value       = module.bridge.url
}

output "build" {
  description = "What a function of your own beside the pipeline is built with: the build of modules/function, less its zip."
  value       = local.build
}

output "dead_letter_subscription" {
  description = "The subscription that holds events which could not be delivered."
  value       = module.object_events.dead_letter_subscription
}

output "grants" {
  description = "Who holds which role on what, and because of what: {member, role, resource, because}, in the order of a file's way."
  value = concat(
    module.object_events.grants,
    module.bridge.grants,
    flatten([for queue in values(merge(module.queue, { for name, queue in module.queue_later : "${name}-later" => queue })) : queue.grants]),
    module.tasks_invoker.grants,
    flatten([for processor in values(module.processor) : processor.grants]),
    module.uploads.grants,
    module.results.grants,
    module.events_invoker.grants,
    module.bridge_account.grants,
    module.processor_account.grants,
  )
}

# Known once uploads are announced and processed, like uploads_bucket.
output "interface" {
  description = "What a capability takes: everything of the pipeline that it may build on."
  value = {
    accounts = { tasks_invoker = module.tasks_invoker.email }
    bridge   = { settings = module.bridge.environment_variables }
    buckets  = { results = module.results.name, uploads = module.uploads.name }
    build = merge(local.build, {
      images = "${var.region}-docker.pkg.dev/${var.project_id}/${var.prefix}-images"
      zips   = var.zips
    })
    deployer    = var.deployer
    environment = var.environment
    lanes       = local.bridge_lanes
    # Of the lanes whose processor is deployed here: others have limits of their own.
    max_file_bytes = { for name, lane in local.processor_lanes : name => lane.processor.max_file_bytes }
    monitoring     = var.monitoring
    name           = local.name
    policy = {
      deletion_policy   = var.deletion_policy
      force_destroy     = var.force_destroy
      hash_object_names = var.hash_object_names
      kms_key_name      = var.kms_key_name
    }
    processors = { for lane, it in module.processor : lane => it.environment_variables }
    project_id = var.project_id
    queues     = local.queues
    region     = var.region
    topics     = { uploads = module.object_events.topic }
  }
  depends_on = [module.object_events]
}

output "processor_urls" {
  description = "The address of each lane's processor, for lanes that have one here."
  value       = { for lane, processor in module.processor : lane => processor.url }

  precondition {
    condition     = alltrue([for lane, needed in local.memory_needed_mib : var.lanes[lane].processor.memory_mib >= needed])
    error_message = "A lane's processor.memory_mib must hold its largest file beside its other requests; ${join(", ", [for lane, needed in local.memory_needed_mib : "${lane} has ${var.lanes[lane].processor.memory_mib} and needs ${needed}"])}. Lower max_file_bytes, max_pixels, concurrency or the renditions, or raise memory_mib."
  }
}

output "queues" {
  description = "The full name of each lane's queue, and of the second one of a lane with delays (<lane>-later)."
  value       = local.queues
}

output "results_bucket" {
  description = "Where results, manifests and failure records appear."
  value       = module.results.name
}

output "tasks_invoker" {
  description = "The account that calls the lanes' targets. A target of your own must let it in (roles/run.invoker)."
  value       = module.tasks_invoker.email
}

output "uploads_are_gone" {
  description = "When the last byte of an upload is gone."
  value = var.uploads_retention.expire_days == null ? "${local.kept_days} days after it is deleted; it does not expire" : (
    "${var.uploads_retention.expire_days + local.kept_days} days after it came: ${var.uploads_retention.expire_days} until it expires, then ${var.uploads_retention.noncurrent_days} as a noncurrent version and ${var.uploads_retention.soft_delete_days} soft-deleted"
  )
}

# Known once uploads are announced and processed: whoever reads it can begin to upload.
output "uploads_bucket" {
  description = "Where to put files."
  value       = module.uploads.name
  depends_on  = [module.object_events]
}
