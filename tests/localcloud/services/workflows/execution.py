"""One execution of a workflow, and what its steps reach: HTTP, time, callbacks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.requests import Request

from ...core import fields
from ...core.api import Json
from ...core.clock import Timer, rfc3339
from ...core.identity import Principal
from ...core.sending import GOOGLES, call_google
from ..run.service import NoAnswer, NotReached
from .expressions import Malformed, Raised, error
from .interpreter import BUILTIN, Builtin, Machine, Program, result_text

if TYPE_CHECKING:
    from ...core.server import Cloud

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
HOST = "https://workflowexecutions.googleapis.com/v1"
TIMEOUT = 43_200.0  # seconds that await_callback waits where it does not say
VERBS = {name: name.partition(".")[2].upper() for name in BUILTIN if name.startswith("http.")}


class Callback:
    """An endpoint of an execution: requests that came, and who waits for one."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.received: deque[Json] = deque()
        self.waiters: deque[asyncio.Future[Json]] = deque()

    def receive(self, request: Request, body: bytes, now: str) -> None:
        about: Json = {
            "body": _decoded(body, request.headers.get("content-type", "")),
            "headers": {k: v for k, v in request.headers.items() if k != "authorization"},
            "method": request.method,
            "query": dict(request.query_params),
            "url": str(request.url),
        }
        came = {"http_request": about, "received_time": now, "type": "HTTP"}
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(came)
                return
        self.received.append(came)


