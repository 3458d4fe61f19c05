"""Cloud Scheduler: cron jobs that call an HTTP target or publish a message, on the cloud's clock.

2xx alone is success. Two executions of a job never overlap: one that is due meanwhile starts when
the one before has ended, its retries included.
"""

from __future__ import annotations

import base64
import functools
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...core import fields
from ...core.api import Call, Json, Service, rpc
from ...core.clock import Timer, rfc3339
from ...core.errors import ApiError, invalid, not_implemented
from ...core.retry import Retry
from ...core.sending import rpc_status, send, with_token
from . import cron

if TYPE_CHECKING:
    from ...core.server import Cloud

JOBS = "cloudscheduler.projects.locations.jobs"
NAME = re.compile(r"projects/[^/]+/locations/[^/]+/jobs/[A-Za-z0-9_-]{1,500}")
RETRY = {
    "maxRetryDuration": "0s",
    "minBackoffDuration": "5s",
    "maxBackoffDuration": "3600s",
    "maxDoublings": 5,
}
REPLACED = re.compile(r"host|content-length|user-agent|(x-google|x-appengine|x-cloudscheduler).*",
                      re.I)  # fmt: skip
OUTPUT = {"state", "status", "scheduleTime", "lastAttemptTime", "userUpdateTime", "satisfiesPzs"}


@dataclass(eq=False)
class Job:
    """A job, and where it stands.

    Attributes:
        spec: the resource as the API shows it.
        due: what its schedule says next, in seconds since the epoch; None while it is paused.
        running: executions under way; `run` may add to the schedule's own.
        alive: False once it is deleted.
    """

    spec: Json
    due: float | None = None
    timer: Timer | None = None
    running: int = 0
    alive: bool = True
    retry: Retry = field(default=Retry(1, 5, 3600, 5, 0))

    @property
    def name(self) -> str:
        return str(self.spec["name"])


