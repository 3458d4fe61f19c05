"""For tests of the senders: an endpoint outside Google, a gRPC channel, a service on its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import grpc

from tests.localcloud.client import LocalCloud
from tests.localcloud.core.api import Call, Service
from tests.localcloud.core.clock import Clock
from tests.localcloud.core.faults import Faults
from tests.localcloud.core.identity import Principal


@dataclass
class Got:
    """One request: `body` is parsed when it is JSON."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Receiver:
    """Requests in the order of their arrival; `answer(got)` gives the status, 200 by default."""

    url: str
    got: list[Got] = field(default_factory=list)
    answer: Callable[[Got], int] = lambda got: 200

    def statuses(self, *first: int, then: int = 200) -> None:
        """Answers these statuses to the next requests, then `then`."""
        rest = iter(first)
        self.answer = lambda got: next(rest, then)


@contextlib.contextmanager
def receiver(cloud: LocalCloud, name: str) -> Iterator[Receiver]:
    """A receiver that the local cloud reaches as https://NAME.example."""
    host = f"{name}.example"
    target = Receiver(f"https://{host}/in")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            try:
                body = json.loads(data)
            except ValueError:
                body = data
            got = Got(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            target.got.append(got)
            status = target.answer(got)
            if not status:  # the connection breaks off
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    cloud.post("/hosts", {"host": host, "port": server.server_address[1]})
    try:
        yield target
    finally:
        server.shutdown()
        server.server_close()


def grpc_channel(cloud: LocalCloud, host: str, token: str | None = None) -> grpc.Channel:
    """A channel through the door; the CA is named, as gRPC reads its variable once a process."""
    ssl = grpc.ssl_channel_credentials(cloud.bundle.read_bytes())
    bearer = grpc.access_token_call_credentials(token or cloud.token())
    return grpc.secure_channel(
        f"{host}:443",
        grpc.composite_channel_credentials(ssl, bearer),
        options=[("grpc.http_proxy", cloud.proxy)],
    )


class Inside:
    """A service alone in this process; every endpoint answers `status` at once.

    Attributes:
        got: (time, url, timeout in seconds) of each request.
    """

    def __init__(self, service: type[Service]) -> None:
        self.clock, self.faults, self.number = Clock(), Faults(self), "1"  # type: ignore[arg-type]
        self.got: list[tuple[float, str, float]] = []
        self.status = 200
        self.iam = SimpleNamespace(require=lambda *a: None, custom={})
        self.journal = SimpleNamespace(write=lambda *a, **k: None)
        self.house = SimpleNamespace(spawn=self.spawn)
        self.run = SimpleNamespace(invoke=self.invoke)
        self.spawned: set[asyncio.Task[None]] = set()
        self.service = service(self)  # type: ignore[arg-type]

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.spawned.add(task)
        task.add_done_callback(self.spawned.discard)

    async def invoke(
        self, url: str, verb: str, headers: Any, body: bytes, timeout: float, source: str
    ) -> Any:
        self.got.append((self.clock.now(), url, timeout))
        return SimpleNamespace(status=self.status)

    def call(self, handler: str, params: dict[str, Any], **body: Any) -> Any:
        return getattr(self.service, handler)(Call(handler, params, body, Principal("user:me")))
