variable "deployer" {
  description = "The account that applies this from GitHub, as an IAM member (TF_VAR_deployer; scripts/ci sets it). Empty where an owner applies."
  type        = string
  nullable    = false
  default     = ""
}

variable "project_id" {
  description = "The Google project of this environment (TF_VAR_project_id)."
  type        = string
  nullable    = false
}
