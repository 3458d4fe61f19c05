"""Requests without an outcome whose message was lost are published again, at most once a day.

A publish that failed, or a message that died with its subscription, leaves its request waiting
for ever: here it is found. Publishing a task twice does it at most twice, and records it once.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from batch.records import WAITING, Records
from runtime.logs import Log
from worker.settings import Config

PATIENCE = timedelta(hours=1)  # a task that is not older may well be on its way


def sweep(config: Config, records: Records, log: Log) -> int:
    """The exit code. Ages are told by the bucket's clock, which stamped the requests."""
    from google.cloud.pubsub_v1 import PublisherClient

    publisher, now = PublisherClient(), records.now("sweeps")
    sent, seen = [], 0
    for known in records.listed(None):
        seen += 1
        if known.status != WAITING or known.created > now - PATIENCE:
            continue
        request = records.request(known.task) or {}
        topic = config.topics.get(request.get("priority", ""))
        mark = f"swept-{now.date()}"
        if topic and _is_due(request, now) and not records.is_marked(known.task, mark):
            data = json.dumps({"task_id": str(known.task)}).encode()
            future = publisher.publish(topic, data, task_id=str(known.task))
            sent.append((known.task, mark, future))
    for task, mark, future in sent:  # marked once confirmed: a sweep that dies is made up for
        future.result(60)
        records.mark(task, mark)
    log.write("WARNING" if sent else "INFO", "tasks_swept", "requests without an outcome",
              seen=seen, republished=len(sent))  # fmt: skip
    return 0


def _is_due(request: dict[str, Any], now: datetime) -> bool:
    """For long enough, where it was to run later."""
    after = request.get("run_after")
    return after is None or datetime.fromisoformat(after) < now - PATIENCE
