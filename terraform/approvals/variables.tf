variable "approvers" {
  description = "Who may see what is asked and what it is about, as IAM members. To answer they also need the role that bootstrap makes and grants to its own `approvers`."
  type        = set(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for member in var.approvers : can(regex("^(serviceAccount|user|group|principal|principalSet):", member))])
    error_message = "approvers has ${join(", ", var.approvers)}; each names one account, user or group, such as group:editors@example.com."
  }
}

variable "check" {
  description = "A service of your own that looks at each finished file first, a scanner for instance: its https:// address, the audience of the workflow's token (the address unless given), and the seconds that it may take. It answers {verdict: pass, ask or reject, detail}."
  type = object({
    audience        = optional(string, "")
    timeout_seconds = optional(number, 300)
    url             = optional(string, "")
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.check.url == "" || can(regex("^https://[^/?#@]+(/[^?#]*)?$", var.check.url))
    error_message = "check.url is ${var.check.url}; it is an https:// address, since it is called with a token."
  }

  validation {
    condition     = var.check.timeout_seconds >= 1 && var.check.timeout_seconds <= 1800
    error_message = "check.timeout_seconds is ${var.check.timeout_seconds}; a call of Workflows lasts 1 to 1800 seconds."
  }
}

variable "expire_days" {
  description = "After how many days a file that nobody decided about is rejected as expired."
  # A week: long enough for somebody to be back from a weekend, and an answer is still expected.
  type     = number
  nullable = false
  default  = 7

  # An execution may last a year.
  validation {
    condition     = var.expire_days >= 1 && var.expire_days <= 300 && floor(var.expire_days) == var.expire_days
    error_message = "expire_days is ${var.expire_days}; whole days from 1 to 300, since an execution lasts a year at most."
  }
}

variable "pipeline" {
  description = "The pipeline's output interface."
  type = object({
    buckets     = object({ results = string })
    deployer    = string
    environment = string
    monitoring = object({
      enabled               = bool
      notification_channels = list(string)
      runbook_url           = string
    })
    name       = string
    policy     = object({ deletion_policy = string, force_destroy = bool, hash_object_names = bool, kms_key_name = string })
    project_id = string
    region     = string
  })
  nullable = false
}

variable "published_retention" {
  description = "How long things stay in the published bucket, in days: expire_days (age of live objects; kept if not given), expire_prefix_days (the same by name prefix), noncurrent_days and soft_delete_days (deleted versions)."
  type = object({
    expire_days        = optional(number)
    expire_prefix_days = optional(map(number), {})
    noncurrent_days    = optional(number, 30)
    soft_delete_days   = optional(number, 7)
  })
  nullable = false
  default  = {}

  # Without its decision a file would be asked about again.
  validation {
    condition     = alltrue([for days in concat(var.published_retention.expire_days[*], values(var.published_retention.expire_prefix_days)) : days > var.expire_days])
    error_message = "published_retention expires something after ${join(" or ", concat(var.published_retention.expire_days[*], values(var.published_retention.expire_prefix_days)))} days, while a request may wait for ${var.expire_days}: its decision would be gone before it."
  }
}

variable "remind_days" {
  description = "After how many days without an answer an alert says so."
  # Three of the seven: four are left to answer.
  type     = number
  nullable = false
  default  = 3

  validation {
    condition     = var.remind_days > 0 && var.remind_days < var.expire_days
    error_message = "remind_days is ${var.remind_days} of expire_days ${var.expire_days}; more than 0, and fewer, or nobody is reminded in time."
  }
}

variable "rules" {
  description = "Which files need a person, by the rule's name: a file that meets all that a rule says (folders its name begins with, types as declared or detected such as application/pdf or image/*, min_bytes, mismatch: its content is not what it was declared as) waits. What meets no rule is published at once."
  type = map(object({
    folders   = optional(list(string), [])
    min_bytes = optional(number, 0)
    mismatch  = optional(bool, false)
    types     = optional(list(string), [])
  }))
  nullable = false
  default  = { pdf = { types = ["application/pdf"] } }

  validation {
    condition     = alltrue([for name in keys(var.rules) : can(regex("^[a-z][a-z0-9_-]{0,30}$", name))])
    error_message = "rules has ${join(", ", keys(var.rules))}; a name has 1 to 31 lower-case letters, digits, hyphens and underscores, and begins with a letter."
  }

  validation {
    condition     = alltrue([for rule in values(var.rules) : rule.mismatch || rule.min_bytes > 0 || length(rule.folders) + length(rule.types) > 0])
    error_message = "rules ${join(", ", [for name, rule in var.rules : name if !rule.mismatch && rule.min_bytes <= 0 && length(rule.folders) + length(rule.types) == 0])} say nothing: each has folders, types, min_bytes or mismatch. The type * is that of every file."
  }

  validation {
    condition     = alltrue(flatten([for rule in values(var.rules) : [for type in rule.types : can(regex("^([*]|[a-z0-9.+-]+/([*]|[a-z0-9.+-]+))$", type))]]))
    error_message = "rules have the types ${join(", ", flatten([for rule in values(var.rules) : rule.types]))}; each is written type/subtype in lower case, type/* or *."
  }

  validation {
    condition     = alltrue(flatten([for rule in values(var.rules) : [for folder in rule.folders : !startswith(folder, "/") && endswith(folder, "/")]]))
    error_message = "rules have the folders ${join(", ", flatten([for rule in values(var.rules) : rule.folders]))}; each ends with a slash and does not begin with one."
  }

  # Workflows takes settings of up to 4 KiB.
  validation {
    condition     = length(jsonencode(var.rules)) <= 3000
    error_message = "rules have ${length(jsonencode(var.rules))} characters; at most 3000, which is what a workflow's settings hold."
  }
}

variable "subscribers" {
  description = "Who is told of requests and ends, by a name that never changes. push_url: a webhook, called with a token for audience (push_url unless given); without one, reader pulls. only: published, rejected or waiting, all unless given. reader: an IAM member that may read the published bucket."
  type = map(object({
    audience = optional(string, "")
    only     = optional(string, "")
    push_url = optional(string, "")
    reader   = optional(string, "")
  }))
  nullable = false
  default  = {}
}

variable "topic" {
  description = "The full name of the topic that finished files are announced on: the output topic of completions."
  type        = string
  nullable    = false
}
