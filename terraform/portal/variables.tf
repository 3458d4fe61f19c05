variable "access" {
  description = "Who may call: iam (members that hold run.invoker: callers; each sees every file), tokens (everybody with a token of tokens.issuer, who sees their own files; API only), or anyone (the whole internet, page and API)."
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

variable "folders" {
  description = "The folders of the uploads bucket that take files from the portal: the content types that each takes (image/png, image/*, */*) and the largest file, in bytes."
  type = map(object({
    max_bytes = optional(number, 104857600)
    types     = optional(list(string), ["*/*"])
  }))
  nullable = false
  default  = { uploads = {} }

  validation {
    condition     = length(var.folders) > 0
    error_message = "folders is empty; name at least one, or take the portal away."
  }

  validation {
    condition     = alltrue([for folder in keys(var.folders) : can(regex("^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", folder))])
    error_message = "folders has ${join(", ", keys(var.folders))}; a folder has 1 to 32 lower-case letters, digits and hyphens, and neither begins nor ends with a hyphen."
  }

  validation {
    condition     = alltrue([for folder in values(var.folders) : folder.max_bytes >= 1 && folder.max_bytes <= 5497558138880])
    error_message = "folders has max_bytes of ${join(", ", [for folder in values(var.folders) : folder.max_bytes])}; Cloud Storage takes files of up to 5497558138880 bytes (5 TiB), and none has less than 1."
  }

  validation {
    condition     = alltrue(flatten([for folder in values(var.folders) : [for type in folder.types : can(regex("^(\\*/\\*|[a-z]+/(\\*|[a-z0-9.+-]+))$", type))]]))
    error_message = "folders has the types ${join(", ", distinct(flatten([for folder in values(var.folders) : folder.types])))}; a type is image/png, image/* or */*, in lower case."
  }
}

variable "ingress" {
  description = "Where requests may come from: ALLOW_ALL, or ALLOW_INTERNAL_AND_GCLB behind a load balancer."
  type        = string
  nullable    = false
  default     = "ALLOW_ALL"
}

variable "origins" {
  description = "Pages beside the portal's own whose scripts may upload: their origins (https://host). Give the pipeline the same as uploads_origins."
  type        = set(string)
  nullable    = false
  default     = []

  validation {
    condition     = alltrue([for origin in var.origins : can(regex("^https://[a-z0-9.-]+(:[0-9]+)?$|^http://(localhost|127\\.0\\.0\\.1)(:[0-9]+)?$", origin))])
    error_message = "origins has ${join(", ", var.origins)}; an origin is https://host without a path, or http://localhost:PORT for trying, and never *."
  }
}

variable "pipeline" {
  description = "The pipeline's output interface."
  type = object({
    bridge  = object({ settings = map(string) })
    buckets = object({ results = string, uploads = string })
    build = object({
      account_email = string
      kms_key_name  = string
      repository    = string
      source_bucket = string
      zips          = string
    })
    deployer       = string
    environment    = string
    lanes          = map(object({ prefixes = list(string), records = bool }))
    max_file_bytes = map(number)
    monitoring = object({
      enabled               = bool
      notification_channels = list(string)
      runbook_url           = string
    })
    name       = string
    policy     = object({ deletion_policy = string, hash_object_names = bool })
    project_id = string
    region     = string
  })
  nullable = false
}

variable "published_bucket" {
  description = "The bucket that files are published through, such as the one of approvals: what is done is shown once it is published there (published/<key>.json), and as failed where it was rejected. Empty: what is done is shown."
  type        = string
  nullable    = false
  default     = ""
}

variable "status" {
  description = "What an instance of the status service has, how many there are, how many event streams an instance carries (max_streams), and for how long one lasts (stream_seconds); each holds a thread."
  type = object({
    concurrency     = optional(number, 80)
    cpu             = optional(number, 1)
    max_instances   = optional(number, 5)
    max_streams     = optional(number, 64)
    memory_mib      = optional(number, 512)
    min_instances   = optional(number, 0)
    stream_seconds  = optional(number, 300)
    threads         = optional(number, 80)
    timeout_seconds = optional(number, 360)
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.status.max_streams >= 1 && var.status.max_streams < var.status.concurrency
    error_message = "status.max_streams is ${var.status.max_streams} of ${var.status.concurrency} requests at once; at least 1, and fewer than concurrency, so that other requests are answered, too."
  }

  validation {
    condition     = var.status.stream_seconds >= 10 && var.status.stream_seconds + 30 <= var.status.timeout_seconds
    error_message = "status.stream_seconds is ${var.status.stream_seconds} with a timeout of ${var.status.timeout_seconds} s; a stream lasts at least 10 s, and ends 30 s before the timeout, or Google cuts it off."
  }
}

variable "tokens" {
  description = "Under access = \"tokens\": the issuer (https://accounts.google.com, or Firebase's https://securetoken.google.com/PROJECT) and the audience that its tokens must have (the OAuth client's id, or the Firebase project's)."
  type = object({
    audience = optional(string, "")
    issuer   = optional(string, "")
  })
  nullable = false
  default  = {}
}

variable "upload" {
  description = "What an instance of the upload service has, and how many there are. Memory holds a form of 32 MiB in each request beside 200 MiB for Python and its libraries."
  type = object({
    concurrency     = optional(number, 16)
    cpu             = optional(number, 1)
    max_instances   = optional(number, 5)
    memory_mib      = optional(number, 1024)
    min_instances   = optional(number, 0)
    threads         = optional(number, 16)
    timeout_seconds = optional(number, 300)
  })
  nullable = false
  default  = {}

  validation {
    condition     = var.upload.memory_mib >= 200 + 48 * var.upload.concurrency
    error_message = "upload.memory_mib is ${var.upload.memory_mib} and must be at least ${200 + 48 * var.upload.concurrency} with concurrency ${var.upload.concurrency}: 200 for Python and 48 for the form in each request."
  }
}
