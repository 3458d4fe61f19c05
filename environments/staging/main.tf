# As prod will run it, at the sources' own rates: every setting is the module's default.
module "pipeline" {
  source = "../../terraform"

  project_id    = var.project_id
  environment   = "staging"
  bridge_zip    = "../../build/bridge.zip"
  processor_zip = "../../build/processor.zip"
  deployer      = var.deployer

  # Where alerts go is added here: notification_channels = ["projects/…/notificationChannels/…"].
  monitoring = { enabled = true }
}
