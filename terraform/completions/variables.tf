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
    policy     = object({ deletion_policy = string, kms_key_name = string })
    project_id = string
  })
  nullable = false
}

variable "subscribers" {
  description = "Who is told, by a name that never changes. push_url: a webhook, called with a token for audience (push_url unless given); without one, reader pulls. only: done or failed, both unless given. reader: an IAM member that may read the results."
  type = map(object({
    audience = optional(string, "")
    only     = optional(string, "")
    push_url = optional(string, "")
    reader   = optional(string, "")
  }))
  nullable = false
  default  = {}
}
