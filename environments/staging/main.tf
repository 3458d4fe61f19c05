# As prod will run it, at the sources' own rates: every setting is the module's default.
module "pipeline" {
  source = "../../terraform/pipeline"

  project_id  = var.project_id
  environment = "staging"
  zips        = "../../build"
  deployer    = var.deployer

  # Where alerts go is added here: notification_channels = ["projects/…/notificationChannels/…"].
  monitoring = { enabled = true }
}
