variable "bridge" {
  description = "What an instance of the bridge has, how many requests it takes at once, and how many instances there are."
  # 1 CPU and 10 instances are the tutorial's for the service in front; 512 MiB the article's, since
  # the bridge holds no file. 4 requests, because 1 CPU runs 4 threads. 50 s, to answer before the
  # event's 60 s are over.
  type = object({
    concurrency     = optional(number, 4)
    cpu             = optional(number, 1)
    max_instances   = optional(number, 10)
    memory_mib      = optional(number, 512)
    min_instances   = optional(number, 0)
    timeout_seconds = optional(number, 50)
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.bridge.timeout_seconds < var.delivery.ack_deadline_seconds
    error_message = "bridge.timeout_seconds is ${var.bridge.timeout_seconds}, but an event counts as undelivered after delivery.ack_deadline_seconds, ${var.delivery.ack_deadline_seconds}. Lower the first or raise the second."
  }

  # A call of Cloud Tasks may take 20 s, and once more where its token was refused
  # (functions/bridge/bridge/enqueue.py).
  validation {
    condition     = var.bridge.timeout_seconds >= 45
    error_message = "bridge.timeout_seconds is ${var.bridge.timeout_seconds}; it must be at least 45, or an instance is stopped before it can say that Cloud Tasks did not answer."
  }
}

variable "dead_letter_retention_days" {
  description = "How long an event that could not be delivered waits to be looked at; 31 days are Pub/Sub's maximum."
  type        = number
  nullable    = false
  default     = 31
}

variable "deletion_policy" {
  description = "What a destroy does to buckets, topics, subscriptions, queues and functions: DELETE, or PREVENT to refuse."
  type        = string
  nullable    = false
  default     = "DELETE"

  validation {
    condition     = contains(["DELETE", "PREVENT"], var.deletion_policy)
    error_message = "deletion_policy is ${var.deletion_policy}; it must be DELETE or PREVENT."
  }
}

variable "delivery" {
  description = "How events are pushed to the bridge; see modules/object_events."
  type = object({
    ack_deadline_seconds = optional(number, 60)
    max_attempts         = optional(number, 100)
    max_backoff_seconds  = optional(number, 600)
    min_backoff_seconds  = optional(number, 10)
    retention_days       = optional(number, 7)
  })
  nullable = false
  default  = {}
}

variable "deployer" {
  description = "The account that applies this, as an IAM member, to be granted that it may act as the functions' and the subscription's accounts. Empty for an owner, who may already."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = var.deployer == "" || can(regex("^(serviceAccount|user|group):[^@ ]+@[^@ ]+$", var.deployer))
    error_message = "deployer is ${var.deployer}; it must be an IAM member such as serviceAccount:name@project.iam.gserviceaccount.com."
  }
}

variable "environment" {
  description = "The environment's name, part of every resource's name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,9}$", var.environment))
    error_message = "environment is ${var.environment}; it has 2 to 10 lower-case letters and digits and begins with a letter."
  }
}

variable "exclude_prefixes" {
  description = "Uploads whose name begins with one of these are left alone."
  type        = set(string)
  nullable    = false
  default     = []

  validation {
    condition     = !anytrue([for prefix in var.exclude_prefixes : startswith(prefix, "gs://")])
    error_message = "exclude_prefixes has ${join(", ", var.exclude_prefixes)}; a prefix is what an object's name begins with, without gs:// and the bucket, such as photos/."
  }
}

variable "force_destroy" {
  description = "Whether a destroy deletes uploads and results, too."
  type        = bool
  nullable    = false
  default     = false

  validation {
    condition     = !var.force_destroy || var.deletion_policy != "PREVENT"
    error_message = "force_destroy is true while deletion_policy is ${var.deletion_policy}: the one deletes everything, the other nothing. Change one of them."
  }
}

variable "hash_object_names" {
  description = "Whether logs hold a hash in place of an object's name, where names are confidential."
  type        = bool
  nullable    = false
  default     = false
}

variable "include_prefixes" {
  description = "Only uploads whose name begins with one of these are worked on; all, when there is none."
  type        = set(string)
  nullable    = false
  default     = []

  validation {
    condition     = !anytrue([for prefix in var.include_prefixes : startswith(prefix, "gs://")])
    error_message = "include_prefixes has ${join(", ", var.include_prefixes)}; a prefix is what an object's name begins with, without gs:// and the bucket, such as photos/."
  }
}

variable "kms_key_name" {
  description = "Your own key that encrypts buckets, topics and functions (projects/…/cryptoKeys/…), or empty for Google's keys. It must be bootstrap's, too."
  type        = string
  nullable    = false
  default     = ""
}

