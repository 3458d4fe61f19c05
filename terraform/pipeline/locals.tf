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

  # What a lane's instance must hold, in MiB, as the processor counts it: 136 for Python, its
  # libraries and buffers; the largest file, of which some decoders keep three copies; 20 bytes for
  # each pixel of the largest image (AVIF's, the most of all formats); 45 for each of the largest
  # rendition. Beside that, 20 for a usual photo in each of the other requests.
  memory_needed_mib = { for lane, settings in local.processor_lanes : lane => ceil(
    136
    + 3 * settings.max_file_bytes / 1048576
    + 20 * settings.max_pixels / 1048576
    + 45 * max(0, [for rendition in values(var.renditions) : rendition.width * rendition.height]...) / 1048576
    + 20 * (settings.concurrency - 1)
  ) }
}
