locals {
  public = var.access != "iam"

  # What a service reads of it.
  setting = jsonencode(merge({ kind = var.access }, var.access == "tokens" ? var.tokens : {}))
}
