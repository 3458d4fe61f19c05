terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source = "hashicorp/google"
      # 8.0's breaking changes touch nothing that is used here.
      version = ">= 7.45, < 9"
    }
  }
}
