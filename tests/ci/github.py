"""GitHub as delivery meets it: tokens that it would sign, and the few API calls that are made."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

BOT = "github-actions[bot]"


class Fake:
    """Comments, issues and pull requests of one repository, over HTTP on loopback."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.issues: list[dict[str, Any]] = []
        self.pulls: dict[str, list[dict[str, Any]]] = {}  # by merge commit
        self.calls: list[tuple[str, str]] = []
        self.url = ""

    def add_comment(self, number: int, body: str, author: str = BOT) -> None:
        held = {"id": len(self.comments) + 1, "issue": number, "body": body}
        self.comments.append(held | {"user": {"login": author}})

    def answer(self, verb: str, target: str, body: Any) -> tuple[int, Any]:
        url = urlsplit(target)
        path, query = url.path, parse_qs(url.query)
        self.calls.append((verb, path))
        page = int(query.get("page", ["1"])[0])
        size = int(query.get("per_page", ["30"])[0])

        def paged(rows: list[dict[str, Any]]) -> tuple[int, Any]:
            return 200, rows[(page - 1) * size : page * size]

        root = "/repos/o/r"
        if match := re.fullmatch(rf"{root}/issues/(\d+)/comments", path):
            number = int(match[1])
            if verb == "GET":
                return paged([c for c in self.comments if c["issue"] == number])
            self.add_comment(number, body["body"])
            return 201, self.comments[-1]
        if match := re.fullmatch(rf"{root}/issues/comments/(\d+)", path):
            self.comments[int(match[1]) - 1] |= body
            return 200, self.comments[int(match[1]) - 1]
        if path == f"{root}/issues":
            if verb == "GET":
                return paged([i for i in self.issues if i["state"] == query["state"][0]])
            fresh = {"number": len(self.issues) + 1, "state": "open", "user": {"login": BOT}}
            self.issues.append(fresh | body)
            return 201, self.issues[-1]
        if match := re.fullmatch(rf"{root}/issues/(\d+)", path):
            self.issues[int(match[1]) - 1] |= body
            return 200, self.issues[int(match[1]) - 1]
        if match := re.fullmatch(rf"{root}/commits/(\w+)/pulls", path):
            return 200, self.pulls.get(match[1], [])
        return 404, {"message": "Not Found"}


@contextmanager
def fake() -> Iterator[Fake]:
    """A fake GitHub, served while the block runs."""
    github = Fake()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            code, answer = github.answer(self.command, self.path, body)
            if self.headers.get("Authorization") != "Bearer token-of-the-job":
                code, answer = 401, {"message": "Bad credentials"}
            data = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _handle

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    github.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
