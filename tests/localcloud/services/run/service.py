"""Cloud Run as functions use it: who may call, which instance answers, how many there are.

A deployed function is a `Site` with one `Fleet` of instances (see fleet.py). Calls come from
Pub/Sub and Cloud Tasks (`invoke`, internal) or through the door (`handle_public`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from ...core.api import Service
from ...core.errors import ApiError, not_found
from ...core.identity import ANONYMOUS, CLIENT, Principal
from .fleet import WATCH, Fleet, Refused, Revision
from .instances import Client, Instance, Result, Sink, StartFailed
from .metadata import Metadata
from .passing import Passed

if TYPE_CHECKING:
    from ...core.server import Cloud

INVOKE = "run.routes.invoke"
PENDING = 10.0  # seconds that a request waits for an instance before 429, as Google documents
MAX_REQUEST = 32 << 20  # bytes of an HTTP/1 request


class NoAnswer(Exception):
    """The caller got no answer: its own time was up, or the connection broke."""


class NotReached(NoAnswer):
    """Nobody is at that address: no connection was made."""


@dataclass
class _Kill:
    """Kills an instance in the middle of a request, `times` times, after skipping `skip`."""

    skip: int
    delay: float
    times: int


@dataclass
class Site:
    """A Cloud Run service."""

    fleet: Fleet
    down: bool = False
    stub: Client | None = None
    typical: float = 0.05  # seconds that requests took lately
    kills: list[_Kill] = field(default_factory=list)

    @property
    def revision(self) -> Revision:
        return self.fleet.revision


class Run(Service):
    documents = ("run.v1",)
    hosts = (r"[a-z0-9-]+-run\.googleapis\.com",)
    policies = {"run.projects.locations.services": "run.services"}

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.sites: dict[str, Site] = {}  # by resource name
        self.hosts_of: dict[str, Site] = {}
        self.outside: dict[str, int] = {}  # host outside Google → loopback port
        self.instances: dict[Instance, Fleet] = {}
        self.metadata = Metadata(cloud)
        self.pending = PENDING
        self.stopping = False
        self._clients: dict[int, Client] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watching = False

    # What other services use.

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Work in the background that ends with the cloud."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def deploy(self, revision: Revision) -> None:
        """Makes `revision` the one that serves, once an instance of it listens.

        Raises:
            StartFailed: it does not start; what it wrote last is the message. The previous revision
                keeps serving.
        """
        fleet = Fleet(self, revision)
        try:
            await fleet.start()
        except StartFailed:
            said = " | ".join(list(fleet.lines)[-3:]) or "it wrote nothing"
            raise StartFailed(said) from None
        site = self.sites.get(revision.resource)
        if site:
            site.fleet.retire()
            site.fleet = fleet
        else:
            site = self.sites[revision.resource] = Site(fleet)
        for url in revision.urls:
            self.hosts_of[urlsplit(url).hostname or ""] = site
        fleet.grow()

    def remove(self, resource: str) -> None:
        if site := self.sites.pop(resource, None):
            for instance, fleet in self.instances.items():  # those of earlier revisions, too
                if fleet.revision.resource == resource:
                    fleet.retired = True
                    instance.kill()
            self.hosts_of = {h: s for h, s in self.hosts_of.items() if s is not site}
        self.cloud.iam.forget(resource)

    async def invoke(
        self, url: str, verb: str, headers: dict[str, str], body: bytes, timeout: float, source: str
    ) -> Result:
        """A call by a Google service, which counts as internal.

        Args:
            url: its host is a function's, or one registered as outside.
            timeout: real seconds that the caller waits.
            source: who calls, for the journal.

        Raises:
            NoAnswer: the time was up (the function goes on working), or the connection broke.
            NotReached: nobody is there.
        """
        with self.cloud.clock.busy():
            parts = urlsplit(url)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            host = parts.netloc
            try:
                async with asyncio.timeout(timeout):
                    return await self._route(host, verb, target, headers, body, source, True)
            except TimeoutError:
                raise NoAnswer(f"no answer from {host} within {timeout:g} s") from None
            except (ConnectionRefusedError, socket.gaierror) as error:
                raise NotReached(f"no answer from {host}: {error}") from None
            except OSError as error:
                raise NoAnswer(f"no answer from {host}: {error}") from None

    async def handle_public(self, request: Request) -> Response:
        """A call through the door, from anywhere: the answer passes on what the function sends."""
        body = await request.body()
        path = request.scope["raw_path"].decode("ascii")
        query = request.scope["query_string"].decode("ascii")
        target = path + (f"?{query}" if query else "")
        headers, host = dict(request.headers), request.url.hostname or ""

        async def route(sink: Sink) -> Result:
            return await self._route(
                host, request.method, target, headers, body, "public", False, sink
            )

        return Passed(self.cloud.clock, route)

    async def control(self, action: str, body: dict[str, Any]) -> Any:
        """What tests ask for, by POST /run/{action}.

        instances {service?}: pid, busy, served, memory (bytes), start seconds of each
        kill {service}: all its instances, now
        kill {service, at: "mid-request", after_requests?, delay?, times?}: skips some requests,
            then kills the instance `delay` seconds into each of `times` requests
        down {service, seconds?}: 503 to every call, for that long on the clock or until `up`
        stub {service, port}: that loopback port answers instead of instances; null: no longer
        pending {seconds}: how long a call waits for room before 429
        tasks {job?}: execution, index, attempt, pid, memory of each task of a job that runs
        kill {job}: all its running tasks, now
        """
        if action == "tasks":
            return self.cloud.jobs.processes(body.get("job", ""))
        if action == "kill" and "job" in body:
            self.cloud.jobs.kill(body["job"])
            return {}
        if action == "pending":
            self.pending = body["seconds"]
            return {}
        if action == "instances":
            return [
                {"service": f.revision.service, "revision": f.revision.name, "pid": i.pid}
                | {"busy": i.busy, "served": i.served, "start_seconds": round(i.seconds, 3)}
                | {"memory": i.memory(exact=True), "peak": i.peak}
                for i, f in self.instances.items()
                if i.alive and body.get("service", f.revision.service) == f.revision.service
            ]
        site = self._site(body["service"])
        match action:
            case "kill" if "at" in body or "after_requests" in body:
                skip, delay = body.get("after_requests", 0), body.get("delay", 0.0)
                site.kills.append(_Kill(skip, delay, body.get("times", 1)))
            case "kill":
                for instance in list(site.fleet.instances):
                    instance.kill()
                    await instance.exited()
            case "down":
                site.down = True
                if "seconds" in body:
                    self.cloud.clock.call_later(
                        body["seconds"], lambda: setattr(site, "down", False)
                    )
            case "up":
                site.down = False
            case "stub":
                site.stub = Client(body["port"]) if body["port"] else None
            case _:
                raise ApiError(404, f"no control run/{action}")
        return {}

    async def kill_account(self, email: str) -> None:
        """Every instance that runs as this account dies: what a fault asks for."""
        for instance, fleet in list(self.instances.items()):
            if fleet.revision.account == email and instance.alive:
                instance.kill()
                await instance.exited()
        self.cloud.jobs.kill(account=email)

    async def stop(self) -> None:
        """Ends every process that was started here, within a second."""
        self.stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.cloud.jobs.stop()
        instances = list(self.instances)
        for instance in instances:
            instance.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(i.exited() for i in instances if i.pid)), 1)
        self.metadata.close()

    def exists(self, resource: str) -> bool:
        return resource in self.sites

    def snapshot(self) -> list[str]:
        return list(self.sites)

    # What fleets use.

    async def variables(self, revision: Revision) -> dict[str, str]:
        """The environment of an instance: Google's, the way into this cloud, the declared one."""
        surroundings = await self.surroundings(
            revision.environment.python, revision.account, revision.location
        )
        return (
            surroundings
            | {
                "K_SERVICE": revision.service,
                "K_REVISION": revision.name,
                "K_CONFIGURATION": revision.service,
                "FUNCTION_TARGET": revision.target,
                "FUNCTION_SIGNATURE_TYPE": "http",
                "LOG_EXECUTION_ID": "true",
                "CLOUD_RUN_TIMEOUT_SECONDS": str(revision.timeout),
                # functions-framework's own rule, for the declared cores, not this machine's.
                "THREADS": str(4 * max(1, math.ceil(revision.cpu))),
            }
            | revision.variables
        )

    async def surroundings(self, python: Path, account: str, location: str) -> dict[str, str]:
        """What every program here finds in its environment: the way into this cloud."""
        door = f"http://127.0.0.1:{self.cloud.port}"
        own = str(self.cloud.house.ca_file)
        metadata = await self.metadata.address(account, location)
        return {
            "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "TRUE",
            "HTTPS_PROXY": door,
            "https_proxy": door,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "SSL_CERT_FILE": own,
            "REQUESTS_CA_BUNDLE": own,
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": own,
            "GCE_METADATA_HOST": metadata,
            "GCE_METADATA_IP": metadata,
        }

    def log(self, revision: Revision, severity: str, content: Any) -> None:
        """One line of Cloud Logging."""
        self.cloud.journal.write(
            "log",
            service=revision.service,
            location=revision.location,
            revision=revision.name,
            severity=severity,
            payload=content,
        )

    def gauge(self, revision: Revision, metric: str, value: float, **labels: Any) -> None:
        self.cloud.journal.write(
            "gauge", service=revision.service, metric=metric, value=value, **labels
        )

    def watch(self) -> None:
        """Looks at the memory of busy instances until none is busy."""
        if not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_later(WATCH, self._look)

    def _look(self) -> None:
        self._watching = False
        for instance, fleet in self.instances.items():
            limit = fleet.revision.memory
            if not instance.busy or not instance.alive:
                continue
            self.watch()
            # The cheap sum counts shared pages twice: it can only be too high.
            if instance.memory() > limit and (used := instance.memory(exact=True)) > limit:
                self.log(fleet.revision, "ERROR",
                    f"Memory limit of {limit >> 20} MiB exceeded with {used >> 20} MiB used. "
                    "Consider increasing the memory limit.")  # fmt: skip
                instance.kill()

    # The way of one call.

    async def _route(
        self,
        host: str,
        verb: str,
        target: str,
        headers: dict[str, str],
        body: bytes,
        source: str,
        internal: bool,
        sink: Sink | None = None,
    ) -> Result:
        """The answer; with a sink, what a function says goes there as it comes."""
        if port := self.outside.get(host):
            client = self._clients.setdefault(port, Client(port))
            return await client.request(verb, target, host, headers, body, sink)
        site = self.hosts_of.get(host)
        if site is None:
            if host.endswith(".run.app"):
                return Refused(404, "no such service").result()
            raise socket.gaierror("the host is unknown")
        start = time.perf_counter()
        fields: dict[str, Any] = {"service": site.revision.service, "verb": verb, "source": source}
        status = 499  # where the caller does not wait for the answer
        try:
            principal, passed = self._admit(site, headers, internal)
            fields["principal"] = principal.member
            if len(body) > MAX_REQUEST:
                raise Refused(413, "request too large")
            result = await self._perform(site, host, verb, target, passed, body, sink)
            status = result.status
        except Refused as refused:
            result, status = refused.result(), refused.status
            fields["refused"] = refused.reason
        finally:
            seconds = time.perf_counter() - start
            if status < 400:
                site.typical += 0.1 * (seconds - site.typical)
            self.cloud.journal.write(
                "run.request",
                status=status,
                seconds=round(seconds, 4),
                revision=site.revision.name,
                **fields,
            )
        return result

    def _admit(
        self, site: Site, headers: dict[str, str], internal: bool
    ) -> tuple[Principal, dict[str, str]]:
        """The caller, if it may call, and the headers that the function gets.

        X-Serverless-Authorization, where it is given, is the token that counts; Authorization then
        is the application's own. As at Google, a function sees who called but cannot use the token
        for itself.
        """
        revision = site.revision
        if site.down:
            raise Refused(503, "down")
        if not internal and revision.ingress != "ALLOW_ALL":
            raise Refused(404, "ingress is internal only")
        iam = self.cloud.iam
        by_name = {k.lower(): k for k in headers}
        name = by_name.get("x-serverless-authorization") or by_name.get("authorization", "")
        given, passed = headers.get(name, ""), {"X-Forwarded-Proto": "https"} | headers
        principal, problem = ANONYMOUS, "no identity token"
        if given:
            token = given.partition(" ")[2].strip()
            try:
                principal = self.cloud.identity.verify_oidc(token, [*revision.urls, CLIENT])
                passed[name] = given.rpartition(".")[0] + ".SIGNATURE_REMOVED_BY_GOOGLE"
            except ApiError as error:
                problem = error.message
        try:
            iam.require(principal, INVOKE, revision.resource)
        except ApiError as error:
            if given and principal is ANONYMOUS:
                text = 'Bearer error="invalid_token" error_description="The access token could not be verified"'  # noqa: E501
                raise Refused(401, problem, **{"www-authenticate": text}) from None
            if given:
                problem = error.message
            raise Refused(403, problem) from None
        return principal, passed

    async def _perform(
        self,
        site: Site,
        host: str,
        verb: str,
        target: str,
        headers: dict[str, str],
        body: bytes,
        sink: Sink | None,
    ) -> Result:
        """The function's own answer, or Google's where it gives none."""
        fleet = site.fleet
        killing = None
        try:
            if site.stub:
                return await site.stub.request(verb, target, host, headers, body, sink)
            async with asyncio.timeout(fleet.revision.timeout):
                instance = await fleet.acquire()
                try:
                    killing = self._killing(site, instance)
                    return await instance.client.request(verb, target, host, headers, body, sink)
                finally:
                    fleet.release(instance)
        except TimeoutError:
            self.log(fleet.revision, "ERROR",
                "The request has been terminated because it has reached the maximum request "
                "timeout.")  # fmt: skip
            raise Refused(504, "timeout") from None
        except OSError:
            raise Refused(503, "the instance ended") from None
        finally:
            if killing:
                killing.cancel()

    def _killing(self, site: Site, instance: Instance) -> asyncio.TimerHandle | None:
        """The kill that strikes this request, armed."""
        delay = None
        if site.kills:
            plan = site.kills[0]
            if plan.skip:
                plan.skip -= 1
            else:
                delay = plan.delay
                plan.times -= 1
                if not plan.times:
                    site.kills.pop(0)
        elif self.cloud.faults.chance("run.kill"):
            delay = self.cloud.faults.draw("run.kill.delay") * site.typical
        if delay is None:
            return None
        return asyncio.get_running_loop().call_later(delay, instance.kill)

    def _site(self, service: str) -> Site:
        for site in self.sites.values():
            if site.revision.service == service:
                return site
        raise not_found(f"The service {service}")
