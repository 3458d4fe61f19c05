"""The portal's contract on loopback, in memory: what the browser's side is tested against where a
test has to break the connection at a byte, let a token expire, or hold a state for as long as it
takes to look. The portal itself: tests/portal/test_browser.py.
"""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image, UnidentifiedImageError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parents[2] / "functions/upload/upload/static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
EXPOSED = ["ETag", "Retry-After", "Range"]


@dataclass
class File:
    name: str
    size: int
    content_type: str
    data: bytearray = field(default_factory=bytearray)
    turn: int = 0  # of the request that may write: a later one ends those before it
    arrived: int = 0  # bytes that came over the wire, those sent twice included
    complete: bool = False
    status: str = "waiting"
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Fake:
    """What a test may ask of it."""

    files: dict[str, File] = field(default_factory=dict)  # by file_id
    keys: dict[str, str] = field(default_factory=dict)  # Idempotency-Key → file_id
    sessions: dict[str, str] = field(default_factory=dict)  # of an upload → file_id
    calls: list[str] = field(default_factory=list)
    bytes_per_second: float = 0  # 0: as fast as it goes
    break_after: int | None = None  # bytes of a file, once; then it is down
    down: bool = False  # every connection ends unanswered
    token: str | None = None  # the one that is valid, where one is needed
    no_streams: bool = False
    early: bool = False  # that a file is there already is said before its bytes are sent
    forget_answer: bool = False  # the next complete upload's answer is lost, and its session
    hold: bool = False  # nothing is processed
    approval: dict[str, dict[str, Any]] = field(default_factory=dict)  # name → what is told of it
    held: int = 0  # nor the first so many files
    open: int = 0  # requests under way
    unchanged: int = 0  # answers of 304
    watched: list[int] = field(default_factory=list)  # files of each stream
    url: str = ""

    def idle(self) -> bool:
        return self.open == 0

    def named(self, name: str) -> File:
        return next(one for one in self.files.values() if one.name == name)

    def document(self, file_id: str) -> dict[str, Any]:
        file = self.files.get(file_id)
        if file is None:
            return {"file_id": file_id, "status": "waiting"}
        held = self.hold or file_id in list(self.files)[: self.held]
        if file.complete and not held and file.status in ("waiting", "processing"):
            self._process(file_id, file)
        told = {"file_id": file_id, "status": file.status, **file.facts}
        return told | self.approval.get(file.name, {})

    def _process(self, file_id: str, file: File) -> None:
        if not file.content_type.startswith("image/"):
            text = {"encoding": "utf-8", "lines": file.data.count(b"\n")}
            file.status = "done"
            detected = {"contentType": "text/plain", "matchesDeclared": True}
            file.facts = {"facts": {"detected": detected, "text": text}, "outputs": []}
            return
        try:
            with Image.open(io.BytesIO(file.data)) as image:
                image.load()
        except (UnidentifiedImageError, OSError):
            file.status, detail = "failed", "The image ends too early."
            file.facts = {"reason": "truncated_image", "detail": detail, "retryable": False}
            return
        facts = {"format": image.format, "width": image.width, "height": image.height}
        image.thumbnail((300, 300))
        out = io.BytesIO()
        image.convert("RGB").save(out, "JPEG", quality=85)
        self.files[f"{file_id}/thumbnail"] = File(
            "thumbnail.jpg", 0, "image/jpeg", bytearray(out.getvalue())
        )
        file.status = "done"
        thumbnail = {
            "name": "thumbnail", "url": f"{self.url}/storage/{file_id}/thumbnail",
            "url_expires": "2100-01-01T00:00:00Z", "contentType": "image/jpeg",
            "size": out.tell(), "width": image.width, "height": image.height,
        }  # fmt: skip
        detected = {"contentType": file.content_type, "matchesDeclared": True}
        file.facts = {"facts": {"detected": detected, "image": facts}, "outputs": [thumbnail]}


class _Broken(Exception):
    pass


