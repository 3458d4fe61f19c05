"""Small stand-ins for what submit and the worker talk to."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from function_fakes import PROJECT, RESULTS, UPLOADS

from batch.records import OUTCOME, REQUEST, WAITING, Known, Records, folder
from batch.tasks import TaskId
from worker import child
from worker.handlers import Failed
from worker.settings import Config

__all__ = ["Failed", "time"]  # of the programs

PLACE = f"projects/{PROJECT}/locations/us-central1"
TASKS = f"{PROJECT}-files-dev-tasks"
NOW = datetime(2026, 11, 26, tzinfo=UTC)
SUBMIT_ENV = {
    "ACCESS": '{"kind": "iam"}',
    "HASH_OBJECT_NAMES": "false",
    "PRIORITIES": json.dumps(
        {
            name: {
                "topic": f"projects/{PROJECT}/topics/files-dev-tasks-{name}",
                "job": f"{PLACE}/jobs/files-dev-worker-{name}",
            }
            for name in ("normal", "urgent")
        }
    ),
    "PROJECT_ID": PROJECT,
    "STARTER": f"files-dev-starter@{PROJECT}.iam.gserviceaccount.com",
    "START_QUEUE": f"{PLACE}/queues/files-dev-starts-1",
    "TASKS_BUCKET": TASKS,
    "THREADS": "16",
    "WINDOW_SECONDS": "60",
}
WORKER_ENV = {
    "AT_ONCE": "4",
    "DEAD_LETTERS": f"projects/{PROJECT}/subscriptions/files-dev-tasks-normal-dead",
    "HASH_OBJECT_NAMES": "false",
    "INSTANCE_BYTES": str(1024 << 20),
    "LANES": "{}",
    "LIMIT_SECONDS": "30",
    "PROJECT_ID": PROJECT,
    "RESULTS_BUCKET": RESULTS,
    "SUBSCRIPTION": f"projects/{PROJECT}/subscriptions/files-dev-worker-normal",
    "TASKS_BUCKET": TASKS,
    "TIMEOUT_SECONDS": "3600",
    "TOPICS": json.dumps({"normal": f"projects/{PROJECT}/topics/files-dev-tasks-normal"}),
    "UPLOADS_BUCKET": UPLOADS,
}


def run_program(folder: str, config: Config, task_id: str, request: dict[str, Any]) -> None:
    """In the place of worker.child.run: a program of the test's."""
    child.confine(config.task_bytes)
    os.chdir(folder)
    exec(request["program"])


def run_handler(folder: str, config: Config, task_id: str, request: dict[str, Any]) -> None:
    """worker.child.run with a handler that does what the request says."""
    from worker.handlers import data_transformation

    lines = "\n    ".join(request["does"].splitlines())
    exec(f"def handle(task, request):\n    {lines}", globals())
    data_transformation.handle = globals()["handle"]
    child.run(folder, config, task_id, request)


class MemoryRecords(Records):
    """The records in a dictionary by name. fault: called with "read name" or "create name"."""

    def __init__(self) -> None:
        super().__init__(lambda: None, TASKS)  # type: ignore[arg-type, return-value]
        self.objects: dict[str, dict[str, Any]] = {}
        self.fault: Callable[[str], None] = lambda call: None
        self.created: dict[TaskId, datetime] = {}
        self.moment = NOW
        self._lock = threading.Lock()

    def now(self, purpose: str) -> datetime:
        return self.moment

    def is_marked(self, task: TaskId, name: str) -> bool:
        return folder(task) + name in self.objects

    def listed(self, batch: str | None, after: str = "") -> Iterator[Known]:
        prefix = "tasks/" if batch is None else f"tasks/{batch}/"
        for name in sorted(self.objects):
            if name.startswith(prefix) and name.endswith(REQUEST) and name > after:
                _, of_batch, id, _ = name.split("/")
                outcome = self.objects.get(name.replace(REQUEST, OUTCOME), {})
                status = outcome.get("status", WAITING)
                task = TaskId(of_batch, id)
                yield Known(task, status, self.created.get(task, NOW))

    def _read(self, task: TaskId, name: str) -> dict[str, Any] | None:
        self.fault(f"read {name}")
        return self.objects.get(folder(task) + name)

    def _create(self, task: TaskId, name: str, body: dict[str, Any], metadata: Any = None) -> bool:
        self.fault(f"create {name}")
        with self._lock:
            if folder(task) + name in self.objects:
                return False
            self.objects[folder(task) + name] = body
            return True


class FakePublisher:
    """messages: (topic, data, attributes). fault: raised in place of a confirmation."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Any, dict[str, str]]] = []
        self.fault: Exception | None = None

    def publish(self, topic: str, data: bytes, **attributes: str) -> Future[str]:
        future: Future[str] = Future()
        if self.fault:
            future.set_exception(self.fault)
        else:
            self.messages.append((topic, json.loads(data), attributes))
            future.set_result(str(len(self.messages)))
        return future
