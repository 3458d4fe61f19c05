"""The receivers of docs/applications.md as programs, and who calls them."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import requests

from tests.localcloud.client import ROOT
from tests.system.told import Told

PAGE = (ROOT / "docs/applications.md").read_text()


def receiver(language: str, tmp_path: Path) -> list[str]:
    """The page's receiver as a program, and the command that runs it."""
    (code,) = [
        text
        for text in re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)
        if "AUDIENCE" in text
    ]
    path = tmp_path / {"python": "receiver.py", "javascript": "receiver.mjs"}[language]
    path.write_text(code)
    return [sys.executable if language == "python" else "node", str(path)]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def port_of_certs(told: Told) -> int:
    """Node's fetch knows no proxy: Google's keys, served on loopback as they are."""
    keys = json.dumps(told.ask("GET", "https://www.googleapis.com/oauth2/v3/certs")).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(keys)))
            self.end_headers()
            self.wfile.write(keys)

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return int(server.server_address[1])


def deliver(port: int, token: str, record: str, status: str) -> int:
    attributes = {"objectId": record, "status": status}
    return requests.post(
        f"http://127.0.0.1:{port}/files", json={"message": {"attributes": attributes}},
        headers={"Authorization": f"Bearer {token}"}, timeout=30,
        proxies={"http": ""},
    ).status_code  # fmt: skip
