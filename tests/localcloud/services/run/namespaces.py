"""Jobs and executions as gcloud asks for them: Cloud Run's API v1, whose shapes are Knative's.

`gcloud run jobs execute JOB --wait` gets the job run and polls the execution until its condition
Completed is True or False. The region is the host's, the namespace a project's id or number.
"""

from __future__ import annotations

from typing import Any

from ...core.api import Call, Json, Service, rpc
from ...core.errors import not_found, not_implemented
from .executions import Execution

API = "run.namespaces"
VERSION = "run.googleapis.com/v1"
STATES = {"CONDITION_SUCCEEDED": "True", "CONDITION_FAILED": "False"}
LABEL = "run.googleapis.com/job"


class Namespaces(Service):
    documents = ("run.v1",)
    hosts = (r"[a-z0-9-]+-run\.googleapis\.com",)

    @rpc(f"{API}.jobs.run")
    def run(self, call: Call) -> Json:
        asked = dict(call.body.get("overrides") or {})
        if "timeoutSeconds" in asked:
            asked["timeout"] = f"{asked.pop('timeoutSeconds')}s"
        self.cloud.iam.require(call.principal, "run.jobs.run", job := self._job(call))
        body = {"overrides": asked} if asked else {}
        jobs = self.cloud.jobs
        made = jobs.run(Call(call.method, {"name": job}, body, call.principal))
        return self._execution(jobs.executions[made["metadata"]["name"]])

    @rpc(f"{API}.jobs.get")
    def get_job(self, call: Call) -> Json:
        self.cloud.iam.require(call.principal, "run.jobs.get", name := self._job(call))
        job = self.cloud.jobs.get(Call(call.method, {"name": name}, {}, call.principal))
        status = {"conditions": [_condition("Ready", job["terminalCondition"])]}
        return {
            "apiVersion": VERSION, "kind": "Job", "metadata": self._metadata(job),
            "spec": {"template": {"spec": _spec(job["template"])}},
            "status": status | {"executionCount": job.get("executionCount", 0)},
        }  # fmt: skip

    @rpc(f"{API}.executions.get")
    def get_execution(self, call: Call) -> Json:
        return self._execution(self._asked(call, "run.executions.get"))

    @rpc(f"{API}.executions.list")
    def list_executions(self, call: Call) -> Json:
        """All, or one job's by its label, as gcloud lists them."""
        selector = call.params.get("labelSelector", "").replace(" ", "")
        label, _, job = selector.partition("=")
        if selector and (label != LABEL or not job):
            raise not_implemented(f"{call.method} with a labelSelector other than {LABEL}=JOB")
        name = f"{self._place(call)}/jobs/{job}" if job else self._place(call)
        self.cloud.iam.require(call.principal, "run.executions.list", name)
        found = [e for e in self.cloud.jobs.executions.values() if e.name.startswith(name + "/")]
        items = [self._execution(one) for one in reversed(found)]
        kind = {"apiVersion": VERSION, "kind": "ExecutionList", "metadata": {}}
        return kind | {"items": items}

    @rpc(f"{API}.executions.cancel")
    def cancel_execution(self, call: Call) -> Json:
        execution = self._asked(call, "run.executions.cancel")
        asked = Call(call.method, {"name": execution.name}, {}, call.principal)
        self.cloud.jobs.cancel_execution(asked)
        return self._execution(execution)

    def _place(self, call: Call) -> str:
        host = str(call.request.url.hostname) if call.request else ""
        region = host.removesuffix("-run.googleapis.com")
        namespace = (call.params.get("name") or call.params["parent"]).split("/")[1]
        project = self.cloud.project if namespace == self.cloud.number else namespace
        return f"projects/{project}/locations/{region}"

    def _job(self, call: Call) -> str:
        return f"{self._place(call)}/jobs/{call.params['name'].rpartition('/')[2]}"

    def _asked(self, call: Call, permission: str) -> Execution:
        place, short = self._place(call), call.params["name"].rpartition("/")[2]
        for execution in self.cloud.jobs.executions.values():
            if execution.short == short and execution.name.startswith(place + "/"):
                job = execution.name.partition("/executions/")[0]
                self.cloud.iam.require(call.principal, permission, job)
                return execution
        raise not_found(f"Execution {short}")

    def _metadata(self, spec: Json, **labels: str) -> Json:
        place, name = spec["name"].split("/")[3], spec["name"].rpartition("/")[2]
        more = {"cloud.googleapis.com/location": place} | labels
        return {
            "name": name, "namespace": self.cloud.number, "uid": spec["uid"], "labels": more,
            "creationTimestamp": spec["createTime"], "generation": int(spec["generation"]),
        }  # fmt: skip

    def _execution(self, execution: Execution) -> Json:
        spec = execution.spec
        begun = {"state": "CONDITION_SUCCEEDED", "lastTransitionTime": spec["createTime"]}
        status: Json = {
            "observedGeneration": int(spec["generation"]),
            "conditions": [
                _condition("Completed", spec["conditions"][0]),
                _condition("ResourcesAvailable", begun),
                _condition("Started", begun),
            ],
        }
        names = ("startTime", "completionTime", "runningCount", "succeededCount", "failedCount",
                 "cancelledCount", "retriedCount")  # fmt: skip
        status |= {name: spec[name] for name in names if spec.get(name)}
        return {
            "apiVersion": VERSION, "kind": "Execution",
            "metadata": self._metadata(spec, **{LABEL: execution.job}),
            "spec": _spec(spec), "status": status,
        }  # fmt: skip


def _spec(template: Json) -> Json:
    """{parallelism, taskCount, template} of v2 as v1 has it."""
    task = template["template"]
    (container,) = task["containers"]
    inner: dict[str, Any] = {
        "containers": [container], "maxRetries": int(task["maxRetries"]),
        "serviceAccountName": task["serviceAccount"],
        "timeoutSeconds": task["timeout"].removesuffix("s"),
    }  # fmt: skip
    made = {"taskCount": template["taskCount"], "template": {"spec": inner}}
    return made | ({"parallelism": width} if (width := template.get("parallelism")) else {})


def _condition(kind: str, condition: Json) -> Json:
    made = {"type": kind, "status": STATES.get(condition["state"], "Unknown")}
    made["lastTransitionTime"] = condition["lastTransitionTime"]
    if reason := condition.get("executionReason"):
        made["reason"] = {"NON_ZERO_EXIT_CODE": "NonZeroExitCode", "CANCELLED": "Cancelled"}[reason]
    return made | ({"message": text} if (text := condition.get("message")) else {})
