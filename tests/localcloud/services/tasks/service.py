"""Cloud Tasks: queues and HTTP tasks, dispatched within rate and concurrency, with back-off.

2xx alone is success. Retrying stops only when both limits of the queue are passed; an exhausted
task is deleted, there is no dead-letter queue. 429 and 503 slow the whole queue down. All on the
cloud's clock. Faults: tasks.duplicate, tasks.lost_answer.
"""

from __future__ import annotations

import base64
import functools
import heapq
import itertools
import json
import random
import re
from typing import Any

from ...core import fields
from ...core.api import Call, Json, Service, rpc
from ...core.clock import Timer, rfc3339
from ...core.errors import ApiError, not_implemented
from ...core.sending import act_as, send

DAY = 86400.0
TASK_LIFE = 31 * DAY
TASK_NAME_BLOCKED = DAY  # after completion or deletion; Google's pages say 1, 4 and 24 hours
QUEUE_NAME_BLOCKED = 3 * DAY
LARGEST = 100 * 1024  # bytes of a task: "The maximum task size is 100KB"
QUEUE = re.compile(r"projects/[^/]+/locations/[^/]+/queues/[A-Za-z0-9-]{1,100}")
TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,500}")
RATE = {"maxDispatchesPerSecond": 500.0, "maxConcurrentDispatches": 1000}
RETRY = {"maxAttempts": 100, "maxBackoff": "3600s", "maxDoublings": 16, "minBackoff": "0.100s"}
REPLACED = re.compile(
    r"host|content-length|user-agent|authorization|(x-google|x-appengine|x-cloudtasks)-.*", re.I
)
# Throttling by 429 and 503: the share of the rate that is left, halved at most once a second.
SHARE_MIN, SHARE_STEP = 1 / 16, 1.25
CODES = {  # HTTP status → google.rpc.Code of an attempt; the rest by its hundreds
    400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 499: 1, 501: 12, 503: 14, 504: 4,
}  # fmt: skip


class Retry:
    """A queue's retryConfig, in numbers."""

    def __init__(self, config: Json) -> None:
        self.attempts = int(config["maxAttempts"])
        self.low = fields.seconds(config["minBackoff"])
        self.high = fields.seconds(config["maxBackoff"])
        self.doublings = int(config["maxDoublings"])
        self.duration = fields.seconds(config.get("maxRetryDuration"))

    def delay(self, attempt: int) -> float:
        """Seconds from the failure of `attempt` (from 1) to the next one.

        Doubled `doublings` times, then linear, then capped: 10 s, 300 s, 3 doublings are
        10, 20, 40, 80, 160, 240, 300, 300 …
        """
        step = self.low * 2.0 ** min(attempt - 1, self.doublings)
        return min(step * max(1, attempt - self.doublings), self.high)

    def over(self, attempt: int, since_first: float) -> bool:
        """Whether no further attempt is made after `attempt` failed.

        Both limits must be passed; a duration of 0 leaves the attempts strict. With unlimited
        attempts (-1) a duration is taken as the only limit, which is inferred.
        """
        if self.attempts < 0:
            return bool(self.duration) and since_first >= self.duration
        return attempt >= self.attempts and since_first >= self.duration


class Task:
    __slots__ = (
        "created", "deadline", "dispatched", "due", "eta", "executions", "first", "id", "last",
        "previous", "reason", "request", "responses",
    )  # fmt: skip

    def __init__(self, id: str, request: Json, created: float, due: float, deadline: float) -> None:
        self.id, self.request, self.created, self.deadline = id, request, created, deadline
        self.due: float | None = due  # when it is to be dispatched; None while it runs
        self.eta = due
        self.dispatched = self.responses = 0
        self.executions = 0  # answers that were no 5xx
        self.first = 0.0  # time of the first attempt
        self.last: Json = {}
        self.previous = self.reason = ""  # status of the attempt before, and why it failed


class Queue:
    def __init__(self, name: str, spec: Json, now: float) -> None:
        self.name, self.spec = name, spec
        self.tasks: dict[str, Task] = {}  # oldest first
        self.heap: list[tuple[float, int, Task]] = []  # by due time; stale entries are skipped
        self.blocked: dict[str, float] = {}  # names of past tasks → until when, soonest first
        self.running = 0
        self.timer: Timer | None = None  # of the next dispatch
        self.reaper: Timer | None = None  # of the oldest task's end of life
        self.share, self.halved = 1.0, 0.0
        self.refilled = now
        self.configure()
        self.tokens = self.burst

    def configure(self) -> None:
        """Reads the numbers out of the specification, after each change."""
        limits = self.spec["rateLimits"]
        self.rate = float(limits["maxDispatchesPerSecond"])
        self.burst = float(limits["maxBurstSize"])
        self.most = int(limits["maxConcurrentDispatches"])
        self.retry = Retry(self.spec["retryConfig"])

    def wait(self, now: float) -> float:
        """Refills the token bucket; seconds until it holds a token."""
        rate = self.rate * self.share
        self.tokens = min(self.burst, self.tokens + (now - self.refilled) * rate)
        self.refilled = now
        return 0.0 if self.tokens >= 1 - 1e-6 else (1 - self.tokens) / rate

    def throttle(self, status: int | None, now: float) -> bool:
        """Takes note of an answer; whether it slowed the queue down."""
        if status in (429, 503):
            if now - self.halved < 1.0:
                return False
            self.wait(now)
            self.share, self.halved = max(self.share / 2, SHARE_MIN), now
            return True
        if status is not None and 200 <= status < 300 and self.share < 1:
            self.wait(now)
            self.share = min(self.share * SHARE_STEP, 1.0)
        return False


