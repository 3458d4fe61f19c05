variable "bucket" {
  description = "The bucket that a subscriber's reader may read."
  type        = string
  nullable    = false
}

variable "deletion_policy" {
  description = "What a destroy does to topics and subscriptions: DELETE, or PREVENT to refuse."
  type        = string
  nullable    = false
  default     = "DELETE"

  validation {
    condition     = contains(["DELETE", "PREVENT"], var.deletion_policy)
    error_message = "deletion_policy is ${var.deletion_policy}; it must be DELETE or PREVENT."
  }
}

variable "deployer" {
  description = "The IAM member that hands the accounts of webhooks to their subscriptions; empty where an owner applies."
  type        = string
  nullable    = false
  default     = ""
}

variable "kms_key_name" {
  description = "Your own key that encrypts dead letters (projects/…/cryptoKeys/…), or empty for Google's keys. Pub/Sub's agent must be allowed to use it."
  type        = string
  nullable    = false
  default     = ""
}

variable "monitoring" {
  description = "Whether there are alerts, where they go, the address of the runbook, and the environment that their commands name."
  type = object({
    enabled               = bool
    environment           = string
    notification_channels = list(string)
    runbook_url           = string
  })
  nullable = false
}

variable "name" {
  description = "What the names of all resources begin with."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,13}[a-z0-9]$", var.name)) && !startswith(var.name, "goog")
    error_message = "name is ${var.name}; it has 3 to 15 lower-case letters, digits and hyphens, begins with a letter, but not with goog, and does not end with a hyphen."
  }
}

variable "project_id" {
  description = "The project that owns subscriptions and accounts."
  type        = string
  nullable    = false
}

variable "role" {
  description = "What is told, which names are made of: approvals, completions or observers."
  type        = string
  nullable    = false

  validation {
    condition     = contains(["approvals", "completions", "observers"], var.role)
    error_message = "role is ${var.role}; it must be approvals, completions or observers."
  }
}

variable "subscribers" {
  description = "Who is told, by a name that never changes. push_url: a webhook, called with a token for audience (push_url unless given); without one, reader pulls. only: done or failed, or of approvals published, rejected or waiting. reader: an IAM member that may read the bucket."
  type = map(object({
    audience = optional(string, "")
    only     = optional(string, "")
    push_url = optional(string, "")
    reader   = optional(string, "")
  }))
  nullable = false

  # Together with name and role they make an account's name: 30 characters.
  validation {
    condition     = alltrue([for key in keys(var.subscribers) : can(regex("^[a-z][a-z0-9-]{0,9}[a-z0-9]$", key)) && key != "dead-letters"])
    error_message = "subscribers has ${join(", ", keys(var.subscribers))}; each name has 2 to 11 lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen."
  }

  validation {
    condition     = alltrue([for it in values(var.subscribers) : it.push_url == "" || can(regex("^https://[^/?#@]+(/[^?#]*)?([?][^#]*)?$", it.push_url))])
    error_message = "subscribers has the push_url ${join(", ", [for it in values(var.subscribers) : it.push_url if it.push_url != ""])}; Pub/Sub calls https:// addresses only."
  }

  validation {
    condition     = alltrue([for it in values(var.subscribers) : it.push_url != "" || it.reader != ""])
    error_message = "subscribers ${join(", ", [for key, it in var.subscribers : key if it.push_url == "" && it.reader == ""])} have neither a push_url to call nor a reader that pulls."
  }

  validation {
    condition     = alltrue([for it in values(var.subscribers) : it.push_url != "" || it.audience == ""])
    error_message = "subscribers ${join(", ", [for key, it in var.subscribers : key if it.push_url == "" && it.audience != ""])} have an audience and no push_url: only a pushed message carries a token."
  }

  validation {
    condition     = alltrue([for it in values(var.subscribers) : it.only == "" || contains(lookup(local.statuses, var.role, []), it.only)])
    error_message = "subscribers has only = ${join(", ", [for it in values(var.subscribers) : it.only if it.only != ""])}; it is ${join(" or ", lookup(local.statuses, var.role, []))}, or left out for all."
  }

  validation {
    condition     = alltrue([for it in values(var.subscribers) : it.reader == "" || can(regex("^(serviceAccount|user|group|principal|principalSet):", it.reader))])
    error_message = "subscribers has the reader ${join(", ", [for it in values(var.subscribers) : it.reader if it.reader != ""])}; it names one account, user or group, such as serviceAccount:crm@my-project.iam.gserviceaccount.com."
  }
}

variable "topic" {
  description = "The full name of the topic that they subscribe to."
  type        = string
  nullable    = false
}
