# A service of one's own beside the pipeline: its account, its zip, its function.

module "lines_account" {
  source = "../../terraform/modules/service_account"

  project_id  = var.project_id
  account_id  = "files-dev-lines"
  description = "The service lines runs as this account. The lane lines lets it read uploads and create results."
  deployer    = var.deployer
}

resource "google_storage_bucket_object" "lines" {
  bucket = module.pipeline.build.source_bucket
  name   = "lines/${filesha256("../../build/lines.zip")}.zip"
  source = "../../build/lines.zip"
}

module "lines" {
  source = "../../terraform/modules/function"

  project_id    = var.project_id
  region        = "us-central1"
  name          = "files-dev-lines"
  account_email = module.lines_account.email

  build = merge(module.pipeline.build, {
    source_generation = google_storage_bucket_object.lines.generation
    source_object     = google_storage_bucket_object.lines.name
  })

  invokers = {
    tasks = {
      because = "Cloud Tasks calls the service in its name"
      member  = "serviceAccount:${module.pipeline.tasks_invoker}"
    }
  }

  # 4 requests at a time on 4 threads; 5 instances take 20, less a tenth for the queue.
  resources = {
    concurrency     = 4
    cpu             = 1
    max_instances   = 5
    memory_mib      = 512
    timeout_seconds = 60
  }
}