class Execution:
    """See above.

    Attributes:
        spec: the resource as the API shows it.
        callbacks: by their ids.
    """

    def __init__(self, cloud: Cloud, workflow: Json, program: Program, argument: object) -> None:
        self._cloud, self._workflow = cloud, workflow
        self.callbacks: dict[str, Callback] = {}
        self.task: asyncio.Task[None] | None = None
        self._busy = contextlib.ExitStack()
        builtins: dict[str, Builtin] = {name: self._http(verb) for name, verb in VERBS.items()}
        builtins |= {
            "sys.get_env": self._environment,
            "sys.log": self._log,
            "sys.now": self._now,
            "sys.sleep": self._sleep,
            "events.await_callback": self._await_callback,
            "events.create_callback_endpoint": self._create_callback,
        }
        self._machine = Machine(program, builtins)
        now = cloud.clock.timestamp()
        self.spec: Json = {
            "name": f"{workflow['name']}/executions/{uuid.uuid4()}",
            "createTime": now,
            "startTime": now,
            "state": "ACTIVE",
            "argument": json.dumps(argument),
            "workflowRevisionId": workflow["revisionId"],
        }

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    def shown(self) -> Json:
        routine, step = self._machine.place
        if self.spec["state"] in ENDED or not step:
            return self.spec
        return self.spec | {"status": {"currentSteps": [{"routine": routine, "step": step}]}}

    def cancel(self) -> None:
        if self.spec["state"] not in ENDED:
            self._end("CANCELLED")
            if self.task:
                self.task.cancel()

    async def perform(self, argument: object) -> None:
        """Runs to the end, whatever it is."""
        with self._busy:
            self._busy.enter_context(self._cloud.clock.busy())
            try:
                result = await self._machine.run(argument)
            except Raised as raised:
                text = raised.value if isinstance(raised.value, str) else result_text(raised.value)
                routine, step = self._machine.place
                self._end("FAILED", error={"payload": text, "context": f"{routine}, step {step}"})
            except Malformed as wrong:
                self._end("FAILED", error={"payload": str(wrong)})
            else:
                self._end("SUCCEEDED", result=result_text(result))

    def _end(self, state: str, **more: Any) -> None:
        now = self._cloud.clock.now()
        seconds = now - fields.timestamp(self.spec["startTime"])
        self.spec |= {"state": state, "endTime": rfc3339(now)} | more
        self.spec["duration"] = fields.duration(round(seconds, 3))
        self._cloud.journal.write(
            "workflows.execution",
            workflow=self._workflow["name"].rpartition("/")[2],
            execution=self.name.rpartition("/")[2],
            state=state,
            error=more.get("error", {}).get("payload", ""),
        )

    async def _waiting(self, work: Awaitable[Any]) -> Any:
        """Waits without being work in flight: the clock may go on."""
        self._busy.close()
        try:
            return await work
        finally:
            self._busy.enter_context(self._cloud.clock.busy())

    # What steps call

    def _http(self, verb: str) -> Builtin:
        async def call(given: Json) -> Json:
            method = given.get("method", "GET") if verb == "REQUEST" else verb
            url, headers = str(given.get("url", "")), dict(given.get("headers") or {})
            if given.get("query"):
                url += ("&" if "?" in url else "?") + urlencode(given["query"])
            body = given.get("body", b"")
            if not isinstance(body, str | bytes):
                headers.setdefault("Content-Type", "application/json")
                body = json.dumps(body)
            data = body.encode() if isinstance(body, str) else body
            headers |= self._authorization(given.get("auth"), url)
            return await self._send(method, url, headers, data, float(given.get("timeout", 300)))

        return call

    def _authorization(self, auth: Json | None, url: str) -> dict[str, str]:
        if not auth:
            return {}
        email = self._workflow["serviceAccount"].rpartition("/")[2]
        if auth.get("type") == "OIDC":
            audience = auth.get("audience") or url.partition("?")[0]
            token = self._cloud.identity.oidc_token(email, audience)
        elif auth.get("type") == "OAuth2":
            token = self._cloud.identity.access_token(Principal(f"serviceAccount:{email}"))
        else:
            raise error("ValueError", f"not implemented: auth {auth}")
        return {"Authorization": f"Bearer {token}"}

    async def _send(
        self, verb: str, url: str, headers: dict[str, str], data: bytes, timeout: float
    ) -> Json:
        try:
            if GOOGLES.fullmatch(url):
                result = await call_google(self._cloud, url, verb, headers, data)
            else:
                result = await self._cloud.run.invoke(
                    url, verb, headers, data, timeout, "workflows"
                )
        except NotReached as missing:
            raise error("ConnectionFailedError", str(missing)) from None
        except NoAnswer as missing:
            tag = "TimeoutError" if "within" in str(missing) else "ConnectionError"
            raise error(tag, str(missing)) from None
        kind = result.headers.get("content-type", "")
        answer = {"code": result.status, "headers": result.headers}
        answer["body"] = _decoded(result.body, kind)
        if not result.status:
            raise error("ConnectionError", f"no answer from {url}")
        if result.status >= 400:
            raise error("HttpError", f"HTTP server responded with {result.status}", **answer)
        return answer

    async def _environment(self, given: Json) -> str:
        name, project = str(given.get("name", "")), self._cloud.project
        _, _, _, location, _, short = self._workflow["name"].split("/")
        known = {
            "GOOGLE_CLOUD_PROJECT_ID": project,
            "GOOGLE_CLOUD_PROJECT_NUMBER": self._cloud.number,
            "GOOGLE_CLOUD_LOCATION": location,
            "GOOGLE_CLOUD_WORKFLOW_ID": short,
            "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ID": self.name.rpartition("/")[2],
            "GOOGLE_CLOUD_WORKFLOW_REVISION_ID": self._workflow["revisionId"],
            "GOOGLE_CLOUD_SERVICE_ACCOUNT_NAME": self._workflow["serviceAccount"].split("/")[-1],
        } | self._workflow.get("userEnvVars", {})
        if name not in known:
            raise error("KeyError", f"no such environment variable: {name}")
        return str(known[name])

    async def _log(self, given: Json) -> None:
        _, _, _, location, _, workflow, _, execution = self.name.split("/")
        self._cloud.journal.write(
            "log",
            workflow=workflow,
            location=location,
            execution=execution,
            severity=given.get("severity", "DEFAULT"),
            payload=given.get("json", given.get("text", given.get("data", given.get("name")))),
        )

    async def _now(self, given: Json) -> float:
        return self._cloud.clock.now()

    async def _sleep(self, given: Json) -> None:
        seconds = given.get("seconds", given.get("name"))
        if not isinstance(seconds, int | float):
            raise error("TypeError", "sys.sleep takes seconds")
        await self._waiting(self._cloud.clock.sleep(float(seconds)))

    async def _create_callback(self, given: Json) -> Json:
        method = given.get("http_callback_method", "POST")
        number = f"{uuid.uuid4()}_{len(self.callbacks)}"
        self.callbacks[number] = Callback(method)
        return {"url": f"{HOST}/{self.name}/callbacks/{number}"}

    async def _await_callback(self, given: Json) -> Json:
        url = str((given.get("callback") or {}).get("url", ""))
        callback = self.callbacks.get(url.rpartition("/")[2])
        if callback is None:
            raise error("ValueError", "events.await_callback takes a callback of this execution")
        if callback.received:
            return callback.received.popleft()
        waiter: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        callback.waiters.append(waiter)
        seconds = float(given.get("timeout", TIMEOUT))

        def late() -> None:
            waiter.cancel()

        timer: Timer = self._cloud.clock.call_later(seconds, late)
        try:
            came: Json = await self._waiting(asyncio.shield(waiter))
            return came
        except asyncio.CancelledError:
            if waiter.cancelled():
                raise error("TimeoutError", f"no callback within {seconds:g} s") from None
            raise
        finally:
            timer.cancel()


def _decoded(body: bytes, kind: str) -> Any:
    if "json" in kind:
        with contextlib.suppress(ValueError):
            return json.loads(body or b"null")
    return body.decode("utf-8", "replace")
