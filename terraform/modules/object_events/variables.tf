variable "bucket" {
  description = "The bucket whose finalized objects are announced."
  type        = string
  nullable    = false
}

variable "dead_letter_retention_days" {
  description = "How long an event that could not be delivered waits to be looked at. 31 days are Pub/Sub's maximum: nothing is gained by forgetting sooner."
  type        = number
  nullable    = false
  default     = 31

  validation {
    condition     = var.dead_letter_retention_days >= 1 && var.dead_letter_retention_days <= 31
    error_message = "dead_letter_retention_days is ${var.dead_letter_retention_days}; Pub/Sub keeps messages at most 31 days, and below 1 nobody sees them."
  }
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

variable "delivery" {
  description = "How events are pushed: the address has ack_deadline_seconds to answer; a failed push comes again after min_backoff_seconds to max_backoff_seconds, max_attempts times and for retention_days at most."
  # 60 s and 7 days are the tutorial's. 10 s to 600 s (Pub/Sub's maximum) and 100 attempts (the
  # maximum, too) give about 16 hours: 5 attempts, as one source has it, would be over in minutes.
  type = object({
    ack_deadline_seconds = optional(number, 60)
    max_attempts         = optional(number, 100)
    max_backoff_seconds  = optional(number, 600)
    min_backoff_seconds  = optional(number, 10)
    retention_days       = optional(number, 7)
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.delivery.ack_deadline_seconds >= 10 && var.delivery.ack_deadline_seconds <= 600
    error_message = "delivery.ack_deadline_seconds is ${var.delivery.ack_deadline_seconds}; Pub/Sub takes 10 to 600."
  }

  validation {
    condition     = var.delivery.max_attempts >= 5 && var.delivery.max_attempts <= 100
    error_message = "delivery.max_attempts is ${var.delivery.max_attempts}; Pub/Sub takes 5 to 100 deliveries before a dead letter."
  }

  validation {
    condition     = var.delivery.min_backoff_seconds >= 0 && var.delivery.min_backoff_seconds <= var.delivery.max_backoff_seconds && var.delivery.max_backoff_seconds <= 600
    error_message = "delivery waits ${var.delivery.min_backoff_seconds} to ${var.delivery.max_backoff_seconds} s; Pub/Sub takes 0 to 600, the minimum not above the maximum."
  }

  validation {
    condition     = var.delivery.retention_days >= 1 && var.delivery.retention_days <= 31
    error_message = "delivery.retention_days is ${var.delivery.retention_days}; Pub/Sub keeps messages at most 31 days, and below 1 an outage of a night loses files."
  }
}

variable "invoker_email" {
  description = "The account in whose name events are pushed."
  type        = string
  nullable    = false
}

variable "kms_key_name" {
  description = "Your own key that encrypts the topics' messages (projects/…/cryptoKeys/…), or empty for Google's keys. Pub/Sub's agent must be allowed to use it."
  type        = string
  nullable    = false
  default     = ""
}

variable "names" {
  description = "What the topic, the push subscription and, as topic and subscription, the dead letters are called."
  type = object({
    dead_letters = string
    subscription = string
    topic        = string
  })
  nullable = false

  validation {
    condition     = alltrue([for name in values(var.names) : can(regex("^[a-z][a-z0-9-]{2,254}$", name)) && !startswith(name, "goog")])
    error_message = "names has ${join(", ", values(var.names))}; each has 3 to 255 lower-case letters, digits and hyphens and begins with a letter, but not with goog."
  }
}

variable "project_id" {
  description = "The project that owns topics and subscriptions."
  type        = string
  nullable    = false
}

variable "url" {
  description = "The https:// address that events are pushed to. It is the audience of their tokens, too."
  type        = string
  nullable    = false
}
