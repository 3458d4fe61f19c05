"""The instances of a function's revision: started on demand, shared out, replaced, ended."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..functions.build import Environment
from .instances import Instance, Result, StartFailed
from .programs import payload

if TYPE_CHECKING:
    from .service import Run

IDLE = 900.0  # seconds on the clock after which a surplus instance ends
QUEUE = 0.2  # seconds that a request waits before another instance is started for it
START = 240.0  # seconds that an instance may take to listen, as Google's startup probe
STARTS = 2  # at a time: more would only make each of them slower
WATCH = 0.2  # seconds between two looks at the memory of an instance
PAGES = {
    401: ("Unauthorized", "Your client does not have permission to the requested URL."),
    403: ("Forbidden", "Your client does not have permission to get this URL from this server."),
    404: ("Page not found", "The requested URL was not found on this server."),
}
TEXTS = {
    413: "Request Entity Too Large",
    429: "Rate exceeded.",
    503: "Service Unavailable",
    504: "upstream request timeout",
}


class Refused(Exception):
    """An answer that does not come from the function."""

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers

    def result(self) -> Result:
        if self.status not in PAGES:
            body, kind = TEXTS[self.status], "text/plain"
        else:
            title, text = PAGES[self.status]
            kind = "text/html; charset=UTF-8"
            body = (
                f"<html><head>\n<title>{self.status} {title}</title>\n</head>\n"
                f"<body><h1>Error: {title}</h1>\n<h2>{text}</h2>\n</body></html>\n"
            )
        return Result(self.status, {"content-type": kind} | self.headers, body.encode())


@dataclass(frozen=True, slots=True)
class Revision:
    """What a deployment runs.

    Attributes:
        name: of the revision, such as "files-dev-bridge-00001-abc".
        source: folder of the unpacked zip.
        target: entry point.
        variables: declared environment.
        account: email of the runtime service account.
        memory: bytes; cpu: cores; timeout: seconds.
        minimum, maximum: number of instances; concurrency: requests at a time in each.
        ingress: ALLOW_ALL, ALLOW_INTERNAL_ONLY or ALLOW_INTERNAL_AND_GCLB.
        urls: addresses that are valid audiences; the first is the service's own.
    """

    project: str
    location: str
    service: str
    name: str
    source: Path
    environment: Environment
    target: str
    variables: dict[str, str]
    account: str
    memory: int
    cpu: float
    concurrency: int
    timeout: int
    minimum: int
    maximum: int
    ingress: str
    urls: tuple[str, ...]

    @property
    def resource(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/services/{self.service}"


class Fleet:
    """The instances of one revision: started on demand, replaced when they die."""

    def __init__(self, run: Run, revision: Revision) -> None:
        self.run, self.revision = run, revision
        self.instances: list[Instance] = []
        self.starting = 0
        self.retired = False
        self.lines: deque[str] = deque(maxlen=20)  # written last, to explain a failed start
        self._waiting: deque[asyncio.Future[Instance]] = deque()
        self._serial = 0
        self._reaper: Any = None

    async def acquire(self) -> Instance:
        """An instance with room for one more request, which must be released.

        Raises:
            Refused: 429 when all are full for a while, 503 when none can be started.
        """
        if not self._waiting and (instance := self._free()):
            self._take(instance)
            return instance
        future: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            # An instance more costs a second of a core: a short queue is left to those there are.
            if self.instances and (await asyncio.wait((future,), timeout=QUEUE))[0]:
                return future.result()
            self.grow()
            while not (await asyncio.wait((future,), timeout=self.run.pending))[0]:
                if not self.starting:
                    raise Refused(429, "saturated")
            return future.result()
        except StartFailed:
            raise Refused(503, "the instance could not start") from None
        except BaseException:
            if future.done() and not future.cancelled() and not future.exception():
                self.release(future.result())
            future.cancel()
            if future in self._waiting:
                self._waiting.remove(future)
            raise

    def release(self, instance: Instance) -> None:
        instance.busy -= 1
        instance.served += 1
        instance.idle_since = self.run.cloud.clock.now()
        if instance.alive and time.monotonic() - instance.sampled > WATCH:
            instance.sampled = time.monotonic()
            self.run.gauge(self.revision, "memory", instance.memory(exact=True), pid=instance.pid)
        self._hand_out()
        if self.retired and not instance.busy:
            self._end(instance)
        elif self._reaper is None and len(self.instances) > max(1, self.revision.minimum):
            self._reaper = self.run.cloud.clock.call_later(IDLE, self._reap)

    def grow(self) -> None:
        """Starts instances for the requests that wait, and up to the minimum."""
        revision = self.revision
        while (
            self.starting < STARTS
            and (there := len(self.instances) + self.starting) < revision.maximum
            and (
                len(self._waiting) > self.starting * revision.concurrency
                or (there < revision.minimum and not self.retired)
            )
        ):
            self.starting += 1
            self.run.spawn(self._start_one())

    async def start(self) -> Instance:
        """One more instance, listening. Raises StartFailed."""
        run, revision = self.run, self.revision
        self._serial += 1
        folder = run.cloud.folder / "instances" / f"{revision.name}-{self._serial}"
        instance = Instance(folder, self._log, self._ended)
        run.instances[instance] = self
        variables = await run.variables(revision)
        try:
            await instance.start(
                revision.environment.python, revision.source, revision.target, variables, START
            )
        finally:
            if not instance.pid:
                run.instances.pop(instance, None)
        instance.idle_since = run.cloud.clock.now()
        self.instances.append(instance)
        run.gauge(revision, "start_seconds", round(instance.seconds, 3), pid=instance.pid)
        self._hand_out()
        if self.retired and not instance.busy:
            self._end(instance)
        return instance

    def retire(self) -> None:
        """Ends the instances: idle ones now, busy ones after their request."""
        self.retired = True
        for instance in self.instances:
            if not instance.busy:
                self._end(instance)

    async def _start_one(self) -> None:
        failed = False
        try:
            await self.start()
        except StartFailed:
            failed = True
            for _ in range(min(self.revision.concurrency, len(self._waiting))):
                if not (future := self._waiting.popleft()).done():
                    future.set_exception(StartFailed())
        finally:
            self.starting -= 1
        if self._waiting or not failed:  # nobody waits: no loop of starts that fail
            self.grow()

    def _free(self) -> Instance | None:
        room = self.revision.concurrency
        free = [i for i in self.instances if i.busy < room and i.alive and not i.draining]
        return min(free, key=lambda i: i.busy) if free else None

    def _take(self, instance: Instance) -> None:
        instance.busy += 1
        self.run.watch()

    def _hand_out(self) -> None:
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
            elif instance := self._free():
                self._take(instance)
                self._waiting.popleft().set_result(instance)
            else:
                break

    def _end(self, instance: Instance) -> None:
        instance.draining = True
        instance.client.close()
        instance.kill(signal.SIGTERM)
        asyncio.get_running_loop().call_later(10, instance.kill)

    def _reap(self) -> None:
        # The last instance stays, unlike at Google: a test that lets hours pass would otherwise
        # pay a cold start for each of them.
        self._reaper = None
        now = self.run.cloud.clock.now()
        surplus = len(self.instances) - max(1, self.revision.minimum)
        idle = [i for i in self.instances if not i.busy and i.idle_since <= now - IDLE]
        for instance in idle[: max(0, surplus)]:
            self._end(instance)
        if surplus > len(idle):
            self._reaper = self.run.cloud.clock.call_later(IDLE, self._reap)

    def _log(self, line: str) -> None:
        self.lines.append(line)
        content = payload(line)
        severity = content.get("severity", "DEFAULT") if isinstance(content, dict) else "DEFAULT"
        self.run.log(self.revision, str(severity), content)

    def _ended(self, instance: Instance) -> None:
        self.run.instances.pop(instance, None)
        if instance in self.instances:
            self.instances.remove(instance)
            if not instance.draining and not self.retired and not self.run.stopping:
                self.run.log(self.revision, "WARNING", "Container ended; it is replaced on demand.")
                self.grow()