def _app(fake: Fake) -> Starlette:
    async def begin(request: Request) -> Response:
        fields, key = await request.json(), request.headers["idempotency-key"]
        if fields["size"] > 100 * 2**20:
            detail = "The folder files takes files of at most 104857600 bytes."
            return _problem(413, detail, limit=100 * 2**20)
        file_id = fake.keys.setdefault(key, f"files-{secrets.token_hex(16)}")
        fake.files.setdefault(file_id, File(fields["name"], fields["size"], fields["contentType"]))
        upload = secrets.token_hex(8)
        fake.sessions[upload] = file_id
        links = {"status": f"{fake.url}/files/{file_id}"}
        answer = {"method": "PUT", "url": f"{fake.url}/storage/sessions/{upload}"}
        there = fake.early and fake.files[file_id].complete
        body = {"status": "accepted", "file_id": file_id, "links": links}
        return JSONResponse(body | {"upload": None if there else answer}, 200 if there else 201)

    async def put(request: Request) -> Response:
        file_id = fake.sessions.get(request.path_params["upload"])
        if file_id is None:
            return Response(status_code=404)
        file = fake.files[file_id]
        file.turn += 1
        if request.method == "DELETE":
            return Response(status_code=499)
        if file.complete:
            return Response(status_code=412)
        span = request.headers["content-range"].removeprefix("bytes ").partition("/")[0]
        if span != "*":
            await _receive(request, file, int(span.partition("-")[0]))
        if len(file.data) == file.size:
            file.complete = True
            if fake.forget_answer:
                fake.forget_answer, _ = False, fake.sessions.pop(request.path_params["upload"])
                raise _Broken
            return JSONResponse({})
        headers = {"Range": f"bytes=0-{len(file.data) - 1}"} if file.data else {}
        return Response(status_code=308, headers=headers)

    async def _receive(request: Request, file: File, offset: int) -> None:
        known, turn = len(file.data) - offset, file.turn
        async for piece in request.stream():
            if file.turn != turn:
                raise _Broken
            fresh, known = piece[known:] if known > 0 else piece, max(0, known - len(piece))
            file.data += fresh
            file.arrived += len(piece)
            if fake.break_after is not None and len(file.data) >= fake.break_after:
                fake.break_after, fake.down = None, True
                raise _Broken
            if fake.bytes_per_second:
                await asyncio.sleep(len(piece) / fake.bytes_per_second)

    async def status(request: Request) -> Response:
        document = fake.document(request.path_params["file_id"])
        etag = f'"{hash(json.dumps(document))}"'
        if request.headers.get("if-none-match") == etag:
            fake.unchanged += 1
            return Response(status_code=304, headers={"ETag": etag})
        return JSONResponse(document, headers={"ETag": etag, "Retry-After": "1"})

    async def events(request: Request) -> Response:
        if fake.no_streams:
            return _problem(503, "Too many streams.", {"Retry-After": "1"})
        wanted = request.query_params.getlist("file_id")
        fake.watched.append(len(wanted))

        async def documents() -> AsyncIterator[str]:
            told: dict[str, str] = {}
            yield ": hello\n\n"
            while not await request.is_disconnected() and not fake.down:
                for file_id in wanted:
                    document = json.dumps(fake.document(file_id))
                    if told.get(file_id) != document:
                        told[file_id] = document
                        yield f"data: {document}\n\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(documents(), media_type="text/event-stream")

    async def output(request: Request) -> Response:
        file = fake.files[f"{request.path_params['file_id']}/thumbnail"]
        return Response(bytes(file.data), media_type=file.content_type)

    async def settings(request: Request) -> Response:
        folders = {"files": {"types": ["*/*"], "max_bytes": 100 * 2**20}}
        return JSONResponse({"access": "anyone", "folders": folders, "status": fake.url})

    routes = [
        Route("/files", begin, methods=["POST"]),
        Route("/files/{file_id}", status),
        Route("/events", events),
        Route("/settings", settings),
        Route("/storage/sessions/{upload}", put, methods=["PUT", "DELETE"]),
        Route("/storage/{file_id}/thumbnail", output),
    ]
    cors = Middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"],
        expose_headers=EXPOSED,
    )  # fmt: skip
    app = Starlette(routes=routes, middleware=[cors])
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


def _problem(
    status: int, detail: str, headers: dict[str, str] | None = None, **more: int
) -> Response:
    problem = {"title": detail, "detail": detail, "status": status} | more
    return JSONResponse(problem, status, headers)


class _Door:
    """Before the application: tokens, the page's policy, and connections that end unanswered."""

    def __init__(self, fake: Fake) -> None:
        self.fake, self.app = fake, _app(fake)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.fake.calls.append(f"{scope['method']} {scope['path']}")
        if self.fake.down:
            return  # uvicorn then closes the connection

        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start" and "/storage/" not in scope["path"]:
                message["headers"].append((b"content-security-policy", POLICY.encode()))
            await send(message)

        self.fake.open += 1
        try:
            answer = self._unauthorized(scope) or self.app
            await answer(scope, receive, with_policy)
        except (_Broken, ClientDisconnect):
            return
        finally:
            self.fake.open -= 1

    def _unauthorized(self, scope: Any) -> Any:
        headers = dict(scope["headers"])
        guarded = scope["path"].startswith(("/files", "/events")) and scope["method"] != "OPTIONS"
        wanted = f"Bearer {self.fake.token}".encode()
        if not self.fake.token or not guarded or headers.get(b"authorization") == wanted:
            return None
        allow = {"Access-Control-Allow-Origin": "*"}
        return _problem(401, "The token is not valid.", allow)


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An ASGI application on a port of 127.0.0.1: its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)


@contextmanager
def portal() -> Iterator[Fake]:
    fake = Fake()
    with served(_Door(fake)) as fake.url:
        yield fake
