"""Contents of objects on their way in and out: checksums, multipart bodies, downloads.

Nothing here holds a content in memory: bytes go from the socket to a file and back in chunks, and
the checksums are made on the way.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import google_crc32c
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ...core.errors import ApiError

Json = dict[str, Any]
CHUNK = 256 * 1024


@dataclass(slots=True)
class Content:
    """A content at rest: its file, and its checksums (base64) by the API's field names."""

    path: Path
    size: int
    sums: dict[str, str]

    def link(self, path: Path) -> Content:
        """The same content under another path; contents never change, so no copy is needed."""
        os.link(self.path, path)
        return Content(path, self.size, self.sums)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


class Writer:
    """A content being written: to a file of its own, and into its checksums."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file = path.open("wb", buffering=0)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._md5.update(data)
        self._crc.update(data)
        self.size += len(data)

    def copy(self, source: Path) -> None:
        with source.open("rb") as file:
            while data := file.read(CHUNK):
                self.write(data)

    async def fill(self, chunks: AsyncIterator[bytes]) -> Writer:
        """Writes all chunks; leaves nothing behind when the sender goes away."""
        try:
            async for data in chunks:
                self.write(data)
        except BaseException:
            self.discard()
            raise
        return self

    def finish(self) -> Content:
        self._file.close()
        sums = {"md5Hash": self._md5.digest(), "crc32c": self._crc.digest()}
        encoded = {name: base64.b64encode(digest).decode() for name, digest in sums.items()}
        return Content(self.path, self.size, encoded)

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def announced(request: Request) -> dict[str, str]:
    """The checksums that the headers promise: `x-goog-hash: crc32c=…,md5=…`."""
    names = {"crc32c": "crc32c", "md5": "md5Hash"}
    sums = {}
    for line in request.headers.getlist("x-goog-hash"):
        for item in line.split(","):
            kind, _, value = item.strip().partition("=")
            if kind in names:
                sums[names[kind]] = value
    return sums


class Multipart:
    """A multipart/related body: small leading parts one by one, the last one in chunks.

    Boundaries come bare, in double and in single quotes; lines end in CRLF or LF.
    """

    def __init__(self, request: Request) -> None:
        header = request.headers.get("content-type", "")
        found = re.search(r"""boundary=("[^"]+"|'[^']+'|[^;\s]+)""", header)
        if not found:
            raise ApiError(400, "The multipart request has no boundary.")
        self._boundary = b"--" + found[1].strip("\"'").encode()
        self._stream = request.stream()
        self._held = b""
        self._newline = b""

    async def start(self) -> None:
        await self._until(self._boundary)
        self._newline = b"\r\n" if (await self._until(b"\n")).endswith(b"\r") else b"\n"

    async def headers(self) -> dict[str, str]:
        """The headers of the part that begins here, by lower-case name."""
        lines = (await self._until(self._newline * 2)).decode("utf-8", "replace").splitlines()
        pairs = (line.partition(":") for line in lines)
        return {name.strip().lower(): value.strip() for name, _, value in pairs}

    async def small(self) -> bytes:
        """The content of a part that is not the last."""
        content = await self._until(self._newline + self._boundary)
        await self._until(b"\n")
        return content

    async def rest(self) -> AsyncIterator[bytes]:
        """The content of the last part."""
        end = self._newline + self._boundary
        while (place := self._held.find(end)) < 0:
            # The end may lie across two chunks: keep as much as could be its beginning.
            safe = len(self._held) - len(end) + 1
            if safe > 0:
                yield self._held[:safe]
                self._held = self._held[safe:]
            await self._more()
        yield self._held[:place]
        async for _ in self._stream:  # what follows the closing boundary
            pass

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._held:
            if len(self._held) > 1 << 20:
                raise ApiError(400, "A leading part of the multipart request is too long.")
            await self._more()
        before, _, self._held = self._held.partition(mark)
        return before

    async def _more(self) -> None:
        data = b""
        while not data:
            try:
                data = await anext(self._stream)
            except StopAsyncIteration:
                raise ApiError(400, "The multipart request ends within a part.") from None
        self._held += data


