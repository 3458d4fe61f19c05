variable "access" {
  description = "Who may call: iam (members that hold run.invoker: callers), tokens (everybody with a token of tokens.issuer) or anyone (the whole internet)."
  type        = string
  nullable    = false
  default     = "iam"

  validation {
    condition     = contains(["anyone", "iam", "tokens"], var.access)
    error_message = "access is ${var.access}; it must be iam, tokens or anyone."
  }
}

variable "callers" {
  description = "Who may call under access = \"iam\", by a key of your choice that never changes."
  type = map(object({
    because = string
    member  = string
  }))
  nullable = false
  default  = {}

  validation {
    condition     = length(var.callers) == 0 || var.access == "iam"
    error_message = "callers are named, but access is ${var.access}, under which nobody is asked for run.invoker. Take them away, or set access to iam."
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

  validation {
    condition     = (var.access == "tokens") == (var.tokens.audience != "" && var.tokens.issuer != "")
    error_message = "tokens has the issuer ${jsonencode(var.tokens.issuer)} and the audience ${jsonencode(var.tokens.audience)}, and access is ${var.access}; tokens needs both, and the others neither."
  }

  validation {
    condition     = can(regex("^(|https://accounts\\.google\\.com|https://securetoken\\.google\\.com/[a-z][a-z0-9-]+)$", var.tokens.issuer))
    error_message = "tokens.issuer is ${var.tokens.issuer}; it must be https://accounts.google.com, or https://securetoken.google.com/PROJECT of Firebase or Identity Platform, which signs in with every other provider."
  }
}
