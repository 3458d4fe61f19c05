variable "force_destroy" {
  description = "Whether a destroy deletes the state bucket with every state in it. scripts/deploy.py sets it, once no environment is left."
  type        = bool
  nullable    = false
  default     = false
}

variable "prefix" {
  description = "What the names of all resources begin with, as in the other environments."
  type        = string
  nullable    = false
  default     = "files"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,10}[a-z0-9]$", var.prefix)) && !startswith(var.prefix, "goog")
    error_message = "prefix is ${var.prefix}; it has 2 to 12 lower-case letters, digits and hyphens, begins with a letter, but not with goog, and does not end with a hyphen."
  }
}

variable "project_id" {
  description = "The Google project to prepare (TF_VAR_project_id)."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is ${var.project_id}; it has 6 to 30 lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen."
  }
}

variable "region" {
  description = "The region of the state, the repository and the builds, as in the other environments."
  type        = string
  nullable    = false
  default     = "us-central1"
}
