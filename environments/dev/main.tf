module "pipeline" {
  source = "../../terraform/pipeline"

  project_id  = var.project_id
  environment = "dev"
  zips        = "../../build"
  deployer    = var.deployer

  # Files of dev are for trying: gone with the environment, and not paid for after that.
  force_destroy     = true
  results_retention = { noncurrent_days = 1, soft_delete_days = 0 }
  uploads_retention = { soft_delete_days = 0 }

  # A mistake in dev costs little: 5 instances of 8 requests, and a tenth of those as a margin.
  lanes = {
    default = {
      processor = { max_instances = 5 }
      queue     = { max_concurrent_dispatches = 36 }
    }
  }
}
