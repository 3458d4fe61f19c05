variable "environment" {
  description = "The environment's name, for the commands that alerts tell."
  type        = string
  nullable    = false
}

variable "events" {
  description = "Where an upload's event passes: the topic, the push subscription and the dead letters by their full names, and the bridge's service."
  type = object({
    bridge                   = string
    dead_letter_subscription = string
    subscription             = string
    topic                    = string
  })
  nullable = false
}

variable "lanes" {
  description = "Each lane's queue (its full name), the one of what is due later if there is one, its longest back-off and the days that it tries a task; where a processor is deployed here, its service and the seconds that its work may take."
  type = map(object({
    later               = optional(string, "")
    max_backoff_seconds = number
    queue               = string
    retry_days          = number
    service             = optional(string, "")
    work_seconds        = optional(number, 0)
  }))
  nullable = false

  validation {
    condition     = anytrue([for lane in values(var.lanes) : lane.service != ""])
    error_message = "None of lanes has a service: what is watched here is what the processors log."
  }

  validation {
    condition     = alltrue([for lane in values(var.lanes) : lane.retry_days >= 2])
    error_message = "A lane's retry_days must be at least 2, or nobody can act on the alert for tasks that are about to be given up; they are ${join(", ", [for key, lane in var.lanes : "${lane.retry_days} in ${key}"])}."
  }
}

variable "name_prefix" {
  description = "What the names of all resources begin with: prefix and environment."
  type        = string
  nullable    = false
}

variable "notification_channels" {
  description = "Full names of the channels that alerts go to (projects/…/notificationChannels/…). Without any, incidents are seen in the console only."
  type        = list(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "notification_channels has ${join(", ", var.notification_channels)}; each is written projects/PROJECT/notificationChannels/ID."
  }
}

variable "objective" {
  description = "The share of files that is answered within so many seconds of their upload, over so many days."
  # 5 minutes are the sources' limit for working on one file; 28 days always hold four weekends.
  type = object({
    days    = optional(number, 28)
    goal    = optional(number, 0.999)
    seconds = optional(number, 300)
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.objective.goal > 0 && var.objective.goal < 1
    error_message = "objective.goal is ${var.objective.goal}; it is a share above 0 and below 1, such as 0.999."
  }

  validation {
    condition     = var.objective.days >= 1 && var.objective.days <= 30 && floor(var.objective.days) == var.objective.days
    error_message = "objective.days is ${var.objective.days}; Cloud Monitoring takes whole days from 1 to 30."
  }

  validation {
    condition     = var.objective.seconds >= 60
    error_message = "objective.seconds is ${var.objective.seconds}; metrics are a minute or more behind, so it must be at least 60."
  }
}

variable "project_id" {
  description = "The project that is watched."
  type        = string
  nullable    = false
}

variable "runbook_url" {
  description = "The https:// address of docs/runbook.md, as people on call see it. Alerts link to their section."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = var.runbook_url == "" || can(regex("^https://[^ #]+$", var.runbook_url))
    error_message = "runbook_url is ${var.runbook_url}; it must be an https:// address without a #section."
  }
}

variable "shares" {
  description = "Above which share push_errors, failing_attempts, processor_errors, failed_files, memory (of an instance's) and slow_processor (of the time that work may take) ring, such as { failed_files = 0.5 }; those that are not named keep their own."
  type        = map(number)
  nullable    = false
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.shares), keys(local.default_share))) == 0
    error_message = "shares has ${join(", ", keys(var.shares))}; known are ${join(", ", keys(local.default_share))}."
  }

  validation {
    condition     = alltrue([for share in values(var.shares) : share > 0 && share < 1])
    error_message = "shares has ${join(", ", [for key, share in var.shares : "${key} = ${share}"])}; each is above 0 and below 1, such as 0.2."
  }
}
