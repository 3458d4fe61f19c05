"""An HTTPS endpoint outside Google for tests: records requests, answers what it is told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.localcloud.client import LocalCloud


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

        do_GET = do_PUT = do_POST  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    cloud.post("/hosts", {"host": host, "port": server.server_address[1]})
    try:
        yield target
    finally:
        server.shutdown()
        server.server_close()
