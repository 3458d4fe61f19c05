module "pipeline" {
  source = "../../terraform/pipeline"

  project_id  = var.project_id
  environment = "prod"
  zips        = "../../build"
  deployer    = var.deployer

  # Where alerts go is added here: notification_channels = ["projects/…/notificationChannels/…"].
  monitoring = { enabled = true }

  deletion_policy = "PREVENT"

  # A quarter to notice that results are gone, a year for uploads, which nobody can make again;
  # cold after a month, when they are hardly read any more.
  results_retention = { noncurrent_days = 90 }
  uploads_retention = { noncurrent_days = 365, storage_class_days = { NEARLINE = 30 } }

  # An instance of each is always warm, so that a single upload does not wait for a start.
  bridge = { min_instances = 1 }

  # Five times the tutorial's rate. 80 instances of 8 requests, less a tenth, take 500 at once. They
  # have 160 vCPU and 160 GiB, and the bridge 10 and 5: ask for 170 vCPU (CpuAllocPerProjectRegion) and
  # 165 GiB (MemAllocPerProjectRegion) of Cloud Run first, since a new project often has 20 and 40.
  lanes = {
    default = {
      processor = { max_instances = 80, min_instances = 1 }
      queue     = { max_concurrent_dispatches = 500, max_dispatches_per_second = 50 }
    }
  }
}

# A destroy is refused as a whole, before anything is gone. How to take prod down on purpose is in
# ../README.md.
resource "terraform_data" "keep" {
  lifecycle {
    prevent_destroy = true
  }
}
