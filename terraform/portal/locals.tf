locals {
  bucket_grants = merge(var.published_bucket == "" ? {} : {
    published = {
      because  = "reads what became of a file that had to be approved; may list, since what is not there reads as forbidden otherwise"
      bucket   = var.published_bucket
      member   = module.status_account.member
      prefixes = null
      role     = "roles/storage.objectViewer"
    }
    }, {
    status = {
      because  = "reads records and outputs; may list, since a file_id holds neither name nor generation"
      bucket   = var.pipeline.buckets.results
      member   = module.status_account.member
      prefixes = null
      role     = "roles/storage.objectViewer"
    }
    upload = {
      because  = "begins uploads and stores small ones, in the portal's folders alone; may read and replace none"
      bucket   = var.pipeline.buckets.uploads
      member   = module.upload_account.member
      prefixes = [for folder in keys(var.folders) : "${folder}/"]
      role     = "roles/storage.objectCreator"
    }
  })

  signs = {
    because  = "signs the addresses of outputs with a key that Google keeps"
    member   = module.status_account.member
    resource = "projects/${var.pipeline.project_id}/serviceAccounts/${module.status_account.email}"
    role     = "roles/iam.serviceAccountTokenCreator"
  }

  settings = {
    ACCESS            = module.access.setting
    HASH_OBJECT_NAMES = tostring(var.pipeline.policy.hash_object_names)
    PROJECT_ID        = var.pipeline.project_id
    RESULTS_BUCKET    = var.pipeline.buckets.results
  }

  # How the bridge would decide for what lies in a folder: the longest prefix of a lane, else default.
  include_prefixes = jsondecode(var.pipeline.bridge.settings.INCLUDE_PREFIXES)
  exclude_prefixes = jsondecode(var.pipeline.bridge.settings.EXCLUDE_PREFIXES)
  ignored = [for folder in keys(var.folders) : folder if anytrue(concat(
    [for prefix in local.exclude_prefixes : startswith("${folder}/", prefix)],
    [length(local.include_prefixes) > 0 && !anytrue([for prefix in local.include_prefixes : startswith("${folder}/", prefix)])],
  ))]
  matching = { for folder in keys(var.folders) : folder => {
    for pair in flatten([for lane, its in var.pipeline.lanes : [
      for prefix in its.prefixes : { lane = lane, prefix = prefix } if startswith("${folder}/", prefix)
    ]]) : format("%04d", length(pair.prefix)) => pair.lane
  } }
  lane_of    = { for folder, lanes in local.matching : folder => length(lanes) == 0 ? "default" : lanes[reverse(sort(keys(lanes)))[0]] }
  unrecorded = [for folder, lane in local.lane_of : "${folder} (lane ${lane})" if !var.pipeline.lanes[lane].records]
  oversized = [for folder, lane in local.lane_of : "${folder} takes ${var.folders[folder].max_bytes}, its lane ${lane} ${var.pipeline.max_file_bytes[lane]}"
    if var.folders[folder].max_bytes > lookup(var.pipeline.max_file_bytes, lane, var.folders[folder].max_bytes)
  ]
}

# Refuses a plan in which somebody would be told "accepted" for what ends without a record.
resource "terraform_data" "folders" {
  input = local.lane_of

  lifecycle {
    precondition {
      condition     = length(local.ignored) == 0
      error_message = "folders has ${join(", ", local.ignored)}, which the bridge ignores: include_prefixes or exclude_prefixes of the pipeline leave it out. Change them, or take the folder away."
    }

    precondition {
      condition     = length(local.unrecorded) == 0
      error_message = "folders has ${join(", ", local.unrecorded)}, whose lane keeps no records, so that nobody could be told how a file ended. Give the folder a lane with records, or take it away."
    }

    precondition {
      condition     = length(local.oversized) == 0
      error_message = "folders takes larger files than the pipeline: ${join("; ", local.oversized)}. Lower max_bytes, or raise the lane's limit."
    }
  }
}
