# Rows of charts, each under its heading.

locals {
  columns = 48
  height  = 14
  header  = 3

  tiles = flatten([for row, it in var.rows : concat(
    [{
      xPos   = 0, yPos = row * (local.header + local.height), width = local.columns, height = local.header
      widget = { title = it.title, sectionHeader = { subtitle = "", dividerBelow = false } }
    }],
    [for column, tile in it.tiles : {
      xPos   = column * local.columns / length(it.tiles)
      yPos   = row * (local.header + local.height) + local.header
      width  = local.columns / length(it.tiles)
      height = local.height
      widget = {
        title = tile.title
        xyChart = {
          dataSets = [for legend, query in tile.queries : {
            plotType       = "LINE"
            legendTemplate = legend
            timeSeriesQuery = {
              prometheusQuery = query
              unitOverride    = tile.unit
            }
          }]
        }
      }
    }],
  )])
}

resource "google_monitoring_dashboard" "this" {
  project = var.project_id

  dashboard_json = jsonencode({
    displayName  = var.title
    mosaicLayout = { columns = local.columns, tiles = local.tiles }
  })
}