class Scheduler(Service):
    documents = ("cloudscheduler.v1",)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.jobs: dict[str, Job] = {}
        # Google gives it to the service's own agent; not in the published table of roles.
        accounts = {f"iam.serviceAccounts.get{kind}Token" for kind in ("Access", "OpenId")}
        held = frozenset(accounts | {"pubsub.topics.publish"})
        cloud.iam.custom["roles/cloudscheduler.serviceAgent"] = held

    def snapshot(self) -> list[str]:
        return list(self.jobs)

    # The API

    @rpc(f"{JOBS}.create", "cloudscheduler.jobs.create", on="{parent}")
    def create(self, call: Call) -> Json:
        parent = call.params["parent"]
        name = call.body.get("name") or f"{parent}/jobs/{secrets.randbelow(10**19)}"
        if not NAME.fullmatch(name) or name.rpartition("/jobs/")[0] != parent:
            raise invalid(f'Job name must be formatted: "{parent}/jobs/<JOB_ID>": {name!r}', "name")
        if name in self.jobs:
            raise ApiError(409, f"Job {name} already exists.")
        job = Job(self._checked(call, name, call.body) | {"state": "ENABLED"})
        job.retry = _retry(job.spec)
        self.jobs[name] = job
        self._arm(job)
        return job.spec

    @rpc(f"{JOBS}.patch", "cloudscheduler.jobs.update", on="{name}")
    def patch(self, call: Call) -> Json:
        job = self._job(call)
        wanted = {k: v for k, v in job.spec.items() if k in OUTPUT} | call.body
        if mask := call.params.get("updateMask"):
            wanted = dict(job.spec)
            fields.update(wanted, call.body, mask)
        kept = {k: v for k, v in job.spec.items() if k in OUTPUT}
        job.spec = self._checked(call, job.name, wanted) | kept
        job.spec["userUpdateTime"] = self.cloud.clock.timestamp()
        job.retry = _retry(job.spec)
        self._arm(job)
        return job.spec

    @rpc(f"{JOBS}.get", "cloudscheduler.jobs.get", on="{name}")
    def get(self, call: Call) -> Json:
        return self._job(call).spec

    @rpc(f"{JOBS}.list", "cloudscheduler.jobs.list", on="{parent}")
    def list_jobs(self, call: Call) -> Json:
        prefix = call.params["parent"] + "/jobs/"
        mine = ((n, j.spec) for n, j in self.jobs.items() if n.startswith(prefix))
        return fields.page("jobs", mine, call.params, 500)

    @rpc(f"{JOBS}.delete", "cloudscheduler.jobs.delete", on="{name}")
    def delete(self, call: Call) -> Json:
        job = self.jobs.pop(self._job(call).name)
        job.alive = False
        self._set_timer(job, None)
        return {}

    @rpc(f"{JOBS}.pause", "cloudscheduler.jobs.pause", on="{name}")
    def pause(self, call: Call) -> Json:
        return self._set_state(call, "PAUSED")

    @rpc(f"{JOBS}.resume", "cloudscheduler.jobs.enable", on="{name}")
    def resume(self, call: Call) -> Json:
        return self._set_state(call, "ENABLED")

    @rpc(f"{JOBS}.run", "cloudscheduler.jobs.run", on="{name}")
    def run(self, call: Call) -> Json:
        """Now, and beside its schedule; a paused job, too."""
        job = self._job(call)
        self.cloud.house.spawn(self._execute(job, self.cloud.clock.now()))
        return job.spec

    def _set_state(self, call: Call, state: str) -> Json:
        job = self._job(call)
        if job.spec["state"] != state:
            job.spec["state"] = state
            self._arm(job)
        return job.spec

    def _job(self, call: Call) -> Job:
        if call.params["name"] not in self.jobs:
            raise ApiError(404, "Job not found.")
        return self.jobs[call.params["name"]]

    def _checked(self, call: Call, name: str, body: Json) -> Json:
        """A job's fields with Google's defaults; refuses what Google refuses."""
        spec = {k: v for k, v in body.items() if k not in OUTPUT and v not in (None, "", {})}
        if "appEngineHttpTarget" in spec:
            raise not_implemented("App Engine targets of Cloud Scheduler")
        if ("httpTarget" in spec) == ("pubsubTarget" in spec):
            raise invalid("A job has one target: httpTarget or pubsubTarget.", "httpTarget")
        cron.check(spec.get("schedule", ""))
        spec.setdefault("timeZone", "UTC")
        cron.zone(spec["timeZone"])
        if len(spec.get("description", "")) > 500:
            raise invalid("Job description must not exceed 500 characters.", "description")
        if target := spec.get("httpTarget"):
            spec["httpTarget"] = self._http(call, name, target)
            deadline = fields.seconds(spec.setdefault("attemptDeadline", "180s"))
            if not 15 <= deadline <= 1800:
                raise invalid("attemptDeadline must be between [15s, 30m].", "attemptDeadline")
        else:
            spec.pop("attemptDeadline", None)
            self._check_topic(name, spec["pubsubTarget"])
        if "retryConfig" in spec:  # the API shows its defaults beside what was given alone
            spec["retryConfig"] = RETRY | spec["retryConfig"]
        config = spec.get("retryConfig", {})
        for key in ("maxRetryDuration", "minBackoffDuration", "maxBackoffDuration"):
            if key in config:
                config[key] = fields.duration(fields.seconds(config[key]))
        if not 0 <= int(config.get("retryCount", 0)) <= 5:
            raise invalid("retryConfig.retryCount must be between 0 and 5.", "retryConfig")
        now = self.cloud.clock.timestamp()
        return spec | {"name": name, "userUpdateTime": now}

    def _http(self, call: Call, name: str, target: Json) -> Json:
        uri, verb = target.get("uri", ""), target.get("httpMethod") or "POST"
        if not re.match(r"https?://[^/]", uri) or len(uri) > 2083:
            raise invalid("httpTarget.uri must begin with http:// or https://.", "httpTarget.uri")
        if target.get("body") and verb not in ("POST", "PUT", "PATCH"):
            raise invalid(f"A body is not allowed for {verb}.", "httpTarget.body")
        headers = {k: v for k, v in target.get("headers", {}).items() if not REPLACED.fullmatch(k)}
        if target.get("body") and "content-type" not in {k.lower() for k in headers}:
            headers["Content-Type"] = "application/octet-stream"
        headers["User-Agent"] = "Google-Cloud-Scheduler"
        token = with_token(self.cloud, call.principal, name, uri, target)
        return target | {"httpMethod": verb, "headers": headers} | token

    def _check_topic(self, name: str, target: Json) -> None:
        topic = target.get("topicName", "")
        if topic.split("/")[:2] != name.split("/")[:2] or not self.cloud.pubsub.exists(topic):
            raise ApiError(404, f"Topic {topic!r} does not exist in the project of the job.")
        if not target.get("data") and not target.get("attributes"):
            raise invalid("pubsubTarget needs data or attributes.", "pubsubTarget")

    # Its work

    def _arm(self, job: Job, after: float | None = None) -> None:
        """Sets the timer for what the schedule says next, after now or `after`."""
        now = self.cloud.clock.now()
        job.due = None
        if job.spec["state"] == "ENABLED":
            tz = cron.zone(job.spec["timeZone"])
            job.due = cron.next_time(job.spec["schedule"], tz, now if after is None else after)
        job.spec.pop("scheduleTime", None)
        if job.due is not None:
            job.spec["scheduleTime"] = rfc3339(job.due)
        self._set_timer(job, job.due)

    def _set_timer(self, job: Job, when: float | None) -> None:
        if job.timer:
            job.timer.cancel()
        start = functools.partial(self._start, job)
        job.timer = None if when is None else self.cloud.clock.call_at(when, start)

    def _start(self, job: Job) -> None:
        """The schedule's time has come; a job that still runs is started at its end."""
        job.timer = None
        if not job.running and job.due is not None:
            self.cloud.house.spawn(self._execute(job, job.due))

    async def _execute(self, job: Job, scheduled: float) -> None:
        """One execution: attempts until one succeeds or the retry limits are passed."""
        job.running += 1
        began, attempt = self.cloud.clock.now(), 0
        while job.alive:
            attempt += 1
            succeeded = await self._attempt(job, scheduled, attempt)
            now = self.cloud.clock.now()
            if succeeded or job.retry == NEVER or job.retry.over(attempt, now - began):
                break
            delay = job.retry.delay(attempt)
            if job.spec["state"] == "ENABLED":
                job.spec["scheduleTime"] = rfc3339(now + delay)
            await self.cloud.clock.sleep(delay)
        job.running -= 1
        if not job.alive or job.running or job.due is None or job.due > self.cloud.clock.now():
            return
        if job.due != scheduled:  # it came due while this one ran
            self._start(job)
        else:
            # One that comes due meanwhile starts late; of several, only one does.
            self._arm(job, after=job.due if began < job.due + 1 else None)

    async def _attempt(self, job: Job, scheduled: float, attempt: int) -> bool:
        with self.cloud.clock.busy():
            started = self.cloud.clock.now()
            job.spec["lastAttemptTime"] = rfc3339(started)
            if target := job.spec.get("pubsubTarget"):
                status: int | None = self._publish(target)
            else:
                status = await self._send(job, scheduled)
            seconds = self.cloud.clock.now() - started
            late = seconds >= fields.seconds(job.spec.get("attemptDeadline"), 180.0) - 0.01
            job.spec["status"] = rpc_status(status, late)
            self.cloud.journal.write(
                "scheduler.attempt",
                job=job.name.rpartition("/")[2],
                attempt=attempt,
                scheduled=rfc3339(scheduled),
                status=status,
                seconds=round(seconds, 4),
            )
            return status is not None and 200 <= status < 300

    def _publish(self, target: Json) -> int:
        data = base64.b64decode(target.get("data", ""))
        try:
            self.cloud.pubsub.publish(target["topicName"], data, target.get("attributes", {}))
        except ApiError as error:
            return error.code
        return 200

    async def _send(self, job: Job, scheduled: float) -> int | None:
        target = job.spec["httpTarget"]
        headers = target["headers"] | {
            "X-CloudScheduler": "true",
            "X-CloudScheduler-JobName": job.name.rpartition("/")[2],
            "X-CloudScheduler-ScheduleTime": rfc3339(scheduled),
        }
        return await send(
            self.cloud,
            "scheduler",
            target["uri"],
            target["httpMethod"],
            headers,
            base64.b64decode(target.get("body", "")),
            fields.seconds(job.spec["attemptDeadline"]),
            target,
        )


NEVER = Retry(1, 0, 0, 0, 0)


def _retry(spec: Json) -> Retry:
    """A retryConfig in numbers; NEVER without any limit, which means no retry."""
    config: dict[str, Any] = RETRY | spec.get("retryConfig", {})
    count = int(config.get("retryCount", 0))
    duration = fields.seconds(config["maxRetryDuration"])
    if not count and not duration:
        return NEVER
    return Retry(
        1 + count,
        fields.seconds(config["minBackoffDuration"]),
        fields.seconds(config["maxBackoffDuration"]),
        int(config["maxDoublings"]),
        duration,
    )
