output "bridge_settings" {
  description = "What the bridge decides by. The operator's tool decides by the same."
  value       = module.bridge.environment_variables
}

output "bridge_uri" {
  description = "The address that upload events are pushed to."
  value       = module.bridge.uri
}

output "dead_letter_subscription" {
  description = "The subscription that holds events which could not be delivered."
  value       = module.object_events.dead_letter_subscription
}

output "processor_uris" {
  description = "The address of each lane's processor, for lanes that have one here."
  value       = { for lane, processor in module.processor : lane => processor.uri }

  precondition {
    condition     = alltrue([for lane, needed in local.memory_needed_mib : var.lanes[lane].memory_mib >= needed])
    error_message = "A lane's memory_mib must hold its largest file beside its other requests; ${join(", ", [for lane, needed in local.memory_needed_mib : "${lane} has ${var.lanes[lane].memory_mib} and needs ${needed}"])}. Lower max_file_bytes, max_pixels, concurrency or the renditions, or raise memory_mib."
  }
}

output "queues" {
  description = "The full name of each lane's queue."
  value       = { for lane, queue in module.queue : lane => queue.id }
}

output "results_bucket" {
  description = "Where results, manifests and failure records appear."
  value       = module.results.name
}

output "tasks_invoker" {
  description = "The account that calls the lanes' targets. A target of your own must let it in (roles/run.invoker)."
  value       = module.tasks_invoker.email
}

# Known once uploads are announced and processed: whoever reads it can begin to upload.
output "uploads_bucket" {
  description = "Where to put files."
  value       = module.uploads.name
  depends_on  = [module.object_events]
}
