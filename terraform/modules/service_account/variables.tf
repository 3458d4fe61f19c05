variable "account_id" {
  description = "The part of the account's address before the @."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.account_id))
    error_message = "account_id is ${var.account_id} (${length(var.account_id)} characters); it has 6 to 30 lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen."
  }
}

variable "deployer" {
  description = "The IAM member that hands the account to functions, subscriptions, schedules or jobs, and so acts as it; empty where an owner applies."
  type        = string
  nullable    = false
  default     = ""
}

variable "description" {
  description = "What the account may do and why it exists, for whoever meets it in the console."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = length(var.description) <= 256
    error_message = "description has ${length(var.description)} characters; Google takes 256."
  }
}

variable "display_name" {
  description = "The account's name for people."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = length(var.display_name) <= 100
    error_message = "display_name has ${length(var.display_name)} characters; Google takes 100."
  }
}

variable "iam_members" {
  description = "Who may act as the account, by a key of your choice that never changes. Additive."
  type = map(object({
    because = string
    member  = string
    role    = string
  }))
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for binding in values(var.iam_members) : length(binding.because) >= 10])
    error_message = "iam_members has an entry whose because does not say why it is granted; the tables of permissions are made from that sentence."
  }

  validation {
    condition = alltrue([for binding in var.iam_members : contains(
      ["roles/iam.serviceAccountUser", "roles/iam.workloadIdentityUser"], binding.role
    )])
    error_message = "iam_members names ${join(", ", distinct([for binding in var.iam_members : binding.role]))}; allowed are roles/iam.serviceAccountUser and roles/iam.workloadIdentityUser, since nothing here needs more."
  }
}

variable "project_id" {
  description = "The project that owns the account."
  type        = string
  nullable    = false
}