_HEADERS = {
    "contentType": "content-type",
    "contentDisposition": "content-disposition",
    "contentLanguage": "content-language",
    "cacheControl": "cache-control",
}


def download(path: Path, meta: Json, request: Request) -> Response:
    """The content of one generation, or the range of it that the request asks for.

    Raises:
        ApiError: 416 for a range outside the content.
    """
    response = _content(path, meta, request)
    sums = [f"crc32c={meta['crc32c']}"] + ([f"md5={meta['md5Hash']}"] if "md5Hash" in meta else [])
    json_api = request.scope["path"].startswith(("/storage/v1/", "/download/"))
    # The XML API gives each a line of its own, and Go's client relies on it; Python's on the comma.
    for line in [",".join(sums)] if json_api else sums:
        response.headers.append("x-goog-hash", line)
    return response


class Broken(Response):
    """A response whose connection breaks off after so many bytes of its body."""

    def __init__(self, whole: Response, size: int) -> None:
        self._whole, self._left = whole, size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def passed(message: Message) -> None:
            if message["type"] == "http.response.body":
                body = message.get("body", b"")[: self._left]
                self._left -= len(body)
                message = {"type": "http.response.body", "body": body, "more_body": True}
            await send(message)
            if not self._left:
                scope["transport"].close()

        await self._whole(scope, receive, passed)


def _content(path: Path, meta: Json, request: Request) -> Response:
    size = int(meta["size"])
    headers = {header: meta[field] for field, header in _HEADERS.items() if field in meta}
    headers.setdefault("content-type", "application/octet-stream")
    encoding = meta.get("contentEncoding")
    headers |= {
        "etag": f'"{meta["etag"]}"',
        "accept-ranges": "bytes",
        "x-goog-generation": meta["generation"],
        "x-goog-metageneration": meta["metageneration"],
        "x-goog-storage-class": meta["storageClass"],
        "x-goog-stored-content-encoding": encoding or "identity",
        "x-goog-stored-content-length": meta["size"],
    }
    headers |= {f"x-goog-meta-{k}": v for k, v in meta.get("metadata", {}).items() if _plain(k + v)}
    if encoding == "gzip" and not (
        "gzip" in request.headers.get("accept-encoding", "")
        or "no-transform" in meta.get("cacheControl", "")
    ):
        # Decompressive transcoding: no length, no ranges.
        headers["warning"] = "214 UploadServer gunzipped"
        return StreamingResponse(_gunzipped(path), headers=headers)
    if encoding:
        headers["content-encoding"] = encoding
    first, last, status = 0, size - 1, 200
    if found := re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", "")):
        if found[1]:
            first, last = int(found[1]), min(int(found[2] or size), size - 1)
        elif found[2]:
            first = max(0, size - int(found[2]))
        if first > last:
            raise ApiError(416, "The requested range cannot be satisfied.")
        status = 206
        headers["content-range"] = f"bytes {first}-{last}/{size}"
    length = last - first + 1
    if length <= CHUNK:
        with path.open("rb") as file:
            file.seek(first)
            return Response(file.read(length), status, headers)
    headers["content-length"] = str(length)
    return StreamingResponse(_part(path, first, length), status, headers)


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


async def _part(path: Path, first: int, length: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(first)
        while length > 0 and (data := file.read(min(CHUNK, length))):
            length -= len(data)
            yield data


async def _gunzipped(path: Path) -> AsyncIterator[bytes]:
    inflate = zlib.decompressobj(31)
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            while data:
                yield inflate.decompress(data, CHUNK)
                data = inflate.unconsumed_tail
    yield inflate.flush()


_XML_CODES = {
    401: "AuthenticationRequired",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    416: "InvalidRange",
    503: "ServiceUnavailable",
}


def xml_error(error: ApiError) -> Response:
    """An error as the XML API shapes it."""
    missing = "bucket does not exist" in error.message
    usual = "NoSuchBucket" if missing else _XML_CODES.get(error.code, "InternalError")
    elements = {
        "Code": getattr(error, "xml_code", usual),
        "Message": error.message,
        **getattr(error, "elements", {"Details": error.message}),
    }
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements.items())
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error>{inner}</Error>"
    return Response(body, error.code, media_type="application/xml; charset=UTF-8")
