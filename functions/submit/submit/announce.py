"""A request becomes a message of its priority's topic, and a worker is started for it.

The start is a named task of Cloud Tasks, one for each job and window: many submissions start one
execution. It runs `jobs/<job>:run` with a token of an account that may do nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from batch.tasks import TaskId
from submit.settings import Config

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import PublisherClient
    from google.cloud.tasks_v2 import CloudTasksClient

LEAD_SECONDS = 5  # a start lies at least so far ahead: what is submitted meanwhile joins it
CONFIRM_SECONDS = 20.0
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
RUN, PUBSUB = "https://run.googleapis.com/v2", "https://pubsub.googleapis.com/v1"


def publisher() -> PublisherClient:
    from google.cloud.pubsub_v1 import PublisherClient

    return PublisherClient()


def cloud_tasks() -> CloudTasksClient:
    from google.cloud.tasks_v2 import CloudTasksClient

    return CloudTasksClient(transport="rest")


def window_after(now: float, seconds: int) -> int:
    """The beginning of the first full window that is at least LEAD_SECONDS ahead."""
    return -(-int(now + LEAD_SECONDS) // seconds) * seconds


class Announcer:
    """Lets the errors of Google's clients through."""

    def __init__(
        self,
        config: Config,
        publisher: Callable[[], PublisherClient],
        tasks: Callable[[], CloudTasksClient],
    ) -> None:
        self._config, self._publisher, self._tasks = config, publisher, tasks

    def publish(self, task: TaskId, request: dict[str, Any]) -> Any:
        """A future of the message's id; None for a task whose time is yet to come."""
        if "run_after" in request and _moment(request) > datetime.now(UTC):
            self._later(task, request)
            return None
        priority = self._config.priorities[request["priority"]]
        return self._publisher().publish(priority.topic, _data(task), **_attributes(task, request))

    def start(self, priority: str, now: float) -> None:
        """Has the priority's job run in the next window."""
        job = self._config.priorities[priority].job
        when = window_after(now, self._config.window_seconds)
        name = f"start-{job.rpartition('/')[2]}-{when}"
        self._create(name, f"{RUN}/{job}:run", {}, datetime.fromtimestamp(when, UTC))

    def _later(self, task: TaskId, request: dict[str, Any]) -> None:
        """Cloud Tasks publishes it when its time has come, and starts the job a window later."""
        priority, then = self._config.priorities[request["priority"]], _moment(request)
        message = {
            "data": base64.b64encode(_data(task)).decode(),
            "attributes": _attributes(task, request),
        }
        url = f"{PUBSUB}/{priority.topic}:publish"
        self._create(f"later-{task.batch.strip('-')}-{task.id}", url, {"messages": [message]}, then)
        self.start(request["priority"], then.timestamp())

    def _create(self, name: str, url: str, body: dict[str, Any], when: datetime) -> None:
        from google.api_core.exceptions import Conflict

        queue = self._config.start_queue
        task = {
            "name": f"{queue}/tasks/{name}",
            "schedule_time": when,
            "http_request": {
                "http_method": "POST",
                "url": url,
                "headers": {"Content-Type": "application/json"},
                "body": json.dumps(body).encode(),
                "oauth_token": {"service_account_email": self._config.starter, "scope": SCOPE},
            },
        }
        with contextlib.suppress(Conflict):
            self._tasks().create_task({"parent": queue, "task": task}, timeout=CONFIRM_SECONDS)


def _moment(request: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(request["run_after"])


def _data(task: TaskId) -> bytes:
    return json.dumps({"task_id": str(task)}).encode()


def _attributes(task: TaskId, request: dict[str, Any]) -> dict[str, str]:
    return {"task_id": str(task), "task_type": request["task_type"]}
