"""Small stand-ins for the services that the functions talk to."""

from __future__ import annotations

import base64
import json
from typing import Any

PROJECT = "acme-files"
UPLOADS = "acme-files-files-dev-uploads"
RESULTS = "acme-files-files-dev-results"
QUEUE = f"projects/{PROJECT}/locations/us-central1/queues/files-dev-default-1a2b"

BRIDGE_ENV = {
    "PROJECT_ID": PROJECT,
    "ENVIRONMENT": "dev",
    "UPLOADS_BUCKET": UPLOADS,
    "RESULTS_BUCKET": RESULTS,
    "TASKS_INVOKER": f"files-dev-tasks-invoker@{PROJECT}.iam.gserviceaccount.com",
    "LANES": json.dumps(
        {
            "default": {
                "queue": QUEUE,
                "url": "https://files-dev-processor-default-abc-uc.a.run.app",
                "audience": "https://files-dev-processor-default-abc-uc.a.run.app",
                "dispatch_deadline_seconds": 600,
                "prefixes": [],
                "content_types": [],
                "records": True,
            }
        }
    ),
    "INCLUDE_PREFIXES": "[]",
    "EXCLUDE_PREFIXES": "[]",
    "HASH_OBJECT_NAMES": "false",
}


def lane(**changes: Any) -> dict[str, Any]:
    return json.loads(BRIDGE_ENV["LANES"])["default"] | changes


def resource(name: str = "cats/tom.jpg", **changes: Any) -> dict[str, Any]:
    """An object resource as Cloud Storage sends it."""
    return {
        "kind": "storage#object",
        "bucket": UPLOADS,
        "name": name,
        "generation": "1732000000000001",
        "size": "1234",
        "contentType": "image/jpeg",
        "crc32c": "AAAAAA==",
        "timeCreated": "2026-11-21T09:00:00.000Z",
        "metageneration": "1",
    } | changes


def push(
    resource: dict[str, Any], attributes: dict[str, str] | None = None, **message: Any
) -> dict[str, Any]:
    """The body of a Pub/Sub push that carries a notification of Cloud Storage."""
    return {
        "subscription": f"projects/{PROJECT}/subscriptions/files-dev-bridge",
        "deliveryAttempt": 1,
        "message": {
            "messageId": "12345",
            "publishTime": "2026-11-21T09:00:01.000Z",
            "attributes": {
                "eventType": "OBJECT_FINALIZE",
                "payloadFormat": "JSON_API_V1",
                "bucketId": str(resource.get("bucket")),
                "objectId": str(resource.get("name")),
                "objectGeneration": str(resource.get("generation")),
            }
            | (attributes or {}),
            "data": base64.b64encode(json.dumps(resource).encode()).decode(),
        }
        | message,
    }


class FakeTasks:
    """A queue that holds tasks by name; `fault` is raised instead of accepting one."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self.fault: Exception | None = None

    def create_task(self, request: dict[Any, Any], *, timeout: float) -> object:
        from google.api_core.exceptions import AlreadyExists
        from google.cloud.tasks_v2 import CreateTaskRequest

        CreateTaskRequest(request)  # the real message class: a misspelt field raises
        task = request["task"]
        if self.fault:
            raise self.fault
        if task["name"] in self.tasks:
            raise AlreadyExists("there", errors=[_Status("ALREADY_EXISTS")])
        self.tasks[task["name"]] = task
        return task


class _Status:
    """What a gRPC error carries."""

    def __init__(self, name: str) -> None:
        self.name = name

    def code(self) -> Any:
        import grpc

        return grpc.StatusCode[self.name]
