# Every capability that there is, each one call beside the pipeline. Nobody delivers it: it is for
# trying (make showcase), and for reading how a capability is switched on.

module "pipeline" {
  source = "../../terraform/pipeline"

  project_id  = var.project_id
  environment = "showcase"
  zips        = "../../build"
  deployer    = var.deployer

  # As in dev: files for trying, gone with the environment, and not paid for after that. Uploads and
  # outputs expire; records stay.
  force_destroy     = true
  results_retention = { expire_days = 30, noncurrent_days = 1, soft_delete_days = 0 }
  uploads_retention = { expire_days = 30, soft_delete_days = 0 }

  lanes = {
    default = {
      delays    = true
      processor = { max_instances = 5 }
      queue     = { max_concurrent_dispatches = 18 }
    }

    # Kinds of files with libraries of their own: docs/kinds.md. By folder, and by what is declared.
    documents = {
      kind      = "office"
      prefixes  = ["documents/"]
      processor = { concurrency = 4, max_instances = 1 }
      queue     = { max_concurrent_dispatches = 3 }
      content_types = [
        "application/vnd.ms-excel",
        "application/vnd.oasis.opendocument.presentation",
        "application/vnd.oasis.opendocument.spreadsheet",
        "application/vnd.oasis.opendocument.text",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
      ]
    }
    tables = {
      kind          = "tables"
      prefixes      = ["tables/"]
      content_types = ["application/vnd.apache.parquet", "application/x-ndjson", "text/csv", "text/tab-separated-values"]
      processor     = { concurrency = 4, max_instances = 1 }
      queue         = { max_concurrent_dispatches = 3 }
    }
    videos = {
      kind          = "media"
      prefixes      = ["videos/"]
      content_types = ["audio/*", "video/*"]
      processor     = { concurrency = 2, max_instances = 1, memory_mib = 4096 }
      queue         = { max_concurrent_dispatches = 1 }
      renditions = {
        poster = { width = 640, height = 640 }
        video  = { width = 1280, height = 1280, format = "mp4" }
      }
    }
  }

  monitoring = { enabled = true }
}

# Stands for an application of one's own, which is told and reads what it is told of.
module "application" {
  source = "../../terraform/modules/service_account"

  project_id   = var.project_id
  account_id   = "files-showcase-app"
  display_name = "files-showcase: an application"
  description  = "Stands for an application: hears of completions and uploads, reads both. May write nothing."
}

module "completions" {
  source = "../../terraform/completions"

  pipeline    = module.pipeline.interface
  subscribers = { app = { reader = module.application.member } }
}

module "observers" {
  source = "../../terraform/observers"

  pipeline    = module.pipeline.interface
  subscribers = { app = { reader = module.application.member } }
}

# A page where a person uploads files and sees what becomes of them: make portal.
module "portal" {
  source = "../../terraform/portal"

  pipeline = module.pipeline.interface

  # A file is shown once it is published: docs/approvals.md.
  published_bucket = module.approvals.published_bucket

  folders = {
    uploads = {}
  }
}

# A person decides about PDFs, and about what is not what it was declared as: docs/approvals.md.
module "approvals" {
  source = "../../terraform/approvals"

  pipeline = module.pipeline.interface
  topic    = module.completions.topic

  rules = {
    documents = { types = ["application/pdf"] }
    disguised = { mismatch = true }
  }
  subscribers = { app = { reader = module.application.member } }
}

module "sweep" {
  source   = "../../terraform/sweep"
  pipeline = module.pipeline.interface
}

# Tasks that are submitted, and done by workers: docs/batch.md.
module "batch" {
  source = "../../terraform/batch"

  pipeline = module.pipeline.interface

  priorities = {
    normal = { memory_mib = 2048 }
    urgent = { memory_mib = 2048, task_seconds = 300 }
  }
}
