# The functions' source. A zip's name holds its hash: a changed one is a new object, which makes
# its function deploy again, and an unchanged one changes nothing.

module "sources" {
  source = "../modules/bucket"

  project_id      = var.project_id
  name            = "${var.project_id}-${local.name}-sources"
  location        = var.region
  deletion_policy = var.deletion_policy
  kms_key_name    = var.kms_key_name
  # Zips can be built again from the repository.
  force_destroy = true
  retention     = { soft_delete_days = 0 }
}

resource "google_storage_bucket_object" "zip" {
  for_each = local.zips

  bucket       = module.sources.name
  name         = "${each.key}/${local.zip_sha256[each.key]}.zip"
  source       = each.value
  content_type = "application/zip"

  # The function takes the new zip before the old one goes.
  lifecycle {
    create_before_destroy = true
  }
}

locals {
  zips = { for name in distinct(concat(["bridge"], values(local.processor_zips))) : name => "${var.zips}/${name}.zip" }

  zip_sha256 = { for name, path in local.zips : name => filesha256(path) }

  builds = { for name, zip in google_storage_bucket_object.zip : name => merge(local.build, {
    source_generation = zip.generation
    source_object     = zip.name
  }) }
}
