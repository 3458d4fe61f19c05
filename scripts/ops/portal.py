"""Page, upload and status of an environment's portal under one address of this machine.

    make portal ENV=dev PROJECT=my-project      then open the address that it prints

Requests go on to the two functions with the operator's own login, and, under /storage/, to Cloud
Storage with nothing but the session's or the signed URL's own key, so that a browser needs to reach
this address alone. Since whatever can talk to it acts as the operator, it listens on loopback and
refuses requests that a foreign page could have made: another Host (DNS rebinding), Origin or
Sec-Fetch-Site. It prints and keeps no address of a request, which may hold a key.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from .environment import terraform
from .login import Login
from .problems import Problem
from .tasks import Service

STORAGE = "https://storage.googleapis.com"
PIECE = 256 * 1024
DEFAULT_PORT = 8137
CONNECT, ANSWER = 10.0, 400.0  # seconds; a stream of events is silent for ten
KEYS = {"upload_id", "X-Goog-Signature"}  # what a URL of Cloud Storage must hold to be passed on
# Headers of one connection, and those that say who or where the browser is.
DROPPED = {
    *("accept-encoding", "connection", "content-length", "cookie", "expect", "host", "keep-alive"),
    *("origin", "proxy-authorization", "referer", "te", "trailer", "transfer-encoding", "upgrade"),
    "x-serverless-authorization",
}
UNSENT = {
    *("alt-svc", "connection", "content-encoding", "content-length", "date", "keep-alive"),
    *("cross-origin-resource-policy", "server", "set-cookie", "strict-transport-security"),
    "transfer-encoding",
}


@dataclass(frozen=True)
class Target:
    """Where the functions are. login: gives the header that lets the operator in, or none."""

    upload: str
    status: str
    login: Login | None = None


class Portal(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a page opens several connections at once, and so do many clients

    def __init__(self, target: Target, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.target = target
        here = self.server_address[1]
        self.hosts = {f"127.0.0.1:{here}", f"localhost:{here}"}
        self.sessions = threading.local()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def session(self) -> requests.Session:
        if not hasattr(self.sessions, "own"):
            self.sessions.own = requests.Session()
            self.sessions.own.auth = lambda request: request  # nobody's .netrc
        own: requests.Session = self.sessions.own
        own.cookies.clear()
        return own

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away; nothing is printed, since it could hold an address."""


