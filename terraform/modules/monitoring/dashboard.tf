# One row for each station of a file's way, from the upload down to its record.

locals {
  of_bridge = "monitored_resource=\"cloud_run_revision\",service_name=\"${var.events.bridge}\""

  rows = [
    { title = "Events", tiles = [
      { title = "Uploads announced", unit = "1", queries = { "" = "sum(increase(pubsub_googleapis_com:topic_send_message_operation_count{${local.of_topic}}[5m]))" } },
      { title = "Oldest waiting event", unit = "s", queries = { "" = "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.of_subscription}})" } },
      { title = "Pushes by answer", unit = "1", queries = { "$${labels.response_class}" = "sum by (response_class) (increase(pubsub_googleapis_com:subscription_push_request_count{${local.of_subscription}}[5m]))" } },
      { title = "Dead letters waiting", unit = "1", queries = { "" = "max(pubsub_googleapis_com:subscription_num_undelivered_messages{${local.of_dead_letters}})" } },
    ] },
    { title = "Bridge", tiles = [
      { title = "Answers by class", unit = "1", queries = { "$${labels.response_code_class}" = "sum by (response_code_class) (increase(run_googleapis_com:request_count{${local.of_bridge}}[5m]))" } },
      { title = "Latency, 95 %", unit = "ms", queries = { "" = "histogram_quantile(0.95, sum by (le) (increase(run_googleapis_com:request_latencies_bucket{${local.of_bridge}}[5m])))" } },
      { title = "Events passed over", unit = "1", queries = { "" = "sum(increase(${local.user}_passed_over{${local.of_logs}}[5m]))" } },
    ] },
    { title = "Queue", tiles = [
      { title = "Tasks in the queue", unit = "1", queries = { "$${labels.queue_id}" = "sum by (queue_id) (cloudtasks_googleapis_com:queue_depth{${local.of_all_queues}})" } },
      { title = "Attempts by answer", unit = "1", queries = { "$${labels.response_code}" = "sum by (response_code) (increase(cloudtasks_googleapis_com:queue_task_attempt_count{${local.of_all_queues}}[5m]))" } },
      { title = "Attempts on files older than an hour", unit = "1", queries = { "" = "sum(increase(${local.user}_overdue{${local.of_logs}}[5m]))" } },
    ] },
    { title = "Processor", tiles = [
      { title = "Answers by class", unit = "1", queries = { "$${labels.response_code_class}" = "sum by (response_code_class) (increase(run_googleapis_com:request_count{${local.of_processors}}[5m]))" } },
      { title = "Latency, 50 % and 95 %", unit = "ms", queries = { for share in [0.5, 0.95] : "${share * 100} %" => "histogram_quantile(${share}, sum by (le) (increase(run_googleapis_com:request_latencies_bucket{${local.of_processors}}[5m])))" } },
      { title = "Memory used, 99 %", unit = "10^2.%", queries = { "" = "histogram_quantile(0.99, sum by (le) (increase(run_googleapis_com:container_memory_utilizations_bucket{${local.of_processors}}[5m])))" } },
    ] },
    { title = "Results", tiles = [
      { title = "Files by outcome", unit = "1", queries = { "$${labels.outcome}" = "sum by (outcome) (increase(${local.user}_finished{${local.of_logs}}[5m]))" } },
      { title = "Failures by reason", unit = "1", queries = { "$${labels.reason}" = "sum by (reason) (increase(${local.user}_finished{${local.of_logs},outcome=\"failed\"}[5m]))" } },
      { title = "Upload to done", unit = "s", queries = { for share in [0.5, 0.95, 0.99] : "${share * 100} %" => "histogram_quantile(${share}, sum by (le) (increase(${local.user}_upload_to_done_bucket{${local.of_logs}}[5m])))" } },
      { title = "Late or failed by us", unit = "1", queries = { "" = "sum(increase(${local.user}_missed{${local.of_logs}}[5m]))" } },
    ] },
  ]
}

module "dashboard" {
  source = "../dashboard"

  project_id = var.project_id
  title      = "${var.name_prefix}: from upload to result"
  rows       = local.rows
}

moved {
  from = google_monitoring_dashboard.this
  to   = module.dashboard.google_monitoring_dashboard.this
}
