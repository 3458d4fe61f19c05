"""Services of somebody else's: https://host/ as a test answers there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.localcloud.client import LocalCloud


@contextlib.contextmanager
def serving(
    cloud: LocalCloud, host: str, answer: Callable[[bytes, Any], tuple[int, bytes]]
) -> Iterator[int]:
    """answer(body, headers) → status, and JSON or nothing; called by any number of threads.

    Gives the port, where nobody listens any more once it is over.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, said = answer(body, self.headers)
            self.send_response(status)
            if said:
                self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    cloud.post("/hosts", {"host": host, "port": server.server_address[1]})
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
