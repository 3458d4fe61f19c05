variable "access" {
  description = "Who may call: iam (members that hold run.invoker: callers), tokens (everybody with a token of tokens.issuer), or anyone (the whole internet, as the recipe has it)."
  type        = string
  nullable    = false
  default     = "iam"
}

variable "callers" {
  description = "Who may call under access = \"iam\", by a key of your choice that never changes."
  type = map(object({
    because = string
    member  = string
  }))
  nullable = false
  default  = {}
}

variable "clock_minutes" {
  description = "Each job runs so often by the clock, too: what a killed worker held is found by then."
  type        = number
  nullable    = false
  default     = 15

  validation {
    condition     = contains([5, 10, 15, 20, 30], var.clock_minutes)
    error_message = "clock_minutes is ${var.clock_minutes}; it must be 5, 10, 15, 20 or 30, which divide an hour."
  }
}

variable "expire_days" {
  description = "How long requests, outcomes and outputs stay."
  type        = number
  nullable    = false
  default     = 90

  # A task may wait 30 days for its time, and its message 7 more.
  validation {
    condition     = var.expire_days >= 38
    error_message = "expire_days is ${var.expire_days}; at least 38, since a task may be submitted 30 days ahead and its message waits 7 more."
  }
}

variable "image" {
  description = "A worker's image of your own, with its tag or digest; empty: the one built from functions/worker."
  type        = string
  nullable    = false
  default     = ""
}

variable "pipeline" {
  description = "The pipeline's output interface."
  type = object({
    buckets = object({ results = string, uploads = string })
    build = object({
      account_email = string
      images        = string
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
    name = string
    policy = object({
      deletion_policy   = string
      force_destroy     = bool
      hash_object_names = bool
      kms_key_name      = string
    })
    processors = map(map(string))
    project_id = string
    region     = string
  })
  nullable = false

  validation {
    condition     = can(var.pipeline.processors["default"])
    error_message = "The pipeline's lane default has a target of its own, so there is no processor whose settings the worker could take. Give the lane default a processor."
  }
}

variable "priorities" {
  description = "Each priority is a topic, a subscription and a job with resources of its own: how many tasks it does at once (at_once), for how long each (task_seconds), and what an execution has. Tasks that name none take normal, or the first."
  # From the recipe: 1 GiB, 1 CPU, 3 retries, one task of the job at a time, four threads.
  type = map(object({
    at_once         = optional(number, 4)
    cpu             = optional(number, 1)
    max_retries     = optional(number, 3)
    memory_mib      = optional(number, 1024)
    task_seconds    = optional(number, 900)
    timeout_seconds = optional(number, 3600)
  }))
  nullable = false
  default  = { normal = {} }

  validation {
    condition     = length(var.priorities) > 0 && alltrue([for key in keys(var.priorities) : can(regex("^[a-z][a-z0-9-]{0,14}[a-z0-9]$", key)) && key != "sweep"])
    error_message = "priorities has ${join(", ", keys(var.priorities))}; each has 2 to 16 lower-case letters, digits and hyphens, begins with a letter, and is not sweep, which is a job already."
  }

  validation {
    condition     = alltrue([for it in values(var.priorities) : it.at_once >= 1 && it.at_once <= 10])
    error_message = "A priority's at_once must be 1 to 10, the messages that a worker holds; it is ${join(", ", [for key, it in var.priorities : "${it.at_once} in ${key}"])}."
  }

  validation {
    condition     = alltrue([for it in values(var.priorities) : it.memory_mib >= 192 + 192 * it.at_once])
    error_message = "A priority's memory_mib must be at least 192 for the worker and 192 for each task at once; ${join(", ", [for key, it in var.priorities : "${key} has ${it.memory_mib} and needs ${192 + 192 * it.at_once}"])}."
  }

  validation {
    condition     = alltrue([for it in values(var.priorities) : it.task_seconds + 60 <= it.timeout_seconds])
    error_message = "A priority's task_seconds must leave 60 s of timeout_seconds, or the execution ends before its task; they are ${join(", ", [for key, it in var.priorities : "${it.task_seconds} and ${it.timeout_seconds} in ${key}"])}."
  }

  # 1,000 executions of a region may run at once: a start in each window, until the first one times out.
  validation {
    condition     = sum([for it in values(var.priorities) : ceil(it.timeout_seconds / var.window_seconds)]) <= 500
    error_message = "With window_seconds ${var.window_seconds}, up to ${sum([for it in values(var.priorities) : ceil(it.timeout_seconds / var.window_seconds)])} executions can overlap; keep it at 500, half of what Cloud Run runs at once in a region. Raise window_seconds, or lower a priority's timeout_seconds."
  }
}

variable "schedules" {
  description = "Tasks that are submitted by the clock, by a name that never changes: cron (five fields), time_zone, and the task as POST /submit-task takes it, in JSON."
  type = map(object({
    cron      = string
    task      = string
    time_zone = optional(string, "Etc/UTC")
  }))
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for it in values(var.schedules) : can(jsondecode(it.task).task_type)])
    error_message = "A schedule's task must be JSON with a task_type; use jsonencode({ task_type = … })."
  }
}

variable "submit" {
  description = "What an instance of the submit service has, and how many there are."
  # From the recipe: 512 MiB.
  type = object({
    concurrency     = optional(number, 16)
    cpu             = optional(number, 1)
    max_instances   = optional(number, 5)
    memory_mib      = optional(number, 512)
    min_instances   = optional(number, 0)
    threads         = optional(number, 16)
    timeout_seconds = optional(number, 120)
  })
  nullable = false
  default  = {}
}

variable "tokens" {
  description = "Under access = \"tokens\": the issuer of the tokens, and the audience that they must have; see the portal's."
  type = object({
    audience = optional(string, "")
    issuer   = optional(string, "")
  })
  nullable = false
  default  = {}
}

variable "window_seconds" {
  description = "What is submitted within a window starts one execution."
  type        = number
  nullable    = false
  default     = 60

  validation {
    condition     = var.window_seconds >= 10 && var.window_seconds <= 900
    error_message = "window_seconds is ${var.window_seconds}; it must be 10 to 900."
  }
}
