locals {
  zips = { for name in ["submit", "worker"] : name => "${var.pipeline.build.zips}/${name}.zip" }

  build = merge(var.pipeline.build, {
    source_generation = google_storage_bucket_object.submit.generation
    source_object     = google_storage_bucket_object.submit.name
  })

  # Cloud Build makes it before an apply, where it is not there yet: see scripts/images.py.
  image = var.image == "" ? "${var.pipeline.build.images}/worker:${substr(filesha256(local.zips.worker), 0, 32)}" : var.image

  settings = {
    HASH_OBJECT_NAMES = tostring(var.pipeline.policy.hash_object_names)
    PROJECT_ID        = var.pipeline.project_id
    TASKS_BUCKET      = module.tasks.name
  }

  # A file is processed by the settings of a lane, the default one unless its task names another, with
  # a task's time and memory.
  worker_settings = merge(var.pipeline.processors["default"], local.settings, {
    LANES          = jsonencode(var.pipeline.processors)
    SOURCE_VERSION = filesha256(local.zips.worker)
    TOPICS         = jsonencode({ for key, topic in google_pubsub_topic.tasks : key => topic.id })
    UPLOADS_BUCKET = var.pipeline.buckets.uploads
  })
}

resource "google_storage_bucket_object" "submit" {
  bucket       = var.pipeline.build.source_bucket
  name         = "submit/${filesha256(local.zips.submit)}.zip"
  source       = local.zips.submit
  content_type = "application/zip"

  # The function takes the new zip before the old one goes.
  lifecycle {
    create_before_destroy = true
  }
}
