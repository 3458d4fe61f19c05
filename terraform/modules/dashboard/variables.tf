variable "project_id" {
  description = "The project that shows the dashboard."
  type        = string
  nullable    = false
}

variable "rows" {
  description = "From top to bottom: each row's title and its tiles, from left to right; each tile's title, unit, and PromQL queries by legend, in which $${labels.name} stands for a label's value (empty: no legend)."
  type = list(object({
    title = string
    tiles = list(object({
      queries = map(string)
      title   = string
      unit    = string
    }))
  }))
  nullable = false
}

variable "title" {
  description = "The dashboard's name."
  type        = string
  nullable    = false
}
