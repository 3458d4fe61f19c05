# Rows of charts, each under its heading.

locals {
  columns = 48
  height  = 14
  header  = 3

  placed = flatten([for row, it in var.rows : concat(
    [{
      x      = 0, y = row * (local.header + local.height), width = local.columns, height = local.header
      widget = { title = it.title, sectionHeader = {} }
    }],
    [for column, tile in it.tiles : {
      x      = column * local.columns / length(it.tiles)
      y      = row * (local.header + local.height) + local.header
      width  = local.columns / length(it.tiles)
      height = local.height
      widget = {
        title = tile.title
        xyChart = {
          dataSets = [for legend, query in tile.queries : merge(
            {
              plotType        = "LINE"
              timeSeriesQuery = { prometheusQuery = query, unitOverride = tile.unit }
            },
            legend == "" ? {} : { legendTemplate = legend },
          )]
        }
      }
    }],
  )])

  # Google does not store a zero, and the provider would find it missing in every plan.
  tiles = [for tile in local.placed : merge(
    { widget = tile.widget, width = tile.width, height = tile.height },
    tile.x == 0 ? {} : { xPos = tile.x },
    tile.y == 0 ? {} : { yPos = tile.y },
  )]
}

resource "google_monitoring_dashboard" "this" {
  project = var.project_id

  dashboard_json = jsonencode({
    displayName  = var.title
    mosaicLayout = { columns = local.columns, tiles = local.tiles }
  })
}
