"""The task that stands for one piece of work, and what each answer of Cloud Tasks means.

Its body is contract.task's: a lane may name any HTTPS target.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any, Protocol

from bridge.delays import Place, place
from bridge.notification import Notification
from bridge.settings import Config, Lane
from contract.task import TaskBody, body

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


class CloudTasks:
    """Google's client over gRPC, given the function's own token with each call.

    Left to itself grpc starts a thread to ask for the token, for each call, and keeps one that is
    refused until its end is near (docs/decisions/0009). Here such a call is made again, with a new
    one.
    """

    def __init__(self) -> None:
        import google.auth
        import grpc
        from google.auth.transport.requests import Request
        from google.cloud.tasks_v2 import CloudTasksClient
        from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

        self._credentials, _ = google.auth.default(scopes=CloudTasksGrpcTransport.AUTH_SCOPES)
        self._request = Request()
        host = f"{CloudTasksClient.DEFAULT_ENDPOINT}:443"
        channel = grpc.secure_channel(host, grpc.ssl_channel_credentials())
        self._client = CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))

    def create_task(self, request: dict[Any, Any], *, timeout: float) -> object:
        try:
            return self._create(request, timeout)
        except Exception as error:
            if _status(error) != "UNAUTHENTICATED":
                raise
            self._credentials.refresh(self._request)
            return self._create(request, timeout)

    def _create(self, request: dict[Any, Any], timeout: float) -> object:
        headers: dict[str, str] = {}
        # A stale token is renewed here.
        self._credentials.before_request(self._request, "POST", "", headers)
        token = [(name.lower(), value) for name, value in headers.items()]
        return self._client.create_task(request, timeout=timeout, metadata=token)


def cloud_tasks() -> TasksClient:
    return CloudTasks()


def enqueue(
    client: TasksClient,
    config: Config,
    notification: Notification,
    lane_name: str,
    task_id: str = "",
) -> tuple[str, Exception | None]:
    """The reason that describes the outcome, and the error behind it where there was one.

    The client's errors carry gRPC's status; one without is an outage. task_id: the task's, in place
    of the one that follows from the work's identity.
    """
    lane, work = config.lanes[lane_name], notification.work
    results = config.results_bucket if lane.records else None
    placed = place(lane, notification.resource)
    content = body(
        work, notification.resource, lane_name, results, due=placed.due, fault=placed.fault
    )
    task = _task(lane, placed, task_id or work.task_id, content, config)
    try:
        client.create_task({"parent": placed.queue, "task": task}, timeout=TIMEOUT_SECONDS)
    except Exception as error:  # no token, no connection: whatever it was, the event must come back
        reason = _REASONS.get(_status(error), "queue_refused")
        return reason, None if reason == "already_exists" else error
    if not lane.records:
        return "handed_over", None
    return "delayed" if "schedule_time" in task else "created", None


def _task(
    lane: Lane, placed: Place, task_id: str, body: TaskBody, config: Config
) -> dict[str, Any]:
    """The Task message, as the client library takes it."""
    schedule = {}
    if placed.due is not None and placed.due > datetime.now(UTC):
        schedule["schedule_time"] = {"seconds": math.ceil(placed.due.timestamp())}
    return schedule | {
        "name": f"{placed.queue}/tasks/{task_id}",
        "dispatch_deadline": {"seconds": lane.dispatch_deadline_seconds},
        "http_request": {
            "http_method": "POST",
            "url": lane.url,
            "headers": {"Content-Type": "application/json"},
            "body": json.dumps(body).encode(),
            "oidc_token": {
                "service_account_email": config.tasks_invoker, "audience": lane.audience,
            },
        },
    }  # fmt: skip


def _status(error: Exception) -> str:
    status = getattr(error, "grpc_status_code", None)
    return "UNAVAILABLE" if status is None else str(status.name)
