variable "project_id" {
  description = "The Google project of this environment (TF_VAR_project_id)."
  type        = string
  nullable    = false
}