variable "monitoring" {
  description = "Whether metrics, alerts, an objective and a dashboard are made, where alerts go (full names of notification channels), what the objective is, the https:// address of docs/runbook.md as people on call see it, and the shares above which alerts ring, where not the module's (modules/monitoring)."
  # Off by default: an environment that nobody is on call for needs none, and its metrics are not
  # free. 99.9 % within 5 minutes, the sources' limit for one file.
  type = object({
    enabled               = optional(bool, false)
    notification_channels = optional(list(string), [])
    objective_days        = optional(number, 28)
    objective_goal        = optional(number, 0.999)
    objective_seconds     = optional(number, 300)
    runbook_url           = optional(string, "")
    shares                = optional(map(number), {})
  })
  nullable = false
  default  = {}
}

variable "prefix" {
  description = "What the names of all resources begin with, as in environments/bootstrap."
  type        = string
  nullable    = false
  default     = "files"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*[a-z0-9]$", var.prefix)) && !startswith(var.prefix, "goog")
    error_message = "prefix is ${var.prefix}; it has lower-case letters, digits and hyphens, begins with a letter, but not with goog, and does not end with a hyphen."
  }

  validation {
    condition     = !strcontains("${var.prefix}-${var.environment}", "google")
    error_message = "prefix and environment make ${var.prefix}-${var.environment}; Cloud Storage takes no bucket whose name holds google. Change one."
  }

  # The longest name made from both, <prefix>-<environment>-events-invoker, is an account's: 30.
  validation {
    condition     = length("${var.prefix}-${var.environment}") <= 15
    error_message = "prefix and environment make ${var.prefix}-${var.environment}, ${length("${var.prefix}-${var.environment}")} characters; 15 keep every name made from them within Google's lengths. Shorten one."
  }
}

variable "project_id" {
  description = "The Google project that holds this environment."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is ${var.project_id}; it has 6 to 30 lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen."
  }
}

variable "region" {
  description = "The region of everything. It cannot change later."
  type        = string
  nullable    = false
  default     = "us-central1"
}

variable "results_retention" {
  description = "How long deleted results can be brought back, in days, and the age at which outputs (files/) expire, if any. Records never do, or their uploads would be processed again."
  # A month to notice a deletion; 7 days of soft delete are Google's default.
  type = object({
    expire_days            = optional(number)
    incomplete_upload_days = optional(number, 7)
    noncurrent_days        = optional(number, 30)
    soft_delete_days       = optional(number, 7)
    storage_class_days     = optional(map(number), {})
  })
  nullable = false
  default  = {}
}

variable "retry_days" {
  description = "How long a task is tried at least. An outage shorter than this costs no file."
  type        = number
  nullable    = false
  default     = 7
}

variable "uploads_origins" {
  description = "Which web pages' scripts may send files straight into the uploads bucket, once somebody gave them a place there: their origins (https://host)."
  type        = set(string)
  nullable    = false
  default     = []
}

variable "uploads_retention" {
  description = "How long replaced, deleted or expired uploads can be brought back, in days, at which age they expire, if any, and when uploads move to colder storage classes."
  # Noncurrent for 70 days: an event can name an upload for 7 days, as a dead letter for 31 more, as
  # a task for another 31. 7 days of soft delete are Google's default.
  type = object({
    expire_days            = optional(number)
    incomplete_upload_days = optional(number, 7)
    noncurrent_days        = optional(number, 70)
    soft_delete_days       = optional(number, 7)
    storage_class_days     = optional(map(number), {})
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.uploads_retention.noncurrent_days > var.delivery.retention_days + var.dead_letter_retention_days + 31
    error_message = "uploads_retention.noncurrent_days is ${var.uploads_retention.noncurrent_days}, but an upload can be named for ${var.delivery.retention_days + var.dead_letter_retention_days + 31} days: ${var.delivery.retention_days} by its event, ${var.dead_letter_retention_days} by its dead letter, 31 by its task. Keep it longer than that, or it can be gone before it was worked on."
  }
}

variable "zips" {
  description = "The folder of the functions' zips: of a release, or as scripts/build_functions.py makes them."
  type        = string
  nullable    = false

  validation {
    condition     = alltrue([for name in concat(["bridge"], values(local.processor_zips)) : fileexists("${var.zips}/${name}.zip")])
    error_message = "zips is ${var.zips}, where one of ${join(", ", distinct([for name in concat(["bridge"], values(local.processor_zips)) : "${name}.zip"]))} is missing. Build them with: python3 scripts/build_functions.py, or download those of a release."
  }
}
