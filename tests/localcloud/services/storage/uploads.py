"""Uploads to Cloud Storage: in one request (media, multipart) and resumable, for browsers, too.

A session's address is a bearer by itself: whoever has it may write, as whoever started it, and a
page whose origin started it may read the answers.
https://docs.cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import Response

from ...core.api import Call, Json, rpc
from ...core.errors import ApiError
from ...core.identity import Principal
from .buckets import DAY, resource
from .media import Multipart, Writer, announced
from .store import Store, named

if TYPE_CHECKING:
    from ...core.server import Cloud

WEEK = 7 * DAY  # that a session lives
PRECONDITIONS = {
    f"if{w}{m}" for w in ("Generation", "Metageneration") for m in ("Match", "NotMatch")
}


@dataclass
class Session:
    """A resumable upload.

    Attributes:
        origin: of the page that may read the answers; "" where no page started it.
    """

    bucket: str
    params: Json
    meta: Json
    principal: Principal
    writer: Writer
    started: float
    origin: str = ""
    done: Json | None = None


class Uploads(Store):
    """The part of Cloud Storage that takes contents in."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.sessions: dict[str, Session] = {}

    def session(self, number: str | None) -> Session | None:
        """The session of this id, unless it was cancelled or has outlived its week."""
        found = self.sessions.get(number or "")
        live = found and self.cloud.clock.now() - found.started <= WEEK
        return found if live else None

    def _forget_uploads(self, now: float) -> None:
        for number, session in list(self.sessions.items()):
            if now - session.started > WEEK:
                del self.sessions[number]
                if not session.done:
                    session.writer.discard()

    @rpc("storage.objects.insert")
    async def insert_object(self, call: Call) -> Json | Response:
        assert call.request
        request, params, kind = call.request, call.params, call.params.get("uploadType")
        if "upload_id" in params:
            session = self.session(params["upload_id"])
            if session is None:
                raise ApiError(404, "No such upload session; it may have ended or expired.")
            async with self.cloud.faults.around(call.method, session.principal):
                return await self._resume(call, session)
        if kind == "resumable":
            async with self.cloud.faults.around(call.method, call.principal):
                return await self._begin(call)
        bucket = self.bucket(params["bucket"])
        if kind == "multipart":
            multipart = Multipart(request)
            await multipart.start()
            await multipart.headers()
            meta = self._check("Object", _json(await multipart.small()))
            part = await multipart.headers()
            if "content-type" in part:
                meta.setdefault("contentType", part["content-type"])
            chunks = multipart.rest()
        else:
            meta, chunks = {}, request.stream()
            if "content-type" in request.headers:
                meta["contentType"] = request.headers["content-type"]
        name = params["name"] = named(params, meta)
        async with self.cloud.faults.around(call.method, call.principal, name):
            self.cloud.iam.require(
                call.principal, "storage.objects.create", resource(bucket.name, name)
            )
            writer = await self._writer().fill(chunks)
            meta = announced(request) | meta
            return self._commit(bucket, name, writer.finish(), meta, params, call.principal).meta

    async def _begin(self, call: Call) -> Response:
        assert call.request
        request, params = call.request, call.params
        bucket = self.bucket(params["bucket"])
        body = await request.body()
        meta = self._check("Object", _json(body) if body else {})
        if "x-upload-content-type" in request.headers:
            meta.setdefault("contentType", request.headers["x-upload-content-type"])
        name = named(params, meta)
        self.cloud.iam.require(
            call.principal, "storage.objects.create", resource(bucket.name, name)
        )
        self._may_write(bucket, name, params, call.principal)
        self._sweep_daily()
        number = secrets.token_urlsafe(24)
        started = self.cloud.clock.now()
        self.sessions[number] = Session(
            bucket.name,
            params | {"name": name},
            announced(request) | meta,
            call.principal,
            self._writer(),
            started,
            request.headers.get("origin", ""),
        )
        path = request.scope["raw_path"].decode("ascii")
        query = {k: params[k] for k in PRECONDITIONS if k in params}
        query |= {"uploadType": "resumable", "upload_id": number}
        uri = f"https://{request.url.hostname}{path}?{urlencode(query)}"
        return Response(headers={"location": uri, "x-guploader-uploadid": number})

    async def _resume(self, call: Call, session: Session) -> Json | Response:
        """A chunk of a resumable upload, or the question how far it has come.

        `bytes 0-*/*`, as Google's client for Node.js sends it, means "to the end of this request".
        """
        assert call.request
        request, number = call.request, call.params["upload_id"]
        if session.done:
            return session.done
        if request.method == "DELETE":
            self.sessions.pop(number).writer.discard()
            return Response(status_code=499)
        header = request.headers.get("content-range", "bytes 0-*/*")
        match = re.fullmatch(r"bytes (?:(\d+)-(\d+|\*)|\*)/(\d+|\*)", header)
        if not match:
            raise ApiError(400, f"Invalid Content-Range: {header}")
        writer = session.writer
        if match[1] is not None:
            known = writer.size - int(match[1])
            if known < 0:
                raise ApiError(
                    503,
                    f"According to the Content-Range header, the upload offset is "
                    f"{match[1]} byte(s), which exceeds already uploaded size of "
                    f"{writer.size} byte(s).",
                )
            about, broken = (session.principal.member, session.params["name"]), None
            async for data in request.stream():
                fresh, known = data[known:], max(0, known - len(data))
                sent = writer.size + len(fresh)
                if broken := broken or self.cloud.faults.strike(call.method, *about, sent):
                    fresh = fresh[: max(0, (broken.bytes or 0) - writer.size)]
                if fresh:
                    writer.write(fresh)
            if broken:
                raise ApiError(broken.code, "Injected fault in the middle of an upload")
        whole = (match[2], match[3]) == ("*", "*")
        if not whole and match[3] != str(writer.size):
            status = {"range": f"bytes=0-{writer.size - 1}"} if writer.size else {}
            if request.headers.get("x-guploader-no-308") == "yes":  # Go's client
                return Response(headers=status | {"x-http-status-code-override": "308"})
            return Response(status_code=308, headers=status)
        # Preconditions lie in the address alone: whoever changes it there changes them.
        params = {k: v for k, v in session.params.items() if k not in PRECONDITIONS}
        params |= {k: v for k, v in call.params.items() if k in PRECONDITIONS}
        meta = announced(request) | session.meta
        try:
            bucket = self.bucket(session.bucket)
            stored = self._commit(
                bucket, params["name"], writer.finish(), meta, params, session.principal
            )
        except ApiError:
            self.sessions.pop(number, None)
            writer.discard()
            raise
        session.done = stored.meta
        return stored.meta


def _json(body: bytes) -> Json:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise ApiError(400, f"Invalid JSON payload received. {error}") from error
    if not isinstance(value, dict):
        raise ApiError(400, "Invalid JSON payload received. Not an object.")
    return value
