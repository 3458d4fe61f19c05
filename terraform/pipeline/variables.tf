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
  description = "Your own key that encrypts uploads, results and sources (projects/…/cryptoKeys/…), or empty for Google's keys. Cloud Storage's agent must be allowed to use it: see modules/bucket."
  type        = string
  nullable    = false
  default     = ""
}

variable "lanes" {
  description = "Each lane is a queue and the processor that works on it, or a target of your own (target_url, target_audience, target_account). Objects go to the lane whose prefixes or content_types they match, else to default. The lane's keys never change."
  # From the tutorial: 10 tasks a second, 100 at once, 3 attempts, 2 s to 300 s; 2 GiB, 2 CPU, 20
  # instances. Its 50 requests an instance become 8, because 2 CPU run 8 threads.
  # From the project built from it: 100 MB a file, 5 minutes of work. The function has 30 s more, to
  # record a file that took too long, and the queue waits 30 s longer than that for the answer.
  # 50 million pixels let photos of 48-megapixel phones in, below the 89 million at which Pillow
  # suspects an attack. 16 doublings are Google's default: up to the maximum.
  type = map(object({
    attempt_budget            = optional(number, 3)
    concurrency               = optional(number, 8)
    content_types             = optional(set(string), [])
    cpu                       = optional(number, 2)
    dispatch_deadline_seconds = optional(number, 360)
    max_backoff_seconds       = optional(number, 300)
    max_concurrent_dispatches = optional(number, 100)
    max_dispatches_per_second = optional(number, 10)
    max_doublings             = optional(number, 16)
    max_file_bytes            = optional(number, 104857600)
    max_instances             = optional(number, 20)
    max_pixels                = optional(number, 50000000)
    memory_mib                = optional(number, 2048)
    min_backoff_seconds       = optional(number, 2)
    min_instances             = optional(number, 0)
    paused                    = optional(bool, false)
    prefixes                  = optional(set(string), [])
    records                   = optional(bool, true)
    target_account            = optional(string, "")
    target_audience           = optional(string, "")
    target_url                = optional(string, "")
    timeout_seconds           = optional(number, 330)
    work_seconds              = optional(number, 300)
  }))
  nullable = false
  default  = { default = {} }

  validation {
    condition     = alltrue([for lane in keys(var.lanes) : can(regex("^[a-z]([a-z0-9-]{0,21}[a-z0-9])?$", lane))])
    error_message = "lanes has the keys ${join(", ", keys(var.lanes))}; each has 1 to 23 lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen, so that every name made from it is within Google's lengths."
  }

  validation {
    condition     = contains(keys(var.lanes), "default")
    error_message = "lanes has the keys ${join(", ", keys(var.lanes))}, but no default; objects that match no other lane need one."
  }

  validation {
    condition = alltrue([for lane, settings in var.lanes :
      (lane == "default") == (length(settings.prefixes) + length(settings.content_types) == 0)
    ])
    error_message = "Every lane but default names prefixes or content_types, or it would never get an object; default names none, since it takes what is left."
  }

  validation {
    condition = alltrue(flatten([for settings in values(var.lanes) : [for prefix in settings.prefixes :
      (length(var.include_prefixes) == 0 || anytrue([for included in var.include_prefixes : startswith(prefix, included) || startswith(included, prefix)]))
      && !anytrue([for excluded in var.exclude_prefixes : startswith(prefix, excluded)])
    ]]))
    error_message = "A lane's prefixes must lie within include_prefixes and outside exclude_prefixes, or objects under them are left alone; they are ${join(", ", [for lane, settings in var.lanes : "${join(" and ", settings.prefixes)} in ${lane}" if length(settings.prefixes) > 0])}, included is ${join(", ", length(var.include_prefixes) == 0 ? ["all"] : var.include_prefixes)}, excluded ${join(", ", length(var.exclude_prefixes) == 0 ? ["nothing"] : var.exclude_prefixes)}."
  }

  validation {
    condition = alltrue([for named in [
      flatten([for settings in values(var.lanes) : tolist(settings.prefixes)]),
      flatten([for settings in values(var.lanes) : tolist(settings.content_types)]),
    ] : length(named) == length(distinct(named))])
    error_message = "Each of the lanes' prefixes and content_types stands in one lane only, or an object would have two; they are ${join(", ", [for lane, settings in var.lanes : "${join(" and ", concat(tolist(settings.prefixes), tolist(settings.content_types)))} in ${lane}" if lane != "default"])}."
  }

  validation {
    condition     = !anytrue(flatten([for settings in values(var.lanes) : [for prefix in settings.prefixes : startswith(prefix, "gs://")]]))
    error_message = "A lane's prefixes are what an object's name begins with, without gs:// and the bucket, such as scans/; they are ${join(", ", [for lane, settings in var.lanes : "${join(" and ", settings.prefixes)} in ${lane}" if length(settings.prefixes) > 0])}."
  }

  validation {
    condition     = alltrue([for settings in values(var.lanes) : settings.attempt_budget >= 1 && settings.attempt_budget <= 100])
    error_message = "A lane's attempt_budget must be 1 to 100; it is ${join(", ", [for lane, settings in var.lanes : "${settings.attempt_budget} in ${lane}"])}."
  }

  validation {
    condition = alltrue([for settings in values(var.lanes) :
      settings.target_url != "" || (
        settings.work_seconds < settings.timeout_seconds && settings.timeout_seconds < settings.dispatch_deadline_seconds
      )
    ])
    error_message = "In each lane work_seconds < timeout_seconds < dispatch_deadline_seconds, so that a file that takes too long is recorded before its request ends, and the queue waits for the answer; they are ${join(", ", [for lane, settings in var.lanes : "${settings.work_seconds}, ${settings.timeout_seconds}, ${settings.dispatch_deadline_seconds} in ${lane}"])}."
  }

  validation {
    condition     = alltrue([for settings in values(var.lanes) : settings.dispatch_deadline_seconds >= 15 && settings.dispatch_deadline_seconds <= 1800])
    error_message = "A lane's dispatch_deadline_seconds must be 15 to 1800, as Cloud Tasks has it; it is ${join(", ", [for lane, settings in var.lanes : "${settings.dispatch_deadline_seconds} in ${lane}"])}."
  }

  validation {
    condition = alltrue([for settings in values(var.lanes) :
      settings.target_url != "" || settings.max_concurrent_dispatches <= floor(0.9 * settings.max_instances * settings.concurrency)
    ])
    error_message = "A lane's max_concurrent_dispatches must be at most 90 % of max_instances × concurrency, or saturated instances answer 429, which slows the whole queue down; ${join(", ", [for lane, settings in var.lanes : "${lane} has ${settings.max_concurrent_dispatches} and takes ${floor(0.9 * settings.max_instances * settings.concurrency)}"])}."
  }

  validation {
    condition     = alltrue([for settings in values(var.lanes) : settings.target_url != "" || settings.concurrency <= ceil(settings.cpu * 4)])
    error_message = "A lane's concurrency must be at most 4 × cpu, the threads that serve it; it is ${join(", ", [for lane, settings in var.lanes : "${settings.concurrency} with ${settings.cpu} CPU in ${lane}"])}."
  }

  validation {
    condition = alltrue([for settings in values(var.lanes) :
      settings.target_url == "" || can(regex("^https://[^/ ]+(/[^ ]*)?$", settings.target_url)) && length(settings.target_url) <= 2083
    ])
    error_message = "A lane's target_url must be an https:// address of at most 2083 characters, as Cloud Tasks has it; it is ${join(", ", [for lane, settings in var.lanes : "${settings.target_url} in ${lane}" if settings.target_url != ""])}."
  }

  validation {
    condition = alltrue([for settings in values(var.lanes) :
      settings.target_url == "" ? settings.target_audience == "" && settings.target_account == "" && settings.records : settings.target_audience != ""
    ])
    error_message = "A lane with a target_url also names the target_audience of its tokens; a lane without one has neither target_audience nor target_account, and keeps its records."
  }

  validation {
    condition = alltrue([for settings in values(var.lanes) :
      settings.target_url == "" || !settings.records || settings.target_account != ""
    ])
    error_message = "A lane whose target writes records names the target_account that may read uploads and create results (serviceAccount:…), or sets records = false: then its objects are handed over, and whether they are done is no longer known here."
  }

  validation {
    condition     = alltrue([for settings in values(var.lanes) : settings.target_account == "" || can(regex("^(serviceAccount|user|group):[^@ ]+@[^@ ]+$", settings.target_account))])
    error_message = "A lane's target_account must be an IAM member such as serviceAccount:name@project.iam.gserviceaccount.com; it is ${join(", ", [for lane, settings in var.lanes : "${settings.target_account} in ${lane}" if settings.target_account != ""])}."
  }
}

