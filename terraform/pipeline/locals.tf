locals {
  name = "${var.prefix}-${var.environment}"

  # Made once for each project by environments/bootstrap, under these names.
  build = {
    account_email = "${var.prefix}-build@${var.project_id}.iam.gserviceaccount.com"
    kms_key_name  = var.kms_key_name
    repository    = "projects/${var.project_id}/locations/${var.region}/repositories/${var.prefix}-functions"
    source_bucket = module.sources.name
  }

  function_settings = {
    ENVIRONMENT       = var.environment
    HASH_OBJECT_NAMES = tostring(var.hash_object_names)
    PROJECT_ID        = var.project_id
    RESULTS_BUCKET    = module.results.name
    UPLOADS_BUCKET    = module.uploads.name
  }

  # A lane's kind is a zip of the processor with libraries of its own; the first is in processor.zip.
  kinds = concat(["default"], keys(local.formats.kinds))

  # What of a lane's processor is its instances': Cloud Run's to know.
  of_instance = ["concurrency", "cpu", "max_instances", "memory_mib", "min_instances", "timeout_seconds"]

  # A lane is worked on by a processor deployed here, or by a target of the user's own.
  processor_lanes = { for name, lane in var.lanes : name => lane if lane.target == null }
  target_lanes    = { for name, lane in var.lanes : name => lane.target if lane.target != null }
  target_accounts = { for name, target in local.target_lanes : name => target.account if target.account != null }

  # What is due later waits in a second queue, where tasks may stand and be old without an alert.
  later_lanes       = { for name, lane in var.lanes : name => lane if lane.delays || lane.delay_seconds > 0 }
  max_delay_seconds = max(0, floor((30 - var.retry_days) * 86400))

  # What a deleted or expired upload still has before it.
  kept_days = var.uploads_retention.noncurrent_days + var.uploads_retention.soft_delete_days

  queues = merge(
    { for name, queue in module.queue : name => queue.id },
    { for name, queue in module.queue_later : "${name}-later" => queue.id },
  )

  own_outputs = ["table", "text"] # of the processor, beside renditions

  processor_zips = { for name, lane in local.processor_lanes : name => lane.kind == "default" ? "processor" : "processor-${lane.kind}" }
  renditions     = { for name, lane in local.processor_lanes : name => lane.renditions == null ? var.renditions : lane.renditions }
  lane_renditions = merge([for name, lane in var.lanes :
    { for rendition, settings in lane.renditions : "${name}.${rendition}" => settings } if lane.renditions != null
  ]...)

  bridge_lanes = { for name, lane in var.lanes : name => {
    queue                     = module.queue[name].id
    url                       = lane.target == null ? module.processor[name].url : lane.target.url
    audience                  = lane.target == null ? module.processor[name].url : lane.target.audience
    dispatch_deadline_seconds = lane.queue.dispatch_deadline_seconds
    prefixes                  = lane.prefixes
    content_types             = lane.content_types
    records                   = lane.target == null ? true : lane.target.records
    later                     = contains(keys(local.later_lanes), name) ? module.queue_later[name].id : ""
    delay_seconds             = lane.delay_seconds
    delays                    = lane.delays
    max_delay_seconds         = local.max_delay_seconds
  } }

  # What a lane's instance must hold, in MiB, counted by the numbers that the processor counts by:
  # itself, the largest image as the most demanding format, or the largest file of the lane's kind,
  # beside a usual photo for each other request.
  formats           = jsondecode(file("${path.module}/../../functions/processor/processor/formats.json"))
  rendition_formats = [for image in local.formats.images : lower(image.decoder) if contains(keys(image), "extension")]
  video_formats     = local.formats.videos[*].extension

  memory_needed_mib = { for name, lane in local.processor_lanes : name => ceil(
    local.formats.memory.base_mib + local.formats.memory.fixed_mib + local.formats.memory.photo_mib * (lane.processor.concurrency - 1) + max((
      max(local.formats.images[*].copies...) * lane.processor.max_file_bytes
      + max(local.formats.images[*].bytes_per_pixel...) * lane.processor.max_pixels
      + local.formats.memory.rendition_bytes_per_pixel * max(0, [for rendition in values(local.renditions[name]) : rendition.width * rendition.height]...)
      ) / 1048576, [for kind, takes in local.formats.kinds :
      takes.base_mib + takes.copies * lane.processor.max_file_bytes / 1048576 if kind == lane.kind
    ]...)
  ) }
}
