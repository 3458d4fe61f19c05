terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "7.45.0"
    }
  }

  # The bucket is the project's; scripts/deploy.py names it.
  backend "gcs" {
    prefix = "showcase"
  }
}

provider "google" {
  project = var.project_id
}
