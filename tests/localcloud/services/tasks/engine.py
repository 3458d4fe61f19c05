"""The engine of Cloud Tasks: what is due is dispatched within rate and concurrency, with back-off.

2xx alone is success. Retrying stops only when both limits of the queue are passed; an exhausted
task is deleted, there is no dead-letter queue. 429 and 503 slow the whole queue down. All on the
cloud's clock. Faults: tasks.duplicate, tasks.lost_answer.
"""

from __future__ import annotations

import base64
import functools
import heapq
import itertools
from typing import Any

from ...core.api import Service
from ...core.clock import rfc3339
from ...core.sending import rpc_status, send
from .queues import Queue, Task, short

DAY = 86400.0
TASK_LIFE = 31 * DAY
TASK_NAME_BLOCKED = DAY  # after completion or deletion; Google's pages say 1, 4 and 24 hours


class Engine(Service):
    """The part of Cloud Tasks that works on its own."""

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self._serial = itertools.count()

    def _clear(self, queue: Queue) -> None:
        for task in list(queue.tasks.values()):
            self._remove(queue, task, "purged")
        queue.heap.clear()

    def _remove(self, queue: Queue, task: Task, why: str) -> None:
        """A task ends: done, exhausted, deleted, purged or expired. Its name stays blocked."""
        del queue.tasks[task.id]
        task.due = None
        queue.blocked[task.id] = self.cloud.clock.now() + TASK_NAME_BLOCKED
        self.cloud.journal.write(
            "tasks.end", queue=short(queue.name), task=task.id, why=why, attempts=task.dispatched
        )

    def _reap(self, queue: Queue) -> None:
        """Deletes the tasks that are past their life, and waits for the next one."""
        queue.reaper = None
        while queue.tasks:
            task = next(iter(queue.tasks.values()))
            end = task.created + TASK_LIFE
            if end > self.cloud.clock.now():
                again = functools.partial(self._reap, queue)
                queue.reaper = self.cloud.clock.call_at(end, again)
                return
            self._remove(queue, task, "expired")

    def _schedule(self, queue: Queue, task: Task, when: float) -> None:
        task.due = task.eta = when
        heapq.heappush(queue.heap, (when, next(self._serial), task))
        self._pump(queue)

    def _set_timer(self, queue: Queue, when: float | None) -> None:
        if queue.timer and (queue.timer.cancelled or queue.timer.when != when):
            queue.timer.cancel()
            queue.timer = None
        if when is not None and queue.timer is None:
            queue.timer = self.cloud.clock.call_at(when, functools.partial(self._due, queue))

    def _due(self, queue: Queue) -> None:
        queue.timer = None
        self._pump(queue)

    def _pump(self, queue: Queue) -> None:
        """Dispatches what is due, as far as rate and concurrency allow."""
        now, again = self.cloud.clock.now(), None
        while queue.heap and queue.running < queue.most and queue.spec["state"] == "RUNNING":
            when, _, task = queue.heap[0]
            if task.due != when:
                heapq.heappop(queue.heap)
                continue
            again = max(when, now + queue.wait(now))
            if again > now:
                break
            again = None
            heapq.heappop(queue.heap)
            queue.tokens -= 1
            self._start(queue, task)
            if self.cloud.faults.chance("tasks.duplicate"):
                queue.running += 1
                self.cloud.house.spawn(self._attempt(queue, task, task.dispatched))
        self._set_timer(queue, again)

    def _start(self, queue: Queue, task: Task) -> None:
        now = self.cloud.clock.now()
        task.due = None
        task.dispatched += 1
        task.first = task.first or now
        task.last = {"scheduleTime": rfc3339(task.eta), "dispatchTime": rfc3339(now)}
        queue.running += 1
        self.cloud.house.spawn(self._attempt(queue, task, task.dispatched))

    async def _attempt(self, queue: Queue, task: Task, attempt: int) -> None:
        with self.cloud.clock.busy():
            started = self.cloud.clock.now()
            status = await self._send(queue, task, attempt)
            now = self.cloud.clock.now()
            lost = status is not None and self.cloud.faults.chance("tasks.lost_answer")
            if lost:
                status = None
            queue.running -= 1
            if status is not None:
                task.responses += 1
                task.executions += status < 500
            late = not lost and now - started >= task.deadline - 0.01
            outcome = rpc_status(status, late)
            reason = outcome.get("message", f"HTTP {status}")
            task.previous, task.reason = str(status or ""), reason
            task.last |= {"responseTime": rfc3339(now), "responseStatus": outcome}
            self.cloud.journal.write(
                "tasks.attempt",
                queue=short(queue.name),
                task=task.id,
                attempt=attempt,
                status=status,
                reason=reason,
                seconds=round(now - started, 4),
                url=task.request["url"],
            )
            if queue.throttle(status, now):
                self.cloud.journal.write(
                    "tasks.throttle", queue=short(queue.name), share=queue.share
                )
            if queue.tasks.get(task.id) is task:
                self._settle(queue, task, status is not None and 200 <= status < 300, now)
            self._pump(queue)

    def _settle(self, queue: Queue, task: Task, succeeded: bool, now: float) -> None:
        """What becomes of a task after an attempt."""
        if succeeded:
            self._remove(queue, task, "done")
        elif queue.retry.over(task.dispatched, now - task.first):
            self._remove(queue, task, "exhausted")
        else:
            self._schedule(queue, task, now + queue.retry.delay(task.dispatched))

    async def _send(self, queue: Queue, task: Task, attempt: int) -> int | None:
        """One request to the worker: its status, None when no answer came within the deadline."""
        request = task.request
        headers = dict(request["headers"])
        headers |= {
            "X-CloudTasks-QueueName": short(queue.name),
            "X-CloudTasks-TaskName": task.id,
            "X-CloudTasks-TaskRetryCount": str(attempt - 1),
            "X-CloudTasks-TaskExecutionCount": str(task.executions),
            "X-CloudTasks-TaskETA": f"{task.eta:.6f}",
        }
        if task.previous:
            headers["X-CloudTasks-TaskPreviousResponse"] = task.previous
        if attempt > 1:
            headers["X-CloudTasks-TaskRetryReason"] = task.reason
        return await send(
            self.cloud,
            "tasks",
            request["url"],
            request["httpMethod"],
            headers,
            base64.b64decode(request.get("body", "")),
            task.deadline,
            request,
        )