QUEUES = "cloudtasks.projects.locations.queues"


def _queue_of(call: Call) -> str:
    return str(call.params["name"]).rpartition("/tasks/")[0]


class Tasks(Service):
    documents = ("cloudtasks.v2",)
    policies = {QUEUES: "cloudtasks.queues"}

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.queues: dict[str, Queue] = {}
        self.deleted: dict[str, float] = {}  # names of past queues → until when they are blocked
        self._serial = itertools.count()

    def exists(self, resource: str) -> bool:
        return resource in self.queues

    def snapshot(self) -> list[str]:
        return list(self.queues)

    # Queues

    @rpc(f"{QUEUES}.create", "cloudtasks.queues.create", on="{parent}")
    def create_queue(self, call: Call) -> Json:
        name = call.body.get("name", "")
        if not QUEUE.fullmatch(name) or name.rpartition("/queues/")[0] != call.params["parent"]:
            raise ApiError(400, f'Invalid queue name "{name}" in parent "{call.params["parent"]}".')
        if name in self.queues:
            raise ApiError(409, "Queue already exists")
        now = self.cloud.clock.now()
        if self.deleted.get(name, 0.0) > now:
            raise ApiError(
                400,
                "The queue cannot be created because a queue with this name existed too recently.",
                "FAILED_PRECONDITION",
            )
        spec = _complete(call.body | {"state": "RUNNING"})
        self.queues[name] = Queue(name, spec, now)
        return spec

    @rpc(f"{QUEUES}.get", "cloudtasks.queues.get", on="{name}")
    def get_queue(self, call: Call) -> Json:
        return self._queue(call.params["name"]).spec

    @rpc(f"{QUEUES}.list", "cloudtasks.queues.list", on="{parent}")
    def list_queues(self, call: Call) -> Json:
        parent = call.params["parent"] + "/queues/"
        mine = ((n, q.spec) for n, q in self.queues.items() if n.startswith(parent))
        return fields.page("queues", mine, call.params, 9800)

    @rpc(f"{QUEUES}.patch", "cloudtasks.queues.update", on="{name}")
    def patch_queue(self, call: Call) -> Json:
        queue = self._queue(call.params["name"])
        everything = "rateLimits,retryConfig,stackdriverLoggingConfig"
        changed = json.loads(json.dumps(queue.spec))
        fields.update(changed, call.body, call.params.get("updateMask") or everything)
        changed |= {"name": queue.name, "state": queue.spec["state"]}
        queue.wait(self.cloud.clock.now())
        queue.spec = _complete(changed)
        queue.configure()
        self._pump(queue)
        return queue.spec

    @rpc(f"{QUEUES}.delete", "cloudtasks.queues.delete", on="{name}")
    def delete_queue(self, call: Call) -> Json:
        queue = self._queue(call.params["name"])
        del self.queues[queue.name]
        self._clear(queue)
        self._set_timer(queue, None)
        self.deleted[queue.name] = self.cloud.clock.now() + QUEUE_NAME_BLOCKED
        self.cloud.iam.forget(queue.name)
        return {}

    @rpc(f"{QUEUES}.pause", "cloudtasks.queues.pause", on="{name}")
    def pause_queue(self, call: Call) -> Json:
        return self._set_state(call, "PAUSED")

    @rpc(f"{QUEUES}.resume", "cloudtasks.queues.resume", on="{name}")
    def resume_queue(self, call: Call) -> Json:
        return self._set_state(call, "RUNNING")

    @rpc(f"{QUEUES}.purge", "cloudtasks.queues.purge", on="{name}")
    def purge_queue(self, call: Call) -> Json:
        queue = self._queue(call.params["name"])
        self._clear(queue)
        queue.spec["purgeTime"] = self.cloud.clock.timestamp()
        return queue.spec

    def _set_state(self, call: Call, state: str) -> Json:
        queue = self._queue(call.params["name"])
        queue.spec["state"] = state
        self._pump(queue)
        return queue.spec

    def _clear(self, queue: Queue) -> None:
        for task in list(queue.tasks.values()):
            self._remove(queue, task, "purged")
        queue.heap.clear()

    def _queue(self, name: str) -> Queue:
        if name not in self.queues:
            raise ApiError(
                404,
                "Queue does not exist. If you just created the queue, wait at least a minute for "
                "the queue to initialize.",
            )
        return self.queues[name]

    # Tasks

    @rpc(
        f"{QUEUES}.tasks.create",
        "cloudtasks.tasks.create",
        on="{parent}",
    )
    def create_task(self, call: Call) -> Json:
        queue = self._queue(call.params["parent"])
        body = call.body.get("task") or {}
        view = self._view(call, call.body, queue)
        if "appEngineHttpRequest" in body or "retryConfig" in body:
            raise not_implemented("App Engine tasks and retryConfig of one task")
        if not body.get("httpRequest"):
            raise ApiError(400, "Task.http_request is required.")
        if _size(body) > LARGEST:
            raise ApiError(400, f"Task size too large: the maximum is {LARGEST} bytes.")
        now = self.cloud.clock.now()
        id = self._new_id(queue, body.get("name", ""), now)
        request = self._request(queue, body["httpRequest"], call)
        deadline = fields.seconds(body.get("dispatchDeadline"), 600.0)
        if not 15 <= deadline <= 1800:
            raise ApiError(400, "Task.dispatchDeadline must be between [15s, 30m].")
        due = fields.timestamp(body["scheduleTime"]) if body.get("scheduleTime") else now
        if due > now + 30 * DAY:
            raise ApiError(400, "The schedule time is too far in the future (30 days at most).")
        task = Task(id, request, float(int(now)), max(due, now), deadline)
        queue.tasks[id] = task
        if queue.reaper is None:
            self._reap(queue)
        answer = _answer(queue, task, view)
        self._schedule(queue, task, task.eta)
        return answer

    @rpc(f"{QUEUES}.tasks.get", "cloudtasks.tasks.get", on=_queue_of)
    def get_task(self, call: Call) -> Json:
        queue, task = self._task(call)
        return _answer(queue, task, self._view(call, call.params, queue))

    @rpc(f"{QUEUES}.tasks.list", "cloudtasks.tasks.list", on="{parent}")
    def list_tasks(self, call: Call) -> Json:
        queue = self._queue(call.params["parent"])
        view = self._view(call, call.params, queue)
        answer = fields.page("tasks", queue.tasks.items(), call.params, 1000)
        if "tasks" in answer:
            answer["tasks"] = [_answer(queue, task, view) for task in answer["tasks"]]
        return answer

    @rpc(f"{QUEUES}.tasks.delete", "cloudtasks.tasks.delete", on=_queue_of)
    def delete_task(self, call: Call) -> Json:
        self._remove(*self._task(call), "deleted")
        return {}

    def _view(self, call: Call, source: Json, queue: Queue) -> str:
        view = source.get("responseView") or "BASIC"
        if view == "FULL":
            self.cloud.iam.require(call.principal, "cloudtasks.tasks.fullView", queue.name)
            return "FULL"
        return "BASIC"

    def _task(self, call: Call) -> tuple[Queue, Task]:
        queue, id = self._queue(_queue_of(call)), _short(call.params["name"])
        if id not in queue.tasks:
            if queue.blocked.get(id, 0.0) > self.cloud.clock.now():
                raise ApiError(
                    404,
                    "The task no longer exists, though a task with this name existed recently. "
                    "The task either successfully completed or was deleted.",
                )
            raise ApiError(404, "Requested entity was not found.")
        return queue, queue.tasks[id]

    def _new_id(self, queue: Queue, name: str, now: float) -> str:
        if not name:
            return str(random.randrange(10**18, 10**19))
        parent, _, id = name.rpartition("/tasks/")
        if parent != queue.name or not TASK_ID.fullmatch(id):
            raise ApiError(
                400, f'Task name must be in "{queue.name}/tasks/[A-Za-z0-9_-]+": "{name}"'
            )
        while queue.blocked and queue.blocked[past := next(iter(queue.blocked))] <= now:
            del queue.blocked[past]
        if id in queue.tasks:
            raise ApiError(409, "Requested entity already exists")
        if id in queue.blocked:
            raise ApiError(
                409,
                "The task cannot be created because a task with this name existed too recently.",
            )
        return id

    def _request(self, queue: Queue, request: Json, call: Call) -> Json:
        """The httpRequest as it will be sent; refuses what Google refuses."""
        url = request.get("url", "")
        if not re.match(r"https?://[^/]", url) or len(url) > 2083:
            raise ApiError(400, "HttpRequest.url must start with http:// or https:// and be valid.")
        verb = request.get("httpMethod") or "POST"
        verb = "POST" if verb == "HTTP_METHOD_UNSPECIFIED" else verb
        if request.get("body") and verb not in ("POST", "PUT", "PATCH"):
            raise ApiError(400, f"HTTP request body is not allowed for {verb}.")
        if "oauthToken" in request:
            raise not_implemented("httpRequest.oauthToken")
        if oidc := request.get("oidcToken"):
            act_as(self.cloud, call.principal, queue.name, oidc)
            request = request | {"oidcToken": {"audience": url} | oidc}
        headers = {k: v for k, v in request.get("headers", {}).items() if not REPLACED.fullmatch(k)}
        return request | {
            "headers": headers | {"User-Agent": "Google-Cloud-Tasks"},
            "httpMethod": verb,
        }

    def _remove(self, queue: Queue, task: Task, why: str) -> None:
        """A task ends: done, exhausted, deleted, purged or expired. Its name stays blocked."""
        del queue.tasks[task.id]
        task.due = None
        queue.blocked[task.id] = self.cloud.clock.now() + TASK_NAME_BLOCKED
        self.cloud.journal.write(
            "tasks.end", queue=_short(queue.name), task=task.id, why=why, attempts=task.dispatched
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

    # Dispatch

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
            if status is None:
                late = not lost and now - started >= task.deadline - 0.01
                reason = "DEADLINE_EXCEEDED" if late else "UNAVAILABLE"
                code = 4 if late else 14
            else:
                reason, code = f"HTTP {status}", CODES.get(status, 0 if status < 300 else 2)
            task.previous, task.reason = str(status or ""), reason
            task.last |= {"responseTime": rfc3339(now), "responseStatus": _status(code, reason)}
            self.cloud.journal.write(
                "tasks.attempt",
                queue=_short(queue.name),
                task=task.id,
                attempt=attempt,
                status=status,
                reason=reason,
                seconds=round(now - started, 4),
                url=task.request["url"],
            )
            if queue.throttle(status, now):
                self.cloud.journal.write(
                    "tasks.throttle", queue=_short(queue.name), share=queue.share
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
            "X-CloudTasks-QueueName": _short(queue.name),
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
            request.get("oidcToken"),
        )


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _status(code: int, reason: str) -> Json:
    return {"code": code, "message": reason} if code else {}


def _size(body: Json) -> int:
    """Bytes of a task: its body decoded, the rest as text."""
    request = body["httpRequest"]
    rest = request | {"body": ""}
    return len(json.dumps(body | {"httpRequest": rest})) + len(request.get("body", "")) * 3 // 4


def _complete(spec: Json) -> Json:
    """A queue's fields with Google's defaults; refuses what Google refuses."""
    for field in ("httpTarget", "appEngineRoutingOverride"):
        if spec.get(field):
            raise not_implemented(f"cloudtasks queue {field}")
    limits = RATE | (spec.get("rateLimits") or {})
    rate, most = float(limits["maxDispatchesPerSecond"]), int(limits["maxConcurrentDispatches"])
    if not 0 < rate <= 500:
        raise ApiError(400, "RateLimits.maxDispatchesPerSecond must be above 0, at most 500.")
    if not 0 < most <= 5000:
        raise ApiError(400, "RateLimits.maxConcurrentDispatches must be between 1 and 5000.")
    # Output only. Google adapts it; 10 to 100 is what its answers show.
    limits["maxBurstSize"] = max(10, int(rate / 5))
    retry = RETRY | (spec.get("retryConfig") or {})
    for name in ("minBackoff", "maxBackoff", "maxRetryDuration"):
        if name in retry:
            retry[name] = fields.duration(fields.seconds(retry[name]))
    parsed = Retry(retry)
    if not (parsed.attempts == -1 or parsed.attempts > 0) or parsed.doublings < 0:
        raise ApiError(400, "RetryConfig.maxAttempts must be -1 or positive, maxDoublings 0 or up.")
    if not 0 <= parsed.low <= parsed.high or parsed.duration < 0:
        raise ApiError(400, "RetryConfig.minBackoff must not exceed maxBackoff.")
    kept = {k: v for k, v in spec.items() if v not in (None, "")}
    return kept | {"rateLimits": limits, "retryConfig": retry}


def _answer(queue: Queue, task: Task, view: str) -> Json:
    request = dict(task.request)
    if view == "BASIC":
        request.pop("body", None)
    answer: Json = {
        "name": f"{queue.name}/tasks/{task.id}",
        "httpRequest": request,
        "scheduleTime": rfc3339(task.eta),
        "createTime": rfc3339(task.created),
        "dispatchDeadline": fields.duration(task.deadline),
        "dispatchCount": task.dispatched,
        "responseCount": task.responses,
        "view": view,
    }
    if task.first:
        answer |= {"firstAttempt": {"dispatchTime": rfc3339(task.first)}, "lastAttempt": task.last}
    return answer
