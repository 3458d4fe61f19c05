locals {
  name = "${var.prefix}-${var.environment}"

  # Made once for each project by environments/bootstrap, under these names.
  build = {
    account_email = "${var.prefix}-build@${var.project_id}.iam.gserviceaccount.com"
    repository    = "projects/${var.project_id}/locations/${var.region}/repositories/${var.prefix}-functions"
    source_bucket = module.sources.name
  }

  deployer_acts_as = var.deployer == "" ? {} : {
    deployer = {
      because = "hands this account to a function or a subscription that it deploys"
      member  = var.deployer
      role    = "roles/iam.serviceAccountUser"
    }
  }

  function_settings = {
    ENVIRONMENT       = var.environment
    HASH_OBJECT_NAMES = tostring(var.hash_object_names)
    PROJECT_ID        = var.project_id
    RESULTS_BUCKET    = module.results.name
    UPLOADS_BUCKET    = module.uploads.name
  }

  # A lane is worked on by a processor deployed here, or by a target of the user's own.
  processor_lanes = { for lane, settings in var.lanes : lane => settings if settings.target_url == "" }
  target_accounts = { for lane, settings in var.lanes : lane => settings.target_account if settings.target_account != "" }

  bridge_lanes = { for lane, settings in var.lanes : lane => {
    queue                     = module.queue[lane].id
    url                       = settings.target_url == "" ? module.processor[lane].uri : settings.target_url
    audience                  = settings.target_url == "" ? module.processor[lane].uri : settings.target_audience
    dispatch_deadline_seconds = settings.dispatch_deadline_seconds
    prefixes                  = settings.prefixes
    content_types             = settings.content_types
    records                   = settings.records
  } }

  # What a lane's instance must hold, in MiB, counted by the numbers that the processor counts by:
  # itself, the largest image as the most demanding format, beside a usual photo for each other request.
  formats           = jsondecode(file("${path.module}/../../functions/processor/processor/formats.json"))
  rendition_formats = [for image in local.formats.images : lower(image.decoder) if contains(keys(image), "extension")]

  memory_needed_mib = { for lane, settings in local.processor_lanes : lane => ceil(
    local.formats.memory.base_mib + local.formats.memory.fixed_mib + local.formats.memory.photo_mib * (settings.concurrency - 1) + (
      max(local.formats.images[*].copies...) * settings.max_file_bytes
      + max(local.formats.images[*].bytes_per_pixel...) * settings.max_pixels
      + local.formats.memory.rendition_bytes_per_pixel * max(0, [for rendition in values(var.renditions) : rendition.width * rendition.height]...)
    ) / 1048576
  ) }
}
