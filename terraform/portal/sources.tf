# The functions' source, beside the pipeline's. A zip's name holds its hash.

resource "google_storage_bucket_object" "zip" {
  for_each = toset(["status", "upload"])

  bucket       = var.pipeline.build.source_bucket
  name         = "${each.key}/${filesha256("${var.pipeline.build.zips}/${each.key}.zip")}.zip"
  source       = "${var.pipeline.build.zips}/${each.key}.zip"
  content_type = "application/zip"

  # The function takes the new zip before the old one goes.
  lifecycle {
    create_before_destroy = true
  }
}

locals {
  builds = { for name, zip in google_storage_bucket_object.zip : name => merge(var.pipeline.build, {
    source_generation = zip.generation
    source_object     = zip.name
  }) }
}
