variable "alerts" {
  description = "Each alert by its key, which is its heading in the runbook, too: severity (CRITICAL, ERROR or WARNING), title, what it means, the command to type first, the PromQL query that rings, and the seconds for which it must hold."
  type = map(object({
    duration = number
    first    = string
    means    = string
    query    = string
    severity = string
    title    = string
  }))
  nullable = false

  validation {
    condition     = alltrue([for alert in values(var.alerts) : contains(["CRITICAL", "ERROR", "WARNING"], alert.severity)])
    error_message = "alerts have the severities ${join(", ", distinct([for alert in values(var.alerts) : alert.severity]))}; each is CRITICAL, ERROR or WARNING."
  }
}

variable "name_prefix" {
  description = "What the alerts' names begin with."
  type        = string
  nullable    = false
}

variable "notification_channels" {
  description = "The full names of the channels that alerts go to (projects/…/notificationChannels/…)."
  type        = list(string)
  nullable    = false
  default     = []
}

variable "project_id" {
  description = "The project that is watched."
  type        = string
  nullable    = false
}

variable "runbook_url" {
  description = "The https:// address of docs/runbook.md as people on call see it; empty, the alerts name the file."
  type        = string
  nullable    = false
  default     = ""
}
