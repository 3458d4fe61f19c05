variable "approvers" {
  description = "Who may answer what approvals ask, as IAM members (APPROVERS= of make), where approvals are among the capabilities. Workflows has no IAM below the project, so it is said here."
  type        = set(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for member in var.approvers : can(regex("^(serviceAccount|user|group|principal|principalSet):", member))])
    error_message = "approvers has ${join(", ", var.approvers)}; each names one account, user or group, such as group:editors@example.com."
  }

  validation {
    condition     = length(var.approvers) == 0 || contains(var.capabilities, "approvals")
    error_message = "approvers has ${join(", ", var.approvers)}, and approvals is not among the capabilities: nothing is asked. Add it, or take them away (APPROVERS= of make)."
  }
}

variable "capabilities" {
  description = "The capabilities that environments of this project switch on, by the names of their folders in terraform/ (CAPABILITIES= of make): what an environment's own apply may not make for them is made here."
  type        = set(string)
  nullable    = false
  default     = []

  validation {
    condition     = length(setsubtract(var.capabilities, keys(local.needs))) == 0 && !contains(var.capabilities, "pipeline")
    error_message = "capabilities has ${join(", ", var.capabilities)}; known are ${join(", ", setsubtract(keys(local.needs), ["pipeline"]))}."
  }
}

variable "force_destroy" {
  description = "Whether a destroy deletes the state bucket with every state in it. scripts/deploy.py sets it, once no environment is left."
  type        = bool
  nullable    = false
  default     = false
}

variable "github" {
  description = "The GitHub repository that delivers, by its numeric ids (gh api repos/OWNER/NAME), and the GitHub environment that this project is for. Empty: nobody delivers from GitHub."
  type = object({
    environment   = optional(string, "")
    owner_id      = optional(string, "")
    repository_id = optional(string, "")
  })
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for id in [var.github.owner_id, var.github.repository_id] : can(regex("^[0-9]*$", id))])
    error_message = "github names ${var.github.owner_id} and ${var.github.repository_id}; owner_id and repository_id are numbers, which gh api repos/OWNER/NAME shows: names can change hands."
  }

  validation {
    condition     = length(distinct([for value in values(var.github) : value == ""])) == 1
    error_message = "github must say environment, owner_id and repository_id, or none of them."
  }

  validation {
    condition     = can(regex("^[a-z0-9-]*$", var.github.environment))
    error_message = "github.environment is ${var.github.environment}; it has lower-case letters, digits and hyphens."
  }
}

variable "kms_key_name" {
  description = "Your own key that encrypts the state, the functions' and jobs' images and what they are built from (projects/…/cryptoKeys/…), or empty for Google's keys. An environment's kms_key_name must be the same: Google takes no other for a function than its repository's."
  type        = string
  nullable    = false
  default     = ""
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
