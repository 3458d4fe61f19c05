locals {
  user = "logging_googleapis_com:user_${local.metric_prefix}"

  of_subscription = "monitored_resource=\"pubsub_subscription\",subscription_id=\"${basename(var.events.subscription)}\""
  of_dead_letters = "monitored_resource=\"pubsub_subscription\",subscription_id=\"${basename(var.events.dead_letter_subscription)}\""
  of_topic        = "monitored_resource=\"pubsub_topic\",topic_id=\"${basename(var.events.topic)}\""
  # What is due later may stand and be old: there only attempts tell.
  queues        = [for lane in values(var.lanes) : basename(lane.queue)]
  later         = [for lane in values(var.lanes) : basename(lane.later) if lane.later != ""]
  of_queues     = "monitored_resource=\"cloud_tasks_queue\",queue_id=~\"${join("|", local.queues)}\""
  of_all_queues = "monitored_resource=\"cloud_tasks_queue\",queue_id=~\"${join("|", concat(local.queues, local.later))}\""
  of_later      = "monitored_resource=\"cloud_tasks_queue\",queue_id=~\"${join("|", local.later)}\""
  of_processors = "monitored_resource=\"cloud_run_revision\",service_name=~\"${join("|", local.services)}\""
  of_logs       = "monitored_resource=\"cloud_run_revision\""

  # Google's pages name the label, but not its values. Others' alerts on the same metric say "ok", some
  # "OK", for a 2xx (a search in public repositories, November 2026); a code is taken as well.
  succeeded = "response_code=~\"(?i)ok|2[0-9][0-9]\""

  # More than a tenth, so that one file among many rings no bell; and more than one file alone can
  # bring about with its own retries.
  shares = {
    # Pub/Sub pushes one message again after 10, 20, 40, 80, 160 s: 5 times in 5 minutes.
    push_errors = {
      above = 5, share = 0.1, window = "5m"
      all   = "pubsub_googleapis_com:subscription_push_request_count{${local.of_subscription}}"
      bad   = "pubsub_googleapis_com:subscription_push_request_count{${local.of_subscription},response_class!=\"ack\"}"
    }
    # Cloud Tasks tries one task again after 2, 4, 8 … 256 s: 8 times in 10 minutes.
    failing_attempts = {
      above = 10, share = 0.1, window = "10m"
      all   = "cloudtasks_googleapis_com:queue_task_attempt_count{${local.of_all_queues}}"
      bad   = "cloudtasks_googleapis_com:queue_task_attempt_count{${local.of_all_queues},${replace(local.succeeded, "=~", "!~")}}"
    }
    # As failing attempts, but only what the processor itself answered: half as much is enough.
    processor_errors = {
      above = 10, share = 0.05, window = "10m"
      all   = "run_googleapis_com:request_count{${local.of_processors}}"
      bad   = "run_googleapis_com:request_count{${local.of_processors},response_code_class=\"5xx\"}"
    }
    # A fifth of an hour's files: single broken uploads are their uploader's; this many are a
    # client that uploads wrongly, or a fault of ours.
    failed_files = {
      above = 5, share = 0.2, window = "1h"
      all   = "${local.user}_finished{${local.of_logs}}"
      bad   = "${local.user}_finished{${local.of_logs},outcome=\"failed\"}"
    }
  }

  default_share = merge({ for key, it in local.shares : key => it.share }, { memory = 0.9, slow_processor = 0.8 })
  share         = merge(local.default_share, var.shares)

  share_of = { for key, it in local.shares : key =>
    "sum(increase(${it.bad}[${it.window}])) > ${it.above} and sum(increase(${it.bad}[${it.window}])) > ${local.share[key]} * sum(increase(${it.all}[${it.window}]))"
  }

  # Two windows each: the long one shows that it matters, the short one that it still goes on. 14.4
  # times the allowed rate spends 2 % of 28 days' allowance in an hour, 6 times 5 % in six hours
  # (Google's SRE workbook, chapter 5). And more than 3 files: of ten files, one is 100 times as much.
  burn = { for key, it in { fast = ["1h", "5m", 14.4], slow = ["6h", "30m", 6] } : key => join(" and ", concat(
    [for window in [it[0], it[1]] :
      "sum(increase(${local.user}_missed{${local.of_logs}}[${window}])) > ${format("%.6g", it[2] * (1 - var.objective.goal))} * (sum(increase(${local.user}_missed{${local.of_logs}}[${window}])) + (sum(increase(${local.user}_in_time{${local.of_logs}}[${window}])) or vector(0)))"
    ],
    ["sum(increase(${local.user}_missed{${local.of_logs}}[${it[0]}])) > 3"],
  )) }

  # Long enough to hold an attempt of every task: the longest back-off, and ten minutes for the
  # attempt itself and for metrics that come late.
  patience = "${max(15, ceil(max([for lane in values(var.lanes) : lane.max_backoff_seconds]...) / 60) + 10)}m"

  stands = { for window in [local.patience, "1d"] : window =>
    "sum by (queue_id) (min_over_time(cloudtasks_googleapis_com:queue_depth{${local.of_queues}}[${window}])) > 0 unless sum by (queue_id) (increase(cloudtasks_googleapis_com:queue_task_attempt_count{${local.of_queues},${local.succeeded}}[${window}])) > 0"
  }

  # Of tasks due later, none of whose attempts succeeds: one task's own come to 9 in some 8 minutes.
  fails_later = "sum by (queue_id) (increase(cloudtasks_googleapis_com:queue_task_attempt_count{${local.of_later}}[${local.patience}])) > 8 unless sum by (queue_id) (increase(cloudtasks_googleapis_com:queue_task_attempt_count{${local.of_later},${local.succeeded}}[${local.patience}])) > 0"

  # first: what to type first; `make ops` is the operator's tool, docs/operations.md.
  alerts = {
    dead_letters = {
      severity = "CRITICAL"
      title    = "Events were set aside undelivered"
      means    = "At least one upload has no task: its event was not accepted in any of its deliveries. It stays unprocessed until somebody redrives it."
      first    = "make ops ENV=${var.environment} PROJECT=${var.project_id} ARGS=\"redrive --dead-letters\""
      # One is one file too many.
      query    = "max(pubsub_googleapis_com:subscription_num_undelivered_messages{${local.of_dead_letters}}) > 0"
      duration = 0
    }
    waiting_events = {
      severity = "ERROR"
      title    = "Events wait for the bridge"
      means    = "The oldest event has waited longer than a file may take from upload to result, ${var.objective.seconds} s."
      first    = "make ops ENV=${var.environment} PROJECT=${var.project_id} ARGS=doctor"
      # What waits for the bridge as long as that misses the objective whatever happens after.
      query    = "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.of_subscription}}) > ${var.objective.seconds}"
      duration = 60
    }
    push_errors = {
      severity = "ERROR"
      title    = "Pushes to the bridge fail"
      means    = "More than ${local.share.push_errors * 100} % of the pushes of 5 minutes were not accepted. Pub/Sub repeats them; what fails 100 times becomes a dead letter."
      first    = "make ops ENV=${var.environment} PROJECT=${var.project_id} ARGS=doctor"
      query    = local.share_of.push_errors
      duration = 120
    }
    standing_queue = {
      severity = "CRITICAL"
      title    = "A queue holds tasks and none succeeds"
      means    = "For ${trimsuffix(local.patience, "m")} minutes tasks have waited and not one was answered with 2xx: the queue is paused, the processor away, or a permission missing."
      first    = "make ops ENV=${var.environment} PROJECT=${var.project_id} ARGS=doctor"
      # Longer than a deployment takes, and than any task waits for its next attempt.
      query    = length(local.later) == 0 ? local.stands[local.patience] : "(${local.stands[local.patience]}) or (${local.fails_later})"
      duration = 60
    }
    old_tasks = {
      severity = "WARNING"
      title    = "Files are tried for more than an hour"
      means    = "At least one file that was due more than an hour ago is still being tried. Nothing is lost yet: the queue goes on for ${min([for lane in values(var.lanes) : lane.retry_days]...)} days."
      first    = "make logs ENV=${var.environment} PROJECT=${var.project_id} EVENT=retry"
      # A file's own faults are over within minutes (3 attempts); an hour means somebody else's.
      query    = "sum(increase(${local.user}_overdue{${local.of_logs}}[${local.patience}])) > 0"
      duration = 0
    }
    expiring_tasks = {
      severity = "CRITICAL"
      title    = "Tasks are about to be given up"
      means    = "Files have been tried for ${local.expiring_days} days, or a queue has stood still for one. After ${min([for lane in values(var.lanes) : lane.retry_days]...)} days the queue deletes its tasks (a paused one after 31)."
      first    = "make ops ENV=${var.environment} PROJECT=${var.project_id} ARGS=doctor"
      # Four days before the end: a long weekend.
      query    = "sum(increase(${local.user}_expiring{${local.of_logs}}[${local.patience}])) > 0 or (${local.stands["1d"]})"
      duration = 0
    }
    failing_attempts = {
      severity = "ERROR"
      title    = "Attempts to process fail"
      means    = "More than ${local.share.failing_attempts * 100} % of the queue's attempts of 10 minutes failed: refused (403), throttled (429), away (5xx) or unanswered."
      first    = "make logs ENV=${var.environment} PROJECT=${var.project_id} EVENT=retry"
      query    = local.share_of.failing_attempts
      duration = 120
    }
    processor_errors = {
      severity = "ERROR"
      title    = "The processor answers 5xx"
      means    = "More than ${local.share.processor_errors * 100} % of the processor's answers of 10 minutes were 5xx. Each is tried again, and spends one of the file's attempts if work had begun."
      first    = "make logs ENV=${var.environment} PROJECT=${var.project_id} EVENT=retry"
      query    = local.share_of.processor_errors
      duration = 120
    }
    slow_processor = {
      severity = "WARNING"
      title    = "The processor is close to its deadline"
      means    = "One request in twenty takes more than ${local.share.slow_processor * 100} % of the time that work may take. What passes it is tried again, and fails in the end."
      first    = "make logs ENV=${var.environment} PROJECT=${var.project_id} EVENT=done"
      # Four fifths, so that there is time to act before files fail; 20 requests, so that one in
      # twenty means something.
      query = join(" or ", [for key, lane in var.lanes :
        "histogram_quantile(0.95, sum by (le, service_name) (increase(run_googleapis_com:request_latencies_bucket{monitored_resource=\"cloud_run_revision\",service_name=\"${lane.service}\"}[10m]))) > ${format("%.0f", lane.work_seconds * local.share.slow_processor * 1000)} and sum by (service_name) (increase(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=\"${lane.service}\"}[10m])) >= 20"
        if lane.service != ""
      ])
      duration = 300
    }
    memory = {
      severity = "WARNING"
      title    = "Instances are near their memory limit"
      means    = "The fullest instances use more than ${local.share.memory * 100} % of their memory. Passing the limit kills an instance with every request in it."
      first    = "make logs ENV=${var.environment} PROJECT=${var.project_id} EVENT=started"
      # The processor plans with all but 128 MiB, 6 % of 2 GiB: more than 90 % for 5 minutes is more
      # than it planned for.
      query    = "histogram_quantile(0.99, sum by (le, service_name) (increase(run_googleapis_com:container_memory_utilizations_bucket{${local.of_processors}}[5m]))) > ${local.share.memory}"
      duration = 300
    }
    failed_files = {
      severity = "ERROR"
      title    = "Many files fail"
      means    = "More than ${local.share.failed_files * 100} % of the files of the last hour ended in a failure record."
      first    = "make ops ENV=${var.environment} PROJECT=${var.project_id} ARGS=\"status --failed --since 24h\""
      query    = local.share_of.failed_files
      duration = 0
    }
    nothing_finished = {
      severity = "CRITICAL"
      title    = "Uploads arrive and nothing is finished"
      means    = "For 15 minutes files were uploaded, and none was done or failed."
      first    = "make ops ENV=${var.environment} PROJECT=${var.project_id} ARGS=doctor"
      # Events that need no work do not count. 5 minutes more, for the last uploads to be worked on.
      query    = "sum(increase(pubsub_googleapis_com:topic_send_message_operation_count{${local.of_topic}}[15m])) > (sum(increase(${local.user}_passed_over{${local.of_logs}}[15m])) or vector(0)) unless sum(increase(${local.user}_finished{${local.of_logs}}[15m])) > 0"
      duration = 300
    }
    fast_burn = {
      severity = "CRITICAL"
      title    = "The objective is being missed fast"
      means    = "So many files of the last hour came late or failed through no fault of theirs that ${var.objective.days} days' allowance would be gone in two."
      first    = "make ops ENV=${var.environment} PROJECT=${var.project_id} ARGS=doctor"
      query    = local.burn.fast
      duration = 0
    }
    slow_burn = {
      severity = "WARNING"
      title    = "The objective is being missed slowly"
      means    = "So many files of the last six hours came late or failed through no fault of theirs that ${var.objective.days} days' allowance would be gone in five."
      first    = "make ops ENV=${var.environment} PROJECT=${var.project_id} ARGS=\"status --failed --since 24h\""
      query    = local.burn.slow
      duration = 0
    }
  }
}

module "alerts" {
  source = "../alerts"

  project_id            = var.project_id
  name_prefix           = var.name_prefix
  alerts                = local.alerts
  notification_channels = var.notification_channels
  runbook_url           = var.runbook_url

  depends_on = [google_logging_metric.counter]
}

moved {
  from = google_monitoring_alert_policy.this
  to   = module.alerts.google_monitoring_alert_policy.this
}
