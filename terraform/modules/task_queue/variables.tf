variable "deletion_policy" {
  description = "What a destroy does to the queue: DELETE, or PREVENT to refuse."
  type        = string
  nullable    = false
  default     = "DELETE"

  validation {
    condition     = contains(["DELETE", "PREVENT"], var.deletion_policy)
    error_message = "deletion_policy is ${var.deletion_policy}; it must be DELETE or PREVENT."
  }
}

variable "enqueuers" {
  description = "Who may put tasks into the queue, by a key of your choice that never changes."
  type = map(object({
    because = string
    member  = string
  }))
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for binding in values(var.enqueuers) : length(binding.because) >= 10])
    error_message = "enqueuers has an entry whose because does not say why it is granted; the tables of permissions are made from that sentence."
  }
}

variable "logging_ratio" {
  description = "The share of attempts that the queue logs, 0 to 1. All by default: a lost file is found in these logs."
  type        = number
  nullable    = false
  default     = 1

  validation {
    condition     = var.logging_ratio >= 0 && var.logging_ratio <= 1
    error_message = "logging_ratio is ${var.logging_ratio}; it must be between 0 and 1."
  }
}

variable "max_concurrent_dispatches" {
  description = "How many tasks are at work at once."
  type        = number
  nullable    = false
  default     = 100

  validation {
    condition     = var.max_concurrent_dispatches >= 1 && var.max_concurrent_dispatches <= 5000 && floor(var.max_concurrent_dispatches) == var.max_concurrent_dispatches
    error_message = "max_concurrent_dispatches is ${var.max_concurrent_dispatches} for ${var.name}; a queue takes a whole number from 1 to 5000."
  }
}

variable "max_dispatches_per_second" {
  description = "How many tasks start in a second."
  type        = number
  nullable    = false
  default     = 10

  validation {
    condition     = var.max_dispatches_per_second > 0 && var.max_dispatches_per_second <= 500
    error_message = "max_dispatches_per_second is ${var.max_dispatches_per_second} for ${var.name}; a queue takes more than 0 and at most 500. To stop it, set paused."
  }
}

variable "name" {
  description = "The queue's name without its suffix of 12 digits, which changes with each creation."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9-]{0,86}$", var.name))
    error_message = "name is ${var.name} (${length(var.name)} characters); a queue takes letters, digits and hyphens, and with its suffix at most 100 characters, so 87 here."
  }
}

variable "paused" {
  description = "Whether the queue holds its tasks back. They keep their place for 31 days, then Cloud Tasks deletes them."
  type        = bool
  nullable    = false
  default     = false
}

variable "project_id" {
  description = "The project that owns the queue."
  type        = string
  nullable    = false
}

variable "region" {
  description = "The queue's region."
  type        = string
  nullable    = false
}

variable "retry" {
  description = "A failed task comes again after min_backoff_seconds, doubled max_doublings times up to max_backoff_seconds, until it has had max_attempts and is older than retry_days, both."
  # 3 attempts and 2 s to 300 s are the tutorial's, 16 doublings (so: up to the maximum) Google's
  # default, which it left alone. 7 days, because an outage of the platform must cost no file: with
  # attempts alone a task would be gone seconds after its first failure.
  type = object({
    max_attempts        = optional(number, 3)
    max_backoff_seconds = optional(number, 300)
    max_doublings       = optional(number, 16)
    min_backoff_seconds = optional(number, 2)
    retry_days          = optional(number, 7)
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.retry.retry_days > 0 && var.retry.retry_days < 31
    error_message = "retry.retry_days is ${var.retry.retry_days}; it must be above 0, or a few failures in a row delete the task, and below 31, when Cloud Tasks deletes it in any case."
  }

  validation {
    condition     = var.retry.max_attempts >= 1
    error_message = "retry.max_attempts is ${var.retry.max_attempts}; it must be at least 1."
  }

  validation {
    condition     = var.retry.min_backoff_seconds > 0 && var.retry.min_backoff_seconds <= var.retry.max_backoff_seconds && var.retry.max_backoff_seconds <= 3600
    error_message = "retry waits ${var.retry.min_backoff_seconds} to ${var.retry.max_backoff_seconds} s; it must be above 0, the minimum not above the maximum, and the maximum at most 3600."
  }

  validation {
    condition     = var.retry.max_doublings >= 0 && var.retry.max_doublings <= 16
    error_message = "retry.max_doublings is ${var.retry.max_doublings}; it must be between 0 and 16."
  }
}
