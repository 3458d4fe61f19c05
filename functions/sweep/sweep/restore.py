"""Gives work its task back: never a second one while one is alive, and under another name where
its own is blocked.

Cloud Tasks answers ALREADY_EXISTS for a task that waits, and for up to a day for one that is gone:
done, deleted by hand, purged with its queue, given up. Only GetTask tells them apart. The task that
takes the place of one that is gone is named after the work and the day (UTC), so that whoever
restores the same work on that day makes the same task.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from google.api_core.exceptions import NotFound

from bridge.delays import place
from bridge.enqueue import TIMEOUT_SECONDS, enqueue
from bridge.notification import Notification
from bridge.settings import Config, Lane
from contract.identity import Work
from sweep.rest import WithStatus

TASK_DAYS = 31  # what Cloud Tasks lets a task live at most
PAGE = 1000
LISTED = 20_000  # tasks of a queue; beyond that each is asked for, on each day that it may be of
LATE = timedelta(hours=1)
Life = Literal["alive", "late", "wrong_target", "gone"]
Outcome = tuple[str, Exception | None]

# What became of work, beside the bridge's own reasons. `created`, `delayed` and `restored` are new
# tasks.
REASONS = {
    "restored": "its task was gone without a record; it has a new one",
    "alive": "its task is in the queue",
    "late": "its task was due more than an hour ago, and its queue does not dispatch it",
    "recorded": "it was recorded in the meantime",
    "wrong_target": "its task is in the queue, but for an address that the lane no longer has",
    "blocked": "its task and the one in its place are gone, and both names blocked: tomorrow",
}


class Restorer:
    """client: CloudTasksClient over REST or gRPC. recorded: whether the work has a record.
    now: Google's time. replace: whether a task for a wrong address is deleted and made anew."""

    def __init__(
        self,
        client: Any,
        config: Config,
        recorded: Callable[[Work], bool],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        replace: bool = False,
    ) -> None:
        self._client, self._config, self._recorded = client, config, recorded
        self._creator = WithStatus(client)
        self._now, self._replace = now, replace
        queues = {queue for lane in config.lanes.values() for queue in lane.queues}
        self._waiting = {queue: self._names(queue) for queue in queues}

    def enqueue(self, notification: Notification, lane_name: str) -> Outcome:
        """A reason of REASONS or of the bridge's, and the error behind it where there was one."""
        work, lane = notification.work, self._config.lanes[lane_name]
        queue = place(lane, notification.resource).queue
        for day in self._days(notification):
            if (life := self._life(lane, queue, replacement(work, day), listed=True)) != "gone":
                return life, None
        reason, error = enqueue(self._creator, self._config, notification, lane_name)
        if reason != "already_exists":
            return reason, error
        if (life := self._life(lane, queue, work.task_id)) != "gone":
            return life, None
        if self._recorded(work):  # it ended while we looked
            return "recorded", None
        task_id = replacement(work, self._now())
        reason, error = enqueue(self._creator, self._config, notification, lane_name, task_id)
        if reason != "already_exists":
            return "restored" if reason in ("created", "delayed") else reason, error
        life = self._life(lane, queue, task_id)
        return "blocked" if life == "gone" else life, None

    def _days(self, notification: Notification) -> list[datetime]:
        """On which a task in place of the first one may have been made that is still there."""
        now = self._now()
        try:
            created = datetime.fromisoformat(str(notification.resource.get("timeCreated")))
        except ValueError:
            created = now - timedelta(days=TASK_DAYS)
        age = max(0, min(TASK_DAYS, (now.date() - created.astimezone(UTC).date()).days))
        return [now - timedelta(days=days) for days in range(age + 1)]

    def _life(self, lane: Lane, queue: str, task_id: str, listed: bool = False) -> Life:
        """listed: a task that the whole queue's listing did not have is gone."""
        name, waiting = f"{queue}/tasks/{task_id}", self._waiting[queue]
        if listed and waiting is not None and name not in waiting:
            return "gone"
        try:
            task = self._client.get_task(request={"name": name}, timeout=TIMEOUT_SECONDS)
        except NotFound:
            return "gone"
        if task.http_request.url == lane.url:
            # Elsewhere an alert rings for a queue that stands: here tasks may stand until then.
            overdue = queue == lane.later and self._now() - task.schedule_time > LATE
            return "late" if overdue else "alive"
        if not self._replace:
            return "wrong_target"
        with contextlib.suppress(NotFound):
            self._client.delete_task(request={"name": name}, timeout=TIMEOUT_SECONDS)
        return "gone"

    def _names(self, queue: str) -> frozenset[str] | None:
        """Of all tasks of a queue; None where there are more than that is worth."""
        request = {"parent": queue, "page_size": PAGE}
        pager = self._client.list_tasks(request=request, timeout=TIMEOUT_SECONDS)
        names, more = set[str](), True
        for page in pager.pages:
            names.update(task.name for task in page.tasks)
            more = bool(page.next_page_token)
            if len(names) >= LISTED:
                break
        return None if more else frozenset(names)


def replacement(work: Work, day: datetime) -> str:
    """The id of the task in place of one that is gone."""
    text = f"{work.bucket}/{work.name}#{work.generation}/{work.run} {day.astimezone(UTC):%Y-%m-%d}"
    return hashlib.sha256(text.encode()).hexdigest()
