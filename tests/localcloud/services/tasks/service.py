"""The API of Cloud Tasks: queues and HTTP tasks. What works them off is in engine.py."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from ...core import fields
from ...core.api import Call, Json, rpc
from ...core.clock import rfc3339
from ...core.errors import ApiError, not_implemented
from ...core.sending import with_token
from .engine import DAY, Engine
from .queues import Queue, Task, retry_of, short

QUEUE_NAME_BLOCKED = 3 * DAY
LARGEST = 100 * 1024  # bytes of a task: "The maximum task size is 100KB"
QUEUE = re.compile(r"projects/[^/]+/locations/[^/]+/queues/[A-Za-z0-9-]{1,100}")
TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,500}")
RATE = {"maxDispatchesPerSecond": 500.0, "maxConcurrentDispatches": 1000}
RETRY = {"maxAttempts": 100, "maxBackoff": "3600s", "maxDoublings": 16, "minBackoff": "0.100s"}
REPLACED = re.compile(
    r"host|content-length|user-agent|authorization|(x-google|x-appengine|x-cloudtasks)-.*", re.I
)
QUEUES = "cloudtasks.projects.locations.queues"


def _queue_of(call: Call) -> str:
    return str(call.params["name"]).rpartition("/tasks/")[0]


class Tasks(Engine):
    documents = ("cloudtasks.v2",)
    policies = {QUEUES: "cloudtasks.queues"}

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.queues: dict[str, Queue] = {}
        self.deleted: dict[str, float] = {}  # names of past queues → until when they are blocked

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
        queue, id = self._queue(_queue_of(call)), short(call.params["name"])
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
        request = request | with_token(self.cloud, call.principal, queue.name, url, request)
        headers = {k: v for k, v in request.get("headers", {}).items() if not REPLACED.fullmatch(k)}
        return request | {
            "headers": headers | {"User-Agent": "Google-Cloud-Tasks"},
            "httpMethod": verb,
        }


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
    parsed = retry_of(retry)
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