class Refusal(Exception):
    def __init__(self, status: int, detail: str) -> None:
        self.status, self.detail = status, detail


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Portal

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the address of a request may hold a key."""

    def handle_any(self) -> None:
        try:
            self._guard()
            self._pass_on()
        except Refusal as refusal:
            self._refuse(refusal.status, refusal.detail)
        except Problem as problem:
            self._refuse(502, str(problem))
        except requests.RequestException as error:
            self._refuse(502, f"No answer came: {type(error).__name__}. Try again.")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_TRACE = handle_any

    def _guard(self) -> None:
        """Refuses what a page of somebody else's could have sent."""
        host = self.headers.get("Host", "")
        if host not in self.server.hosts:
            raise Refusal(
                403, "This address is for this machine alone: use the one that was printed."
            )
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise Refusal(403, "Another page's requests are not passed on.")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise Refusal(403, "Another page's requests are not passed on.")
        if len(self.headers.get_all("Host", [])) != 1:
            raise Refusal(400, "One Host is needed.")

    def _pass_on(self) -> None:
        url, function = self._where()
        dropped = DROPPED if function else DROPPED | {"authorization"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
        if function and self.server.target.login:
            headers |= self.server.target.login.header(function)
        headers["Accept-Encoding"] = "identity"
        with contextlib.closing(
            self.server.session().request(
                self.command,
                url,
                headers=headers,
                data=self._body(),
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT, ANSWER),
            )
        ) as answer:
            self._answer(answer, bool(function))

    def _where(self) -> tuple[str, str]:
        """The address that a request goes to, and the function's, "" for Cloud Storage."""
        if not self.path.startswith("/"):  # the server has made one slash of several
            raise Refusal(400, "The path must begin with a slash.")
        target, path = self.server.target, urlsplit(self.path).path
        if path.startswith("/storage/"):
            if not KEYS & parse_qs(urlsplit(self.path).query).keys():
                raise Refusal(404, "Only a session's or a signed address is passed on.")
            return STORAGE + self.path.removeprefix("/storage"), ""
        is_status = path.startswith("/files/") or path == "/events"
        base = target.status if is_status else target.upload
        return base + self.path, base

    def _body(self) -> Body | bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            self.close_connection = True
            raise Refusal(411, "Say how long the body is (Content-Length).")
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise Refusal(400, "Content-Length must be a number.")
        if int(length):
            return Body(self.rfile, int(length))
        return b"" if self.command in ("POST", "PUT", "PATCH") else None

    def _answer(self, answer: requests.Response, from_function: bool) -> None:
        kind = answer.headers.get("Content-Type", "")
        if from_function and answer.status_code in (401, 403) and kind.startswith("text/html"):
            raise Refusal(
                answer.status_code,
                "Google does not let this login call the function. It needs roles/run.invoker on "
                "it: callers of the portal's module. New bindings take minutes.",
            )
        events = kind.startswith("text/event-stream")
        told = from_function and ("json" in kind or events)
        content = self._told(answer.content) if told and not events else None
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in UNSENT and not name.lower().startswith("access-control-"):
                self.send_header(name, self._told(value.encode("latin-1")).decode("latin-1"))
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if not from_function:  # an upload must not run as this page
            self.send_header("Content-Security-Policy", "default-src 'none'; sandbox")
            self.send_header("X-Content-Type-Options", "nosniff")
        if content is not None:
            self._end(content)
        else:
            self._stream(answer, events)

    def _stream(self, answer: requests.Response, events: bool) -> None:
        length = answer.headers.get("Content-Length")
        bodiless = self.command == "HEAD" or answer.status_code in (204, 304)
        if length is not None:
            self.send_header("Content-Length", length)
        elif not bodiless:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if bodiless:
            return
        pieces = answer.raw.stream(PIECE, decode_content=False)
        for piece in self._events(pieces) if events else pieces:
            self.wfile.write(piece if length else b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        if length is None:
            self.wfile.write(b"0\r\n\r\n")

    def _events(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Whole events, with addresses of this machine."""
        held = b""
        for piece in pieces:
            whole, end, held = (held + piece).rpartition(b"\n\n")
            if end:
                yield self._told(whole + end)
        if held:
            yield held

    def _told(self, content: bytes) -> bytes:
        """With the functions' and Cloud Storage's addresses replaced by this one."""
        here = f"http://{self.headers['Host']}".encode()
        for base in {self.server.target.upload, self.server.target.status}:
            content = content.replace(base.encode(), here)
        return content.replace(STORAGE.encode() + b"/", here + b"/storage/")

    def _refuse(self, status: int, detail: str) -> None:
        self.close_connection = True  # what is left of the request is not read
        body = {"type": "about:blank", "status": status, "detail": detail}
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/problem+json")
            self.send_header("Connection", "close")
            self._end(json.dumps(body).encode())

    def _end(self, content: bytes) -> None:
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class Body:
    """A request's body as it comes, for `requests` to send with its length."""

    def __init__(self, source: BufferedIOBase, length: int) -> None:
        self._source, self._left, self._length = source, length, length

    def __len__(self) -> int:
        return self._length

    def __bool__(self) -> bool:
        return True

    def read(self, size: int = PIECE) -> bytes:
        """Raises ConnectionError when the sender goes away before the end."""
        wanted = min(PIECE if size < 0 else size, self._left)
        piece = self._source.read(wanted) if wanted else b""
        if len(piece) < wanted:
            raise requests.ConnectionError("the sender went away")
        self._left -= len(piece)
        return piece

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(PIECE):
            yield piece


def submit(environment: str, project: str) -> Target:
    """Where the environment's tasks are submitted. Raises Problem."""
    service = Service.of(environment, project)
    return Target(service.base, service.base, service.login)


def target(environment: str, project: str) -> Target:
    """Where the environment's portal is. Raises Problem."""
    outputs = json.loads(terraform(environment, "output", "-json", project=project) or "{}")
    portal = outputs.get("portal", {}).get("value")
    if not portal:
        raise Problem(
            f"{environment} has no output portal. Switch the portal on as environments/showcase "
            f"does, and apply: make apply ENV={environment} PROJECT={project or '…'}"
        )
    found = urlsplit(portal["upload"]).hostname or ""
    if not re.fullmatch(r"[a-z0-9.-]+", found):
        raise Problem(f"the output portal of {environment} names no host")
    login = Login() if portal["access"] == "iam" else None
    return Target(portal["upload"], portal["status"], login)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-e", "--environment", default="dev")
    parser.add_argument("--project", default="")
    parser.add_argument("--submit", action="store_true", help="the submit service of batch instead")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0: any that is free")
    parser.add_argument("--address-file", type=Path, help="written once it listens")
    arguments = parser.parse_args()
    try:
        found = (submit if arguments.submit else target)(arguments.environment, arguments.project)
        portal = Portal(found, arguments.port)
        if portal.target.login:
            portal.target.login.header(portal.target.upload)
    except Problem as problem:
        print(f"Cannot go on: {problem}.", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"Cannot go on: port {arguments.port}: {error.strerror}. PORT=0 takes any.",
            file=sys.stderr,
        )
        return 1
    if arguments.address_file:
        arguments.address_file.write_text(portal.address)
    what = "submit service" if arguments.submit else "portal"
    print(f"The {what} of {arguments.environment} is at {portal.address} until Ctrl-C.", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt):
        portal.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
