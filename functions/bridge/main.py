"""The bridge: a notification of Cloud Storage, pushed by Pub/Sub, becomes a named task.

A plain HTTP function: the answer's status is what Pub/Sub acts on. It holds no state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import functions_framework
from flask import Request

from bridge.decisions import TABLE, Decision, lane_of, rejection
from bridge.enqueue import TasksClient, cloud_tasks, enqueue
from bridge.notification import Malformed, Notification
from bridge.settings import Config
from runtime.logs import Log
from runtime.once import once

Answer = tuple[dict[str, str], int]


@dataclass(frozen=True, slots=True)
class Bridge:
    config: Config
    client: TasksClient
    log: Log


@once
def bridge() -> Bridge:
    config = Config.from_env()
    return Bridge(config, cloud_tasks(), Log(config.project_id, config.hash_object_names))


@functions_framework.http
def handle(request: Request) -> Answer:
    """GET → health; POST of a Pub/Sub push → one decision of the table."""
    this = bridge()
    if request.method != "POST":
        return {"status": "ok"}, 200
    try:
        notification = Notification.parse(request.get_data())
    except Malformed as error:
        return _answer(TABLE["malformed"], this.log, detail=str(error))
    lane, fault = None, None
    decision = rejection(notification, this.config)
    if decision is None:
        lane = lane_of(notification, this.config)
        reason, fault = enqueue(this.client, this.config, notification, lane)
        decision = TABLE[reason]
    return _answer(
        decision, this.log.about(notification.work), lane=lane, error=fault,
        message_id=notification.message_id, delivery=notification.delivery_attempt,
    )  # fmt: skip


def _answer(decision: Decision, log: Log, **fields: Any) -> Answer:
    log.write(decision.severity, decision.event, decision.message, reason=decision.reason, **fields)
    return {"status": decision.event, "reason": decision.reason}, decision.status