variable "monitoring" {
  description = "Whether metrics, alerts, an objective and a dashboard are made, where alerts go (full names of notification channels), what the objective is, and the https:// address of docs/runbook.md as people on call see it."
  # Off by default: an environment that nobody is on call for needs none, and its metrics are not
  # free. 99.9 % within 5 minutes, the sources' limit for one file.
  type = object({
    enabled               = optional(bool, false)
    notification_channels = optional(list(string), [])
    objective_days        = optional(number, 28)
    objective_goal        = optional(number, 0.999)
    objective_seconds     = optional(number, 300)
    runbook_url           = optional(string, "")
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

variable "queue_retention_days" {
  description = "How long a task is tried at least. An outage shorter than this costs no file."
  type        = number
  nullable    = false
  default     = 7
}

variable "region" {
  description = "The region of everything. It cannot change later."
  type        = string
  nullable    = false
  default     = "us-central1"
}

variable "renditions" {
  description = "The pictures made of an image, by name: a box of width × height pixels that it is fitted inside or covers, the format (jpeg, png, webp or avif), and the quality of 1 to 100."
  # The tutorial's: 300 × 300, JPEG, quality 85.
  type = map(object({
    fit     = optional(string, "inside")
    format  = optional(string, "jpeg")
    height  = optional(number, 300)
    quality = optional(number, 85)
    width   = optional(number, 300)
  }))
  nullable = false
  default  = { thumbnail = {} }

  validation {
    condition     = alltrue([for name in keys(var.renditions) : can(regex("^[a-z][a-z0-9_-]{0,31}$", name))])
    error_message = "renditions has the names ${join(", ", keys(var.renditions))}; each has 1 to 32 lower-case letters, digits, hyphens and underscores and begins with a letter, since files are named by it."
  }

  validation {
    condition     = alltrue([for rendition in values(var.renditions) : contains(["inside", "cover"], rendition.fit)])
    error_message = "A rendition's fit must be inside or cover; it is ${join(", ", [for name, rendition in var.renditions : "${rendition.fit} in ${name}"])}."
  }

  validation {
    condition     = alltrue([for rendition in values(var.renditions) : contains(local.rendition_formats, rendition.format)])
    error_message = "A rendition's format must be one of ${join(", ", local.rendition_formats)}; it is ${join(", ", [for name, rendition in var.renditions : "${rendition.format} in ${name}"])}."
  }

  validation {
    condition = alltrue(flatten([for rendition in values(var.renditions) :
      [for side in [rendition.width, rendition.height] : side >= 1 && side <= 8192 && floor(side) == side]
    ]))
    error_message = "A rendition's width and height must be whole numbers from 1 to 8192; they are ${join(", ", [for name, rendition in var.renditions : "${rendition.width} × ${rendition.height} in ${name}"])}."
  }

  validation {
    condition     = alltrue([for rendition in values(var.renditions) : rendition.quality >= 1 && rendition.quality <= 100])
    error_message = "A rendition's quality must be 1 to 100; it is ${join(", ", [for name, rendition in var.renditions : "${rendition.quality} in ${name}"])}."
  }
}

variable "results_retention" {
  description = "How long deleted results can be brought back, in days. Results themselves stay as long as their uploads."
  # A month to notice a deletion; 7 days of soft delete are Google's default.
  type = object({
    incomplete_upload_days = optional(number, 7)
    noncurrent_days        = optional(number, 30)
    soft_delete_days       = optional(number, 7)
    storage_class_days     = optional(map(number), {})
  })
  nullable = false
  default  = {}
}

variable "uploads_retention" {
  description = "How long replaced or deleted uploads can be brought back, in days, and when uploads move to colder storage classes."
  # Noncurrent for 70 days: an event can name an upload for 7 days, as a dead letter for 31 more, as
  # a task for another 31. 7 days of soft delete are Google's default.
  type = object({
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
    condition     = alltrue([for name in ["bridge", "processor"] : fileexists("${var.zips}/${name}.zip")])
    error_message = "zips is ${var.zips}, where bridge.zip or processor.zip is missing. Build them with: python3 scripts/build_functions.py, or download those of a release."
  }
}
