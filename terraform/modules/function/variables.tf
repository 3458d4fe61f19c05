variable "account_email" {
  description = "The account that the function runs as. The deployer must be allowed to act as it."
  type        = string
  nullable    = false
}

variable "build" {
  description = "What Google builds and how: the zip source_object (name/sha256.zip, of source_generation) in source_bucket, as account_email, into the artifact repository (projects/…/repositories/…); with kms_key_name the function is encrypted with a key of yours, which must be the repository's, too."
  type = object({
    account_email     = string
    kms_key_name      = optional(string, "")
    repository        = string
    source_bucket     = string
    source_generation = number
    source_object     = string
  })
  nullable = false

  validation {
    condition     = can(regex("^[^/]+/[0-9a-f]{64}[.]zip$", var.build.source_object))
    error_message = "build.source_object is ${var.build.source_object}; it must be NAME/SHA256.zip, so that changed source is another object, and the function says which one it runs."
  }
}

variable "deletion_policy" {
  description = "What a destroy does to the function: DELETE, or PREVENT to refuse."
  type        = string
  nullable    = false
  default     = "DELETE"

  validation {
    condition     = contains(["DELETE", "PREVENT"], var.deletion_policy)
    error_message = "deletion_policy is ${var.deletion_policy}; it must be DELETE or PREVENT."
  }
}

variable "environment_variables" {
  description = "The function's settings. THREADS is set from resources, SOURCE_VERSION from build."
  type        = map(string)
  nullable    = false
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.environment_variables), ["SOURCE_VERSION", "THREADS"])) == 0
    error_message = "environment_variables holds SOURCE_VERSION or THREADS; the first is what build names, and the second is resources.threads, which is checked against the concurrency."
  }
}

variable "ingress" {
  description = "Where requests may come from. Pub/Sub and Cloud Tasks of the same project count as internal."
  type        = string
  nullable    = false
  default     = "ALLOW_INTERNAL_ONLY"

  validation {
    condition     = contains(["ALLOW_ALL", "ALLOW_INTERNAL_AND_GCLB", "ALLOW_INTERNAL_ONLY"], var.ingress)
    error_message = "ingress is ${var.ingress}; it must be ALLOW_INTERNAL_ONLY, ALLOW_INTERNAL_AND_GCLB or ALLOW_ALL."
  }
}

variable "invokers" {
  description = "Who may call the function, by a key of your choice that never changes."
  type = map(object({
    because = string
    member  = string
  }))
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for binding in values(var.invokers) : length(binding.because) >= 10])
    error_message = "invokers has an entry whose because does not say why it is granted; the tables of permissions are made from that sentence."
  }

  validation {
    condition     = alltrue([for invoker in values(var.invokers) : !startswith(invoker.member, "all")])
    error_message = "invokers names allUsers or allAuthenticatedUsers; name accounts; what the whole internet may call says so with public = true."
  }
}

variable "name" {
  description = "The function's name, and that of the Cloud Run service under it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,47}[a-z0-9]$", var.name))
    error_message = "name is ${var.name} (${length(var.name)} characters); it has 4 to 49 lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen."
  }
}

variable "project_id" {
  description = "The project that owns the function."
  type        = string
  nullable    = false
}

variable "public" {
  description = "Whether the whole internet may call the function without a login (allUsers). A plan says it aloud."
  type        = bool
  nullable    = false
  default     = false

  validation {
    condition     = !var.public || var.ingress == "ALLOW_ALL" || var.ingress == "ALLOW_INTERNAL_AND_GCLB"
    error_message = "public is true, but ingress is ${var.ingress}, which lets nobody in from outside. Set ingress to ALLOW_ALL, or to ALLOW_INTERNAL_AND_GCLB behind a load balancer."
  }
}

variable "region" {
  description = "The function's region."
  type        = string
  nullable    = false
}

variable "resources" {
  description = "What an instance has (cpu, memory_mib, threads: 4 for each CPU unless given), how many requests it takes at once (concurrency), for how long (timeout_seconds), and how many instances there are."
  type = object({
    concurrency     = number
    cpu             = number
    max_instances   = number
    memory_mib      = number
    min_instances   = optional(number, 0)
    threads         = optional(number)
    timeout_seconds = number
  })
  nullable = false

  validation {
    condition     = var.resources.concurrency == 1 || var.resources.cpu >= 1
    error_message = "resources.concurrency is ${var.resources.concurrency} with ${var.resources.cpu} CPU; more than one request at a time takes at least 1 CPU."
  }

  validation {
    condition     = var.resources.concurrency >= 1 && var.resources.concurrency <= coalesce(var.resources.threads, ceil(var.resources.cpu * 4))
    error_message = "resources.concurrency is ${var.resources.concurrency}, but ${coalesce(var.resources.threads, ceil(var.resources.cpu * 4))} threads serve it, and the other requests would wait while their time runs. Lower the concurrency, or give more threads or CPU."
  }

  validation {
    condition     = contains([1, 2, 4, 6, 8], var.resources.cpu) || (var.resources.cpu >= 0.08 && var.resources.cpu < 1)
    error_message = "resources.cpu is ${var.resources.cpu}; Cloud Run takes 0.08 to below 1, or 1, 2, 4, 6 or 8."
  }

  validation {
    condition     = var.resources.memory_mib >= 128 && var.resources.memory_mib <= 32768
    error_message = "resources.memory_mib is ${var.resources.memory_mib}; Cloud Run takes 128 to 32768."
  }

  validation {
    condition     = var.resources.min_instances >= 0 && var.resources.min_instances <= var.resources.max_instances && var.resources.max_instances >= 1
    error_message = "resources ask for ${var.resources.min_instances} to ${var.resources.max_instances} instances; the minimum is at least 0 and not above the maximum, which is at least 1."
  }

  validation {
    condition     = var.resources.timeout_seconds >= 1 && var.resources.timeout_seconds <= 3600
    error_message = "resources.timeout_seconds is ${var.resources.timeout_seconds}; Cloud Run takes 1 to 3600."
  }
}
