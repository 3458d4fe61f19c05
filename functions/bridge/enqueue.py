"""Creating the task, and what each answer of Cloud Tasks means."""

from __future__ import annotations

from typing import Any, Protocol

from common.tasks import task_for
from notification import Notification
from settings import Config

TRANSPORT = "rest"  # "grpc" works as well
TIMEOUT_SECONDS = 20.0  # well within the subscription's ack deadline; Pub/Sub does the retrying

# Canonical status → reason. Whatever is not named here is queue_refused.
_REASONS = {
    "ALREADY_EXISTS": "already_exists",
    "RESOURCE_EXHAUSTED": "queue_throttled",
    **dict.fromkeys(
        ("ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNKNOWN"),
        "queue_unavailable",
    ),
}


class TasksClient(Protocol):
    """The one method of CloudTasksClient that is used."""

    def create_task(self, request: dict[Any, Any], *, timeout: float) -> object: ...


def cloud_tasks() -> TasksClient:
    from google.cloud import tasks_v2

    client: TasksClient = tasks_v2.CloudTasksClient(transport=TRANSPORT)
    return client


def enqueue(
    client: TasksClient, config: Config, notification: Notification, lane_name: str
) -> tuple[str, Exception | None]:
    """The reason that describes the outcome, and the error behind it where there was one."""
    lane = config.lanes[lane_name]
    task = task_for(
        notification.work, notification.resource, lane_name, lane,
        config.results_bucket, config.tasks_invoker,
    )  # fmt: skip
    try:
        client.create_task({"parent": lane.queue, "task": task}, timeout=TIMEOUT_SECONDS)
    except Exception as error:  # no token, no connection: whatever it was, the event must come back
        reason = _REASONS.get(_status(error), "queue_refused")
        return reason, None if reason == "already_exists" else error
    return "created" if lane.records else "handed_over", None


def _status(error: Exception) -> str:
    """The canonical status: gRPC errors carry it, REST errors have it in the answer's body."""
    status = getattr(error, "grpc_status_code", None)
    if status is not None:
        return str(status.name)
    response = getattr(error, "response", None)
    if response is None:
        return "UNAVAILABLE"
    try:
        return str(response.json()["error"]["status"])
    except (ValueError, KeyError, TypeError):
        code = int(response.status_code)
        if code == 429:
            return "RESOURCE_EXHAUSTED"
        return "UNAVAILABLE" if code >= 500 else "INVALID_ARGUMENT"
