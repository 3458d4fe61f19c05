variable "account_email" {
  description = "The account that the job runs as. The deployer must be allowed to act as it."
  type        = string
  nullable    = false
}

variable "arguments" {
  description = "What the image's command is given."
  type        = list(string)
  nullable    = false
  default     = []
}

variable "deletion_policy" {
  description = "What a destroy does to the job: DELETE, or PREVENT to refuse."
  type        = string
  nullable    = false
  default     = "DELETE"

  validation {
    condition     = contains(["DELETE", "PREVENT"], var.deletion_policy)
    error_message = "deletion_policy is ${var.deletion_policy}; it must be DELETE or PREVENT."
  }
}

variable "environment_variables" {
  description = "The job's settings."
  type        = map(string)
  nullable    = false
  default     = {}
}

variable "executors" {
  description = "Who may run the job, and cancel what runs, by a key of your choice that never changes."
  type = map(object({
    because = string
    member  = string
  }))
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for binding in values(var.executors) : length(binding.because) >= 10])
    error_message = "executors has an entry whose because does not say why it is granted; the tables of permissions are made from that sentence."
  }
}

variable "image" {
  description = "The image that is run, with its tag or digest: tags are not moved in the repository that bootstrap makes."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("[:@][A-Za-z0-9_.:-]+$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image is ${var.image}; name it with a tag or digest, and not :latest, so that a plan says what will run."
  }
}

variable "name" {
  description = "The job's name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,61}[a-z0-9]$", var.name))
    error_message = "name is ${var.name} (${length(var.name)} characters); it has 2 to 63 lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen."
  }
}

variable "project_id" {
  description = "The project that owns the job."
  type        = string
  nullable    = false
}

variable "region" {
  description = "The job's region."
  type        = string
  nullable    = false
}

variable "resources" {
  description = "What an execution has (cpu, memory_mib), for how long (timeout_seconds), and how often it is begun again when it fails (max_retries)."
  type = object({
    cpu             = number
    max_retries     = number
    memory_mib      = number
    timeout_seconds = number
  })
  nullable = false

  validation {
    condition     = contains([1, 2, 4, 6, 8], var.resources.cpu)
    error_message = "resources.cpu is ${var.resources.cpu}; a job takes 1, 2, 4, 6 or 8."
  }

  validation {
    condition     = var.resources.max_retries >= 0 && var.resources.max_retries <= 10
    error_message = "resources.max_retries is ${var.resources.max_retries}; Cloud Run takes 0 to 10."
  }

  validation {
    condition     = var.resources.memory_mib >= 512 && var.resources.memory_mib <= 32768
    error_message = "resources.memory_mib is ${var.resources.memory_mib}; a job takes 512 to 32768."
  }

  validation {
    condition     = var.resources.timeout_seconds >= 1 && var.resources.timeout_seconds <= 604800
    error_message = "resources.timeout_seconds is ${var.resources.timeout_seconds}; Cloud Run takes 1 to 604800, which are 7 days."
  }
}
