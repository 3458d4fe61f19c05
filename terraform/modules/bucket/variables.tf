variable "cors" {
  description = "Which web pages' scripts may talk to the bucket: their origins (https://host), the methods, the answer's headers that they may read, and for how long a browser remembers that. Empty: none."
  type = object({
    origins          = optional(set(string), [])
    methods          = optional(set(string), ["GET", "HEAD", "POST", "PUT"])
    response_headers = optional(set(string), ["Content-Type", "ETag", "Location", "Range"])
    max_age_seconds  = optional(number, 3600)
  })
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for origin in var.cors.origins : can(regex("^https?://[a-z0-9.:-]+$", origin))])
    error_message = "cors.origins has ${join(", ", var.cors.origins)}; an origin is https://host without a path, and never *, which any page could use."
  }
}

variable "deletion_policy" {
  description = "What a destroy does to the bucket: DELETE, or PREVENT to refuse."
  type        = string
  nullable    = false
  default     = "DELETE"

  validation {
    condition     = contains(["DELETE", "PREVENT"], var.deletion_policy)
    error_message = "deletion_policy is ${var.deletion_policy}; it must be DELETE or PREVENT."
  }
}

variable "force_destroy" {
  description = "Whether a destroy deletes the objects, too. Otherwise a bucket that holds objects stays."
  type        = bool
  nullable    = false
  default     = false
}

variable "iam_members" {
  description = "Who may do what in the bucket, by a key of your choice that never changes. Additive: bindings made elsewhere stay."
  type = map(object({
    because = string
    member  = string
    role    = string
  }))
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for binding in values(var.iam_members) : length(binding.because) >= 10])
    error_message = "iam_members has an entry whose because does not say why it is granted; the tables of permissions are made from that sentence."
  }

  validation {
    condition = alltrue([for binding in var.iam_members : contains(
      ["roles/storage.objectCreator", "roles/storage.objectUser", "roles/storage.objectViewer"], binding.role
    )])
    error_message = "iam_members names ${join(", ", distinct([for binding in var.iam_members : binding.role]))}; allowed are roles/storage.objectCreator, roles/storage.objectUser and roles/storage.objectViewer, since nothing here needs more."
  }

  validation {
    condition     = alltrue([for binding in var.iam_members : !startswith(binding.member, "all")])
    error_message = "iam_members names allUsers or allAuthenticatedUsers; public access is prevented, so name a user, group or service account."
  }
}

variable "kms_key_name" {
  description = "The customer-managed key that encrypts new objects (projects/…/cryptoKeys/…), or empty for Google's own keys."
  type        = string
  nullable    = false
  default     = ""

  validation {
    condition     = var.kms_key_name == "" || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key_name))
    error_message = "kms_key_name is ${var.kms_key_name}; it must be projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version."
  }

  validation {
    condition     = var.kms_key_name == "" || lower(element(split("/", var.kms_key_name), 3)) == lower(var.location)
    error_message = "kms_key_name is ${var.kms_key_name}, but the bucket is in ${var.location}; Cloud Storage takes only a key in the bucket's own location. Make one there."
  }
}

variable "location" {
  description = "The region, dual-region or multi-region that holds the objects. It cannot change later."
  type        = string
  nullable    = false
}

variable "name" {
  description = "The bucket's name, unique in all of Google Cloud. It cannot change later."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$", var.name))
    error_message = "name is ${var.name} (${length(var.name)} characters); a bucket name has 3 to 63 lower-case letters, digits, hyphens or underscores, and begins and ends with a letter or digit."
  }
}

variable "project_id" {
  description = "The project that owns the bucket."
  type        = string
  nullable    = false
}

variable "retention" {
  description = "How long things stay, in days: expire_days (age of live objects; kept if not given), expire_prefix_days (the same by name prefix), incomplete_upload_days, noncurrent_days (replaced or deleted versions), soft_delete_days (0, or 7 to 90), storage_class_days (colder class → age)."
  type = object({
    expire_days            = optional(number)
    expire_prefix_days     = optional(map(number), {})
    incomplete_upload_days = optional(number, 7)
    noncurrent_days        = optional(number, 30)
    soft_delete_days       = optional(number, 7)
    storage_class_days     = optional(map(number), {})
  })
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for days in concat(var.retention.expire_days[*], values(var.retention.expire_prefix_days)) : days >= 1 && floor(days) == days])
    error_message = "retention has an age of ${join(" or ", concat(var.retention.expire_days[*], values(var.retention.expire_prefix_days)))} days to expire at; lifecycle rules count in whole days, from 1 on."
  }

  validation {
    condition     = var.retention.incomplete_upload_days >= 1
    error_message = "retention.incomplete_upload_days is ${var.retention.incomplete_upload_days}; it must be at least 1, so that an upload under way is not cut off."
  }

  validation {
    condition     = var.retention.noncurrent_days >= 1
    error_message = "retention.noncurrent_days is ${var.retention.noncurrent_days}; it must be at least 1, or versioning protects nothing."
  }

  validation {
    condition     = var.retention.soft_delete_days == 0 || (var.retention.soft_delete_days >= 7 && var.retention.soft_delete_days <= 90)
    error_message = "retention.soft_delete_days is ${var.retention.soft_delete_days}; Cloud Storage takes 0 (off) or 7 to 90."
  }

  validation {
    condition     = alltrue([for class in keys(var.retention.storage_class_days) : contains(["NEARLINE", "COLDLINE", "ARCHIVE"], class)])
    error_message = "retention.storage_class_days names ${join(", ", keys(var.retention.storage_class_days))}; colder classes are NEARLINE, COLDLINE and ARCHIVE."
  }
}
