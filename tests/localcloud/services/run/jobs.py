"""Cloud Run jobs: a container that is run on request and ends (API v2)."""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...core import fields
from ...core.api import Call, Json, Service, rpc
from ...core.errors import ApiError, invalid, not_found, not_implemented
from .executions import Execution, Runner, condition, kill_all, memory, pid_of, running, suffix

if TYPE_CHECKING:
    from ...core.server import Cloud

JOBS = "run.projects.locations.jobs"
EXECUTIONS = f"{JOBS}.executions"
KIND = "type.googleapis.com/google.cloud.run.v2."
MOST = 1000  # executions that run at a time in a region, and that are kept of a job
CPUS = ("1", "2", "4", "6", "8", "1000m", "2000m", "4000m", "6000m", "8000m")
# What would change how a task runs and is not served: refused, not ignored.
UNSERVED = {
    "job": "binaryAuthorization runExecutionToken startExecutionToken functionalType",
    "template": "delayExecution",
    "task": "encryptionKey nodeSelector sandboxes volumes vpcAccess workloadIdentityConfig",
    "container": "baseImageUri buildConfig dependsOn livenessProbe ports readinessProbe "
    "sandboxLauncher sourceCode startupProbe volumeMounts workingDir",
}
OUTPUT = ("name", "uid", "createTime", "creator", "executionCount", "latestCreatedExecution")


def _job_of(call: Call) -> str:
    """The job that an execution or task belongs to: where permission is asked for."""
    name: str = call.params.get("name") or call.params["parent"]
    return name.partition("/executions")[0]


def _project(call: Call) -> str:
    return "/".join(call.params["name"].split("/")[:2])


