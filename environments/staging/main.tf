# As prod will run it, at the sources' own rates.
module "pipeline" {
  source = "../../terraform/pipeline"

  project_id  = var.project_id
  environment = "staging"
  zips        = "../../build"
  deployer    = var.deployer

  # 4 vCPU and 16: together what Cloud Run gives a new project in a region. 8 instances of 8 requests,
  # less a tenth, take 57 at once.
  bridge = { max_instances = 4 }
  lanes = {
    default = {
      processor = { max_instances = 8 }
      queue     = { max_concurrent_dispatches = 57 }
    }
  }

  # Where alerts go is added here: notification_channels = ["projects/…/notificationChannels/…"].
  monitoring = { enabled = true }
}
