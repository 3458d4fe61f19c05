"""Workflows: sources that are checked and kept, and their executions.

An execution runs as its workflow's account. While it sleeps or waits for a callback it is not work
in flight: the clock goes on. See interpreter.py for what a source may say.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...core import fields
from ...core.api import Call, Json, Service, rpc
from ...core.errors import ApiError, invalid, not_found, not_implemented
from ...core.identity import Principal
from .execution import ENDED, Execution
from .expressions import Malformed
from .interpreter import Program

if TYPE_CHECKING:
    from ...core.server import Cloud

WORKFLOWS = "workflows.projects.locations.workflows"
RUNS = "workflowexecutions.projects.locations.workflows.executions"
TRIGGER = re.compile(r"/v1/(projects/[^/]+/locations/[^/]+/workflows/[^/]+):triggerPubsubExecution")
CALLBACK = re.compile(r"/v1/(projects/.+/executions/[^/]+)/callbacks/([^/]+)")
TOPIC = re.compile(r"CUSTOM_PUBSUB_(projects/[^/]+/topics/[^/]+)")
UNSERVED = ("executionHistoryLevel", "tags")
LARGEST, EVENT = 32 << 10, 512 << 10  # bytes of an argument, and of an event
MOST = 10_000  # executions of a region that run or wait


def _project(call: Call) -> str:
    """Workflows has no policies of its own: permission is asked for on the project."""
    name = call.params.get("name") or call.params.get("parent") or call.params["workflow"]
    return "/".join(str(name).split("/")[:2])


class Workflows(Service):
    documents = ("workflows.v1", "workflowexecutions.v1")

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.workflows: dict[str, Json] = {}
        self.executions: dict[str, Execution] = {}
        self._programs: dict[str, Program] = {}
        self._operations: dict[str, Json] = {}

    def snapshot(self) -> list[str]:
        return list(self.workflows)

    # Workflows

    @rpc(f"{WORKFLOWS}.create", "workflows.workflows.create", on=_project)
    def create(self, call: Call) -> Json:
        identifier = call.params.get("workflowId", "")
        if not re.fullmatch(r"[a-zA-Z]([\w-]{0,62}[a-zA-Z0-9])?", identifier):
            raise invalid(f"Workflow ID {identifier!r} is not valid.", "workflowId")
        name = f"{call.params['parent']}/workflows/{identifier}"
        if name in self.workflows:
            raise ApiError(409, f"Workflow {name} already exists.")
        now = self.cloud.clock.timestamp()
        return self._keep(call, name, call.body | {"createTime": now}, 1)

    @rpc(f"{WORKFLOWS}.patch", "workflows.workflows.update", on=_project)
    def patch(self, call: Call) -> Json:
        old = self._workflow(call.params["name"])
        wanted = dict(old)
        fields.update(wanted, call.body, call.params.get("updateMask") or ",".join(call.body))
        number = int(old["revisionId"].partition("-")[0])
        return self._keep(call, old["name"], wanted, number + 1)

    @rpc(f"{WORKFLOWS}.get", "workflows.workflows.get", on=_project)
    def get(self, call: Call) -> Json:
        return self._workflow(call.params["name"])

    @rpc(f"{WORKFLOWS}.list", "workflows.workflows.list", on=_project)
    def list_workflows(self, call: Call) -> Json:
        prefix = call.params["parent"] + "/workflows/"
        mine = ((n, w) for n, w in self.workflows.items() if n.startswith(prefix))
        return fields.page("workflows", mine, call.params, 500)

    @rpc(f"{WORKFLOWS}.delete", "workflows.workflows.delete", on=_project)
    def delete(self, call: Call) -> Json:
        name = self._workflow(call.params["name"])["name"]
        for execution in self._of(name):
            execution.cancel()
            del self.executions[execution.name]
        del self.workflows[name], self._programs[name]
        return self._done(name, {"@type": "type.googleapis.com/google.protobuf.Empty"})

    @rpc("workflows.projects.locations.operations.get", "workflows.operations.get", on=_project)
    def operation(self, call: Call) -> Json:
        if call.params["name"] not in self._operations:
            raise not_found(call.params["name"])
        return self._operations[call.params["name"]]

    def _keep(self, call: Call, name: str, wanted: Json, revision: int) -> Json:
        for field in UNSERVED:
            if wanted.get(field):
                raise not_implemented(f"{field} of a workflow")
        account = wanted.get("serviceAccount", "").rpartition("/")[2]
        if not account:
            raise not_implemented("a workflow without serviceAccount: the default account")
        resource = f"{_project(call)}/serviceAccounts/{account}"
        self.cloud.iam.require(call.principal, "iam.serviceAccounts.actAs", resource)
        if not self.cloud.accounts.exists(resource):
            raise ApiError(400, f"Service account {resource} does not exist.")
        try:
            program = Program(wanted.get("sourceContents", ""))
        except Malformed as wrong:
            if str(wrong).startswith("not implemented"):
                raise not_implemented(str(wrong).partition(": ")[2]) from None
            raise invalid(f"main.yaml: {wrong}", "sourceContents") from None
        now = self.cloud.clock.timestamp()
        self._programs[name] = program
        self.workflows[name] = wanted | {
            "name": name,
            "serviceAccount": resource,
            "state": "ACTIVE",
            "updateTime": now,
            "revisionId": f"{revision:06d}-{uuid.uuid4().hex[:3]}",
            "revisionCreateTime": now,
        }
        kind = {"@type": "type.googleapis.com/google.cloud.workflows.v1.Workflow"}
        return self._done(name, kind | self.workflows[name])

    def _done(self, name: str, response: Json) -> Json:
        place = name.partition("/workflows/")[0]
        made = {"name": f"{place}/operations/{uuid.uuid4()}", "done": True, "response": response}
        self._operations[str(made["name"])] = made
        return made

    def _workflow(self, name: str) -> Json:
        if name not in self.workflows:
            raise ApiError(404, f"workflow '{name}' not found")
        return self.workflows[name]

    # Executions

    @rpc(f"{RUNS}.create", "workflows.executions.create", on=_project)
    def create_execution(self, call: Call) -> Json:
        text = call.body.get("argument") or "null"
        if len(text.encode()) > LARGEST:
            raise invalid("The argument is longer than 32 KB.", "argument")
        try:
            argument = json.loads(text)
        except ValueError as wrong:
            raise invalid(f"The argument is not JSON: {wrong}", "argument") from None
        return self._start(call.params["parent"], argument).spec

    @rpc(
        "workflowexecutions.projects.locations.workflows.triggerPubsubExecution",
        "workflows.executions.create",
        on=_project,
    )
    def trigger(self, call: Call) -> Json:
        """A push of Pub/Sub: the message comes as a CloudEvent."""
        match = TOPIC.fullmatch(call.body.get("GCPCloudEventsMode", ""))
        if match is None:
            raise invalid("__GCP_CloudEventsMode must be CUSTOM_PUBSUB_<topic>.", "mode")
        message = call.body.get("message", {})
        event = {
            "id": message.get("messageId", ""),
            "source": f"//pubsub.googleapis.com/{match[1]}",
            "specversion": "1.0",
            "type": "google.cloud.pubsub.topic.v1.messagePublished",
            "datacontenttype": "application/json",
            "time": message.get("publishTime", ""),
            "data": {"message": message, "subscription": call.body.get("subscription", "")},
        }
        if len(json.dumps(event)) > EVENT:
            raise invalid("The event is larger than 512 KB.", "message")
        return self._start(call.params["workflow"], event).spec

    def _start(self, name: str, argument: object) -> Execution:
        workflow = self._workflow(name)
        place = name.partition("/workflows/")[0] + "/"
        live = [e for e in self.executions.values() if e.spec["state"] not in ENDED]
        if sum(e.name.startswith(place) for e in live) >= MOST:
            raise ApiError(429, f"Quota exceeded: {MOST} concurrent executions in a region.")
        execution = Execution(self.cloud, workflow, self._programs[name], argument)
        self.executions[execution.name] = execution
        short = execution.name.rpartition("/")[2]
        self.cloud.journal.write("workflows.start", workflow=name.split("/")[-1], execution=short)
        execution.task = self.cloud.run.spawn(execution.perform(argument))
        return execution

    @rpc(f"{RUNS}.get", "workflows.executions.get", on=_project)
    def get_execution(self, call: Call) -> Json:
        return self._execution(call.params["name"]).shown()

    @rpc(f"{RUNS}.list", "workflows.executions.list", on=_project)
    def list_executions(self, call: Call) -> Json:
        newest = [execution.shown() for execution in reversed(self._of(call.params["parent"]))]
        return {"executions": newest} if newest else {}

    @rpc(f"{RUNS}.cancel", "workflows.executions.cancel", on=_project)
    def cancel_execution(self, call: Call) -> Json:
        execution = self._execution(call.params["name"])
        execution.cancel()
        return execution.shown()

    @rpc(f"{RUNS}.callbacks.list", "workflows.callbacks.list", on=_project)
    def list_callbacks(self, call: Call) -> Json:
        execution = self._execution(call.params["parent"])
        found = [
            {"name": f"{execution.name}/callbacks/{number}", "method": callback.method}
            | {"waiters": str(len(callback.waiters))}
            for number, callback in execution.callbacks.items()
        ]
        return {"callbacks": found} if found else {}

    def _execution(self, name: str) -> Execution:
        if name not in self.executions:
            raise ApiError(404, f"execution '{name}' not found")
        return self.executions[name]

    def _of(self, workflow: str) -> list[Execution]:
        prefix = f"{workflow}/executions/"
        return [e for e in self.executions.values() if e.name.startswith(prefix)]

    async def raw(self, request: Request) -> Response | None:
        """What is not in the discovery document: pushes of Pub/Sub, and callbacks."""
        if request.url.hostname != "workflowexecutions.googleapis.com":
            return None
        path, given = request.url.path, request.headers.get("authorization") or ""
        if (match := TRIGGER.fullmatch(path)) and request.method == "POST":
            url = f"https://workflowexecutions.googleapis.com{path}"
            token = given.partition(" ")[2]
            caller: str | Principal = given
            if token.count(".") == 2:
                caller = self.cloud.identity.verify_oidc(token, [url])
            body = await request.json()
            message = body.get("message", {})
            for key in ("message_id", "publish_time"):
                message.pop(key, None)
            body["GCPCloudEventsMode"] = request.query_params.get("__GCP_CloudEventsMode", "")
            answer = await self.cloud.api.dispatch(
                request.url.hostname, "POST", path, "", body, caller, request
            )
            assert isinstance(answer, dict)
            return JSONResponse(answer)
        if match := CALLBACK.fullmatch(path):
            execution = self._execution(match[1])
            principal = self.cloud.identity.authenticate(given or None)
            project = f"projects/{self.cloud.project}"
            self.cloud.iam.require(principal, "workflows.callbacks.send", project)
            callback = execution.callbacks.get(match[2])
            if callback is None or execution.spec["state"] in ENDED:
                raise ApiError(404, "Callback not found.")
            if callback.method != request.method:
                raise ApiError(405, f"The callback takes {callback.method}.")
            callback.receive(request, await request.body(), self.cloud.clock.timestamp())
            await asyncio.sleep(0)
            return JSONResponse({})
        return None