class Jobs(Service):
    documents = ("run.v2",)
    hosts = (r"[a-z0-9-]+-run\.googleapis\.com",)
    policies = {JOBS: "run.jobs"}

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.jobs: dict[str, Json] = {}
        self.executions: dict[str, Execution] = {}  # oldest first
        self._operations: dict[str, tuple[Json, Callable[[], Json | None]]] = {}
        self._runner = Runner(self)

    def exists(self, resource: str) -> bool:
        return resource in self.jobs

    def snapshot(self) -> list[str]:
        return list(self.jobs)

    # Jobs

    @rpc(f"{JOBS}.create", "run.jobs.create", on="{parent}")
    def create(self, call: Call) -> Json:
        identifier = call.params.get("jobId", "")
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", identifier):
            raise invalid(f"Violation in CreateJobRequest.job_id: {identifier!r}", "jobId")
        name = f"{call.params['parent']}/jobs/{identifier}"
        if name in self.jobs:
            raise ApiError(409, f"Resource '{identifier}' already exists.")
        job = self._checked(call, name, call.body)
        now = self.cloud.clock.timestamp()
        job |= {"uid": str(uuid.uuid4()), "createTime": now, "creator": call.principal.email}
        self.jobs[name] = job | {"generation": "1", "observedGeneration": "1"}
        return self._done(name, "Job", self.jobs[name])

    @rpc(f"{JOBS}.patch", "run.jobs.update", on="{name}")
    def patch(self, call: Call) -> Json:
        name = call.params["name"]
        old = self._job(name)
        kept = {key: old[key] for key in OUTPUT if key in old}
        number = str(int(old["generation"]) + 1)
        job = self._checked(call, name, call.body) | kept
        self.jobs[name] = job | {"generation": number, "observedGeneration": number}
        return self._done(name, "Job", self.jobs[name])

    @rpc(f"{JOBS}.get", "run.jobs.get", on="{name}")
    def get(self, call: Call) -> Json:
        return self._job(call.params["name"])

    @rpc(f"{JOBS}.list", "run.jobs.list", on="{parent}")
    def list_jobs(self, call: Call) -> Json:
        prefix = call.params["parent"] + "/jobs/"
        mine = ((n, j) for n, j in self.jobs.items() if n.startswith(prefix))
        return fields.page("jobs", mine, call.params, 100)

    @rpc(f"{JOBS}.delete", "run.jobs.delete", on="{name}")
    def delete(self, call: Call) -> Json:
        name = call.params["name"]
        job = self._job(name)
        for execution in self._of(name):
            self._cancel(execution)
            del self.executions[execution.name]
        del self.jobs[name]
        self.cloud.iam.forget(name)
        return self._done(name, "Job", job)

    @rpc(f"{JOBS}.run", "run.jobs.run", on="{name}")
    def run(self, call: Call) -> Json:
        job = self._job(call.params["name"])
        overrides = call.body.get("overrides") or {}
        if overrides:
            self.cloud.iam.require(call.principal, "run.jobs.runWithOverrides", job["name"])
        place = job["name"].partition("/jobs/")[0]
        live = [e for e in self.executions.values() if not e.ended.is_set()]
        if sum(e.name.startswith(place + "/") for e in live) >= MOST:
            raise ApiError(429, f"Quota exceeded: {MOST} running executions of jobs in a region.")
        execution = self._execution(job, _overridden(job["template"], overrides))
        self.cloud.run.spawn(self._work(job, execution))
        return self._operation(execution)

    async def _work(self, job: Json, execution: Execution) -> None:
        await self._runner.perform(execution)
        state = "CANCELLED" if execution.cancelled else "SUCCEEDED"
        state = "FAILED" if execution.spec.get("failedCount") else state
        latest = job.get("latestCreatedExecution", {})
        if latest.get("name") == execution.short:
            latest |= {"completionStatus": f"EXECUTION_{state}"}
            latest["completionTime"] = execution.spec["completionTime"]

    def _execution(self, job: Json, template: Json) -> Execution:
        image = self.cloud.artifacts.pull(template["template"]["containers"][0]["image"])
        short, now = f"{job['name'].rpartition('/')[2]}-{suffix()}", self.cloud.clock.timestamp()
        spec = {
            "name": f"{job['name']}/executions/{short}",
            "uid": str(uuid.uuid4()),
            "job": job["name"].rpartition("/")[2],
            "createTime": now,
            "generation": "1",
            "reconciling": True,
            "parallelism": template.get("parallelism", 0),
            "taskCount": template["taskCount"],
            "template": template["template"],
            "conditions": [condition("RECONCILING", now)],
        }
        execution = self.executions[spec["name"]] = Execution(spec, image)
        past = [e for e in self._of(job["name"]) if e.ended.is_set()]
        for old in past[: max(0, len(past) - MOST)]:
            del self.executions[old.name]
        job["executionCount"] = job.get("executionCount", 0) + 1
        reference = {"name": short, "createTime": now, "completionStatus": "EXECUTION_RUNNING"}
        job["latestCreatedExecution"] = reference
        return execution

    # Executions and tasks

    @rpc(f"{EXECUTIONS}.get", "run.executions.get", on=_job_of)
    def get_execution(self, call: Call) -> Json:
        return self._named(call.params["name"]).spec

    @rpc(f"{EXECUTIONS}.list", "run.executions.list", on=_job_of)
    def list_executions(self, call: Call) -> Json:
        newest = [execution.spec for execution in reversed(self._of(call.params["parent"]))]
        return {"executions": newest} if newest else {}

    @rpc(f"{EXECUTIONS}.cancel", "run.executions.cancel", on=_job_of)
    def cancel_execution(self, call: Call) -> Json:
        execution = self._named(call.params["name"])
        self._cancel(execution)
        return self._operation(execution)

    @rpc(f"{EXECUTIONS}.tasks.list", "run.tasks.list", on=_job_of)
    def list_tasks(self, call: Call) -> Json:
        found = [task.spec for task in self._named(call.params["parent"]).tasks]
        return {"tasks": found} if found else {}

    @rpc(f"{EXECUTIONS}.tasks.get", "run.tasks.get", on=_job_of)
    def get_task(self, call: Call) -> Json:
        for task in self._named(call.params["name"].partition("/tasks/")[0]).tasks:
            if task.spec["name"] == call.params["name"]:
                return task.spec
        raise not_found(call.params["name"])

    @rpc("run.projects.locations.operations.get", "run.operations.get", on=_project)
    def operation(self, call: Call) -> Json:
        if call.params["name"] not in self._operations:
            raise not_found(call.params["name"])
        operation, response = self._operations[call.params["name"]]
        if (answer := response()) is not None:
            operation |= {"done": True, "response": answer}
        return operation

    def _cancel(self, execution: Execution) -> None:
        execution.cancelled = execution.cancelled or not execution.ended.is_set()
        for task in running(execution):
            assert task.program
            self.cloud.run.spawn(self._runner.end(task.program))

    # What tests and faults do

    def processes(self, job: str = "") -> list[Json]:
        """The running tasks of a job, or of all: execution, index, attempt, pid, memory."""
        return [
            {"job": e.job, "execution": e.short, "index": t.index, "attempt": t.attempt}
            | {"pid": pid_of(t), "memory": t.program.memory(exact=True) if t.program else 0}
            for e in self.executions.values()
            for t in running(e)
            if job in ("", e.job)
        ]

    def kill(self, job: str = "", account: str = "") -> None:
        """The processes of a job, or of all that run as an account, die at once."""
        for execution in list(self.executions.values()):
            email = execution.spec["template"]["serviceAccount"]
            if (job and execution.job == job) or (account and email == account):
                kill_all(execution)

    def stop(self) -> None:
        for execution in self.executions.values():
            kill_all(execution)

    # Look-ups and checks

    def _job(self, name: str) -> Json:
        if name not in self.jobs:
            raise ApiError(404, f"Resource '{name.rpartition('/')[2]}' of kind 'JOB' in region "
                           f"'{name.split('/')[3]}' does not exist.")  # fmt: skip
        return self.jobs[name]

    def _named(self, name: str) -> Execution:
        if name not in self.executions:
            raise not_found(f"Execution {name}")
        return self.executions[name]

    def _of(self, job: str) -> list[Execution]:
        prefix = f"{job}/executions/"
        return [e for e in self.executions.values() if e.name.startswith(prefix)]

    def _done(self, name: str, kind: str, answer: Json) -> Json:
        place = name.partition("/jobs/")[0]
        return {
            "name": f"{place}/operations/{uuid.uuid4()}",
            "metadata": {"@type": KIND + kind} | answer,
            "done": True,
            "response": {"@type": KIND + kind} | answer,
        }

    def _operation(self, execution: Execution) -> Json:
        """An operation that is done when the execution is."""
        kind = {"@type": KIND + "Execution"}
        place = execution.name.partition("/jobs/")[0]
        operation: Json = {"name": f"{place}/operations/{uuid.uuid4()}"}
        operation["metadata"] = kind | execution.spec
        self._operations[operation["name"]] = (
            operation,
            lambda: kind | execution.spec if execution.ended.is_set() else None,
        )
        return operation

    def _checked(self, call: Call, name: str, body: Json) -> Json:
        """A job's fields with Google's defaults; refuses what Google refuses."""
        job = copy.deepcopy(body)
        template = job.setdefault("template", {})
        task = template.setdefault("template", {})
        containers = task.get("containers") or []
        if len(containers) != 1:
            raise not_implemented("a job with other than one container")
        (container,) = containers
        for kind, value in (("job", job), ("template", template), ("task", task),
                            ("container", container)):  # fmt: skip
            for field in UNSERVED[kind].split():
                if value.get(field):
                    raise not_implemented(f"{field} of a Cloud Run job")
        if any("valueSource" in one for one in container.get("env", ())):
            raise not_implemented("valueSource of a variable: secrets")
        template["taskCount"] = int(template.get("taskCount") or 1)
        task.setdefault("maxRetries", 3)
        task.setdefault("executionEnvironment", "EXECUTION_ENVIRONMENT_GEN2")
        if not 0 < fields.seconds(task.setdefault("timeout", "600s")) <= 7 * 86400:
            raise invalid("timeout must be between 1 second and 7 days.", "template.timeout")
        if not 0 <= int(task["maxRetries"]) <= 10:
            raise invalid("max_retries must be between 0 and 10.", "template.maxRetries")
        self._check_limits(container)
        self._may_deploy(call, name, task, container)
        now = self.cloud.clock.timestamp()
        ready = condition("SUCCEEDED", now) | {"type": "Ready"}
        return job | {
            "name": name,
            "updateTime": now,
            "lastModifier": call.principal.email,
            "launchStage": job.get("launchStage") or "GA",
            "terminalCondition": ready,
            "reconciling": False,
            "etag": f'"{self.cloud.clock.tick_micros()}"',
        }

    def _check_limits(self, container: Json) -> None:
        resources: dict[str, Any] = container.setdefault("resources", {})
        limits = {"cpu": "1", "memory": "512Mi"} | resources.get("limits", {})
        resources["limits"] = limits
        if limits["cpu"] not in CPUS:
            raise invalid(f"cpu of a job is one of {', '.join(CPUS)}: {limits['cpu']}", "cpu")
        if not 512 << 20 <= memory(limits["memory"]) <= 32 << 30:
            raise invalid(f"memory of a job is 512Mi to 32Gi: {limits['memory']}", "memory")

    def _may_deploy(self, call: Call, name: str, task: Json, container: Json) -> None:
        """The caller may act as the task's account and read the image, which must be there."""
        project = "/".join(name.split("/")[:2])
        if not task.get("serviceAccount"):
            raise not_implemented("a job without serviceAccount: the default account")
        account = f"{project}/serviceAccounts/{task['serviceAccount']}"
        self.cloud.iam.require(call.principal, "iam.serviceAccounts.actAs", account)
        if not self.cloud.accounts.exists(account):
            raise ApiError(400, f"Service account {account} was not found.")
        repository = self.cloud.artifacts.repository(container["image"])
        permission = "artifactregistry.repositories.downloadArtifacts"
        self.cloud.iam.require(call.principal, permission, repository)
        self.cloud.artifacts.pull(container["image"])


def _overridden(template: Json, overrides: Json) -> Json:
    """The template of one execution."""
    made = copy.deepcopy(template)
    task = made["template"]
    (container,) = task["containers"]
    if "taskCount" in overrides:
        made["taskCount"] = int(overrides["taskCount"])
    if "timeout" in overrides:
        task["timeout"] = overrides["timeout"]
    for change in overrides.get("containerOverrides", ()):
        if change.get("args") or change.get("clearArgs"):
            container["args"] = change.get("args", [])
        named = {one["name"]: one for one in (*container.get("env", ()), *change.get("env", ()))}
        container["env"] = list(named.values())
    return made
