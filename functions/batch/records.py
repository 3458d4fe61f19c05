"""The records of tasks, each written once, in a bucket of their own:

tasks/<batch or ->/<id>/request.json    before the task is published: from then on it is accepted
tasks/<batch or ->/<id>/outcome.json    done, failed or cancelled: the first that is written counts
tasks/<batch or ->/<id>/<output>        what was made, written before the outcome

An outcome carries its status as metadata, too, so that a listing tells how a batch stands.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from batch.tasks import TaskId
from runtime.storage import unless_there

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

REQUEST, OUTCOME = "request.json", "outcome.json"
DONE, FAILED, CANCELLED, WAITING = "done", "failed", "cancelled", "waiting"
CALL_SECONDS = 20.0
# Why a task failed. retryable: whether doing it again may help.
REASONS = {
    "deliveries_exhausted": "its message was delivered as often as allowed, and no worker ended it",
    "handler_failed": "the handler raised an error",
    "invalid_request": "the request cannot be done as it stands",
    "object_not_found": "the object that it names does not exist",
    "out_of_memory": "it took more memory than a task may",
    "process_crashed": "its process ended without a word",
    "some_files_failed": "some of the files have failure records of their own",
    "timed_out": "it took more time than a task may",
    "unsupported_data": "the data cannot be read or transformed as asked",
}


@dataclass(frozen=True, slots=True)
class Known:
    """A task as a listing tells it. status: waiting, done, failed or cancelled."""

    task: TaskId
    status: str
    created: datetime


def folder(task: TaskId) -> str:
    return f"tasks/{task.batch}/{task.id}/"


class Records:
    """Over Google's client, whose errors it lets through."""

    def __init__(self, client: Callable[[], Client], bucket: str) -> None:
        self._client, self.bucket = client, bucket

    def request(self, task: TaskId) -> dict[str, Any] | None:
        return self._read(task, REQUEST)

    def outcome(self, task: TaskId) -> dict[str, Any] | None:
        return self._read(task, OUTCOME)

    def accept(self, task: TaskId, request: dict[str, Any]) -> bool:
        """False: a request of that id is there already."""
        return self._create(task, REQUEST, request)

    def conclude(self, task: TaskId, outcome: dict[str, Any]) -> bool:
        """Writes {status, reason?, detail? …}. False: there was an outcome before, which counts."""
        return self._create(task, OUTCOME, outcome, {"status": outcome["status"]})

    def mark(self, task: TaskId, name: str) -> None:
        self._create(task, name, {})

    def is_marked(self, task: TaskId, name: str) -> bool:
        return bool(self._blob(task, name).exists(timeout=CALL_SECONDS))

    def now(self, purpose: str) -> datetime:
        """By the bucket's own clock, which stamps an object that is written for it."""
        blob = self._client().bucket(self.bucket).blob(f"tasks/{purpose}/{secrets.token_hex(8)}")
        blob.upload_from_string(b"", if_generation_match=0, timeout=CALL_SECONDS)
        created: datetime = blob.time_created
        return created

    def put(self, task: TaskId, name: str, path: str, content_type: str) -> str:
        """Uploads an output's file; a name that is taken was written by an earlier try."""
        blob = self._blob(task, name)
        with unless_there():
            blob.upload_from_filename(path, content_type=content_type, if_generation_match=0)
        return str(blob.name)

    def listed(
        self, batch: str | None, after: str = "", most: int | None = None
    ) -> Iterator[Known]:
        """Tasks of a batch, or all, in the order of their names, from after `after` on."""
        found = self._client().list_blobs(
            self.bucket,
            prefix="tasks/" if batch is None else f"tasks/{batch}/",
            start_offset=after or None,
            fields="items(name,metadata,timeCreated),nextPageToken",
            timeout=CALL_SECONDS,
        )
        status = WAITING
        for blob in found:  # a task's outcome stands before its request
            parts = blob.name.split("/")
            if len(parts) != 4 or blob.name <= after:
                continue
            if parts[3] == OUTCOME:
                status = (blob.metadata or {}).get("status", FAILED)
            elif parts[3] == REQUEST:
                yield Known(TaskId(parts[1], parts[2]), status, blob.time_created)
                status = WAITING

    def _blob(self, task: TaskId, name: str) -> Blob:
        return self._client().bucket(self.bucket).blob(folder(task) + name)

    def _read(self, task: TaskId, name: str) -> dict[str, Any] | None:
        from google.api_core.exceptions import NotFound

        try:
            return dict(json.loads(self._blob(task, name).download_as_bytes(timeout=CALL_SECONDS)))
        except NotFound:
            return None

    def _create(
        self, task: TaskId, name: str, body: dict[str, Any], metadata: dict[str, str] | None = None
    ) -> bool:
        blob = self._blob(task, name)
        blob.metadata = metadata
        with unless_there():
            blob.upload_from_string(
                json.dumps(body, indent=1), "application/json", if_generation_match=0,
                timeout=CALL_SECONDS,
            )  # fmt: skip
            return True
        return False
