"""Cloud Storage as far as a worker needs it: read one generation in order, create once.

One request for each read and each object, no look-ups before.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import secrets
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from contract.identity import Work
from processor.cloud import Body, unavailable
from processor.errors import PermanentError, TransientError
from processor.headers import HEAD_BYTES

Bytes = bytes | memoryview
PIECE_BYTES = 4 * 1024 * 1024
COPY_BYTES = 16 * 1024 * 1024  # in one request, where nothing but the file holds it
# A file up to here is asked for once: what comes after its head waits in the connection.
WHOLE_BYTES = 4 * 1024 * 1024
_JOINED_BYTES = 1024 * 1024  # what is larger is sent from where it is
_CHUNK_BYTES = 256 * 1024
# Answers of the 4xx kind that an outage, a missing permission or too many requests give.
_PASSING = frozenset({401, 403, 408, 429})


class Requests(Protocol):
    """A Cloud, as far as Storage knows it."""

    def request(
        self, method: str, path: str, headers: dict[str, str], body: Body = None
    ) -> urllib3.BaseHTTPResponse: ...


class Storage:
    """Raises TransientError storage_unavailable for whatever is neither success nor final."""

    def __init__(self, cloud: Requests, results_bucket: str) -> None:
        self._cloud = cloud
        self._results = (
            f"/upload/storage/v1/b/{results_bucket}/o"
            "?uploadType=multipart&ifGenerationMatch=0&fields=generation"
        )

    def open(self, work: Work, size: int | None) -> Content:
        """Reads the beginning. size: in bytes, None when unknown. Raises as Content does."""
        return Content(self._cloud, work, size)

    def create(
        self,
        name: str,
        data: Bytes,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
    ) -> bool:
        """One request. False: somebody was first, and what is there stays as it is."""
        fields: dict[str, Any] = {"name": name, "contentType": content_type, "crc32c": crc32c(data)}
        optional = {"metadata": metadata, "cacheControl": cache_control}
        fields |= {field: value for field, value in optional.items() if value}
        boundary = secrets.token_hex(16).encode()  # nothing that a file could hold
        parts: list[Bytes] = []
        for kind, part in (("application/json", json.dumps(fields).encode()), (content_type, data)):
            parts += [
                b"--%b\r\nContent-Type: %b\r\n\r\n" % (boundary, kind.encode()),
                part,
                b"\r\n",
            ]
        parts.append(b"--%b--\r\n" % boundary)
        size = sum(map(len, parts))
        headers = {
            "Content-Type": f"multipart/related; boundary={boundary.decode()}",
            "Content-Length": str(size),
        }
        body = b"".join(parts) if size <= _JOINED_BYTES else _Body(parts)
        answer = self._cloud.request("POST", self._results, headers, body)
        said = _read(answer)
        if answer.status == 200:
            return True
        # An account that may only create may be told, instead, that it may not overwrite.
        if answer.status == 412 or (answer.status == 403 and b"storage.objects.delete" in said):
            return False
        raise unavailable(answer.status)


class _Body(io.RawIOBase):
    """Parts, one after the other, as a file that can be sent again: only what is read is copied."""

    def __init__(self, parts: Sequence[Bytes]) -> None:
        self._parts, self._at = parts, 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, to: int, whence: int = io.SEEK_SET) -> int:
        self._at = to
        return to

    def readinto(self, buffer: Any) -> int:
        skip = self._at
        for part in self._parts:
            if skip < len(part):
                piece = part[skip : skip + len(buffer)]
                buffer[: len(piece)] = piece
                self._at += len(piece)
                return len(piece)
            skip -= len(part)
        return 0


class Content:
    """The bytes of one generation, in order, decompressed where they are stored as gzip.

    size counts stored bytes, None when unknown. Raises PermanentError source_gone, and
    TransientError source_unreadable for an answer about this object, not about a passing state:
    400 where it is encrypted with a key of the uploader's own, 410, 412.
    """

    def __init__(self, cloud: Requests, work: Work, size: int | None) -> None:
        self._stored, self._unzipped = _Stored(cloud, work, size), None
        self.head = self._stored.read(HEAD_BYTES)
        self.size = size if size and size > self._stored.at else None  # a task may err
        if self._stored.ended:
            self.size = self._stored.at
        self.is_gzip = self._stored.encoding == "gzip"
        if self.is_gzip:
            self._stored.put_back(self.head)
            self._unzipped = gzip.GzipFile(fileobj=io.BufferedReader(self._stored, PIECE_BYTES))
            self.head = self._read(HEAD_BYTES)

    @property
    def seconds(self) -> float:
        """Spent waiting for Cloud Storage."""
        return self._stored.seconds

    def pieces(self, limit: int) -> Iterator[bytes]:
        """Everything, once. Raises PermanentError beyond `limit` bytes, or for broken gzip."""
        piece, total = self.head, 0
        while piece:
            total += len(piece)
            if total > limit:
                raise too_large(limit)
            yield piece
            piece = self._read(PIECE_BYTES)

    def all(self, limit: int) -> io.BytesIO:
        """Everything, in memory. Raises as pieces does."""
        file = io.BytesIO()
        self.write_to(file, limit)
        file.seek(0)
        return file

    def write_to(self, file: io.BytesIO | io.FileIO, limit: int) -> None:
        """Everything, into an empty file. Raises as pieces does."""
        if self._unzipped or self.size is None or self.size > limit:
            for piece in self.pieces(limit):
                file.write(piece)
        else:
            file.seek(self.size)
            file.truncate()  # room for all of it at once: growing copies
            file.seek(0)
            file.write(self.head)
            while not self._stored.ended:
                self._stored.copy(file, min(COPY_BYTES, self.size - self._stored.at))
            file.truncate()

    def close(self) -> None:
        """Whoever opened it closes it: a connection may wait in the middle of it."""
        self._stored.close()

    def verify(self, expected: str | None) -> None:
        """Raises TransientError when all was read and its crc32c is not the expected one."""
        if expected and self._stored.ended and _base64(self._stored.crc) != expected:
            raise TransientError("download_corrupted", "The bytes read do not match the checksum.")

    def _read(self, length: int) -> bytes:
        if not self._unzipped:
            return self._stored.read(length)
        try:
            return self._unzipped.read(length)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise PermanentError("corrupt_encoding", f"Stored as gzip, but: {error}.") from error


class _Stored(io.RawIOBase):
    """The bytes as they are stored, by ranged requests: one for each read, but for small files."""

    def __init__(self, cloud: Requests, work: Work, size: int | None) -> None:
        self._cloud, self._size = cloud, size
        self._path = (
            f"/download/storage/v1/b/{work.bucket}/o/{quote(work.name, safe='')}"
            f"?alt=media&generation={work.generation}"
        )
        self.at, self.crc, self.seconds, self.ended = 0, 0, 0.0, False
        self._asked = 0  # the end of what the answer has
        self.encoding: str | None = None
        self._put_back = b""
        self._answer: urllib3.BaseHTTPResponse | None = None  # whose rest is still to be read

    def put_back(self, data: bytes) -> None:
        """What the next readinto gives."""
        self._put_back = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data, self._put_back = self._put_back or self.read(len(buffer)), b""
        buffer[: len(data)] = data
        return len(data)

    def read(self, wanted: int = PIECE_BYTES) -> bytes:
        file = io.BytesIO()
        self.copy(file, wanted)
        return file.getvalue()

    def close(self) -> None:
        """Reads what was asked for and not needed, so that its connection serves the next file."""
        self._release()
        super().close()

    def _release(self) -> None:
        answer, self._answer = self._answer, None
        if answer:
            answer.drain_conn()
            answer.release_conn()

    def copy(self, file: io.BytesIO | io.FileIO, wanted: int) -> None:
        """Up to so many bytes, as they come. What breaks off is asked for once more."""
        if self.ended:
            return
        end, started = self.at + wanted, time.monotonic()
        try:
            for last_try in (False, True):
                try:
                    self._copy(file, end)
                    break
                except (HTTPError, OSError) as error:
                    if self._answer:
                        self._answer.close()
                    self._answer = None
                    if last_try:
                        raise unavailable(error) from error
        finally:
            self.seconds += time.monotonic() - started
        self.ended = self.at < end or self.at == self._size

    def _copy(self, file: io.BytesIO | io.FileIO, end: int) -> None:
        import google_crc32c

        self._answer = answer = self._answer or self._ask(end)
        while answer and (wanted := min(_CHUNK_BYTES, end - self.at)):
            if not (piece := answer.read(wanted, decode_content=False)):
                break
            file.write(piece)
            self.at += len(piece)
            self.crc = google_crc32c.extend(self.crc, piece)
        if self.at < end or self.at >= self._asked:
            self._release()

    def _ask(self, end: int) -> urllib3.BaseHTTPResponse | None:
        """None: nothing is there, or nothing more. Raises as Content does."""
        if self._size and self._size <= WHOLE_BYTES:
            end = max(end, self._size)
        self._asked = end
        # Else what is stored as gzip would come decompressed.
        headers = {"Accept-Encoding": "gzip", "Range": f"bytes={self.at}-{end - 1}"}
        answer = self._cloud.request("GET", self._path, headers)
        if answer.status in (200, 206):
            self.encoding = answer.headers.get("Content-Encoding")
            return answer
        _read(answer)
        if answer.status == 416:
            return None
        if answer.status == 404:
            detail = "This generation of the object exists no more."
            raise PermanentError("source_gone", detail)
        if answer.status in _PASSING or not 400 <= answer.status < 500:
            raise unavailable(answer.status)
        raise TransientError("source_unreadable", _refused(answer.status))


def _read(answer: urllib3.BaseHTTPResponse) -> bytes:
    """All of a short answer, so that its connection serves the next request."""
    try:
        return answer.read()
    except (HTTPError, OSError) as error:
        raise unavailable(error) from error
    finally:
        answer.release_conn()


def _refused(code: int) -> str:
    hint = "; is it encrypted with a key of the uploader's own?" if code == 400 else "."
    return f"Cloud Storage answers {code} to each read of this object{hint}"


def too_large(limit: int) -> PermanentError:
    return PermanentError("file_too_large", f"The file has more than {limit} bytes.")


def crc32c(data: Bytes) -> str:
    """As Cloud Storage writes it."""
    import google_crc32c

    crc = 0
    for at in range(0, len(data), PIECE_BYTES):  # a copy of each piece, as it takes no view
        crc = google_crc32c.extend(crc, bytes(data[at : at + PIECE_BYTES]))
    return _base64(crc)


def _base64(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()
