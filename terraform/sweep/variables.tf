variable "limits" {
  description = "What one call does at most: no further thousand uploads is begun after call_seconds, uploads_per_call uploads or tasks_per_call tasks looked up or made. The next call goes on from there."
  # 50,000 uploads are about 150 list requests and half a minute; a million take 20 calls, five hours.
  type = object({
    call_seconds     = optional(number, 240)
    tasks_per_call   = optional(number, 2000)
    uploads_per_call = optional(number, 50000)
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.limits.call_seconds >= 10 && var.limits.call_seconds <= 1400
    error_message = "limits.call_seconds is ${var.limits.call_seconds}; 10 to 1400 leave Cloud Scheduler's 30 minutes room for the last thousand uploads."
  }

  validation {
    condition     = var.limits.tasks_per_call >= 1 && var.limits.uploads_per_call >= 1000
    error_message = "limits has tasks_per_call ${var.limits.tasks_per_call} and uploads_per_call ${var.limits.uploads_per_call}; at least 1 and 1000, or a pass never ends."
  }
}

variable "min_age_seconds" {
  description = "How old an upload must be to be missed: younger ones are on their way."
  # A quarter of an hour is what the operator's reconcile leaves, too.
  type     = number
  nullable = false
  default  = 900

  validation {
    condition     = var.min_age_seconds >= 60
    error_message = "min_age_seconds is ${var.min_age_seconds}; at least 60, or every upload on its way is looked up."
  }
}

variable "paused" {
  description = "Whether the schedule rests."
  type        = bool
  nullable    = false
  default     = false
}

variable "pipeline" {
  description = "The pipeline's output interface."
  type = object({
    accounts = object({ tasks_invoker = string })
    bridge   = object({ settings = map(string) })
    buckets  = object({ results = string, uploads = string })
    build = object({
      account_email = string
      kms_key_name  = string
      repository    = string
      source_bucket = string
      zips          = string
    })
    deployer    = string
    environment = string
    monitoring = object({
      enabled               = bool
      notification_channels = list(string)
      runbook_url           = string
    })
    name       = string
    policy     = object({ deletion_policy = string, kms_key_name = string })
    project_id = string
    queues     = map(string)
    region     = string
  })
  nullable = false

  validation {
    condition     = fileexists("${var.pipeline.build.zips}/sweep.zip")
    error_message = "zips is ${var.pipeline.build.zips}, where sweep.zip is missing. Build it with: python3 scripts/build_functions.py, or download that of a release."
  }
}

variable "redrive_after_seconds" {
  description = "How long a failure that a retry can help rests before it is tried once more."
  # An hour: what made it fail, such as an outage, is over by then or somebody's task.
  type     = number
  nullable = false
  default  = 3600

  validation {
    condition     = var.redrive_after_seconds >= 60
    error_message = "redrive_after_seconds is ${var.redrive_after_seconds}; at least 60, or it is tried again before anything has changed."
  }
}

variable "schedule" {
  description = "When the sweep is called, as cron has it (UTC)."
  type        = string
  nullable    = false
  default     = "*/15 * * * *"

  validation {
    condition     = can(regex("^([0-9*/,-]+ +){4}[0-9A-Za-z*/,-]+$", var.schedule))
    error_message = "schedule is ${var.schedule}; it is five fields of cron, such as */15 * * * *."
  }
}

variable "silent_minutes" {
  description = "How long no call may come to its end before an alert rings: longer than schedule lets pass between two."
  type        = number
  nullable    = false
  default     = 60
}
