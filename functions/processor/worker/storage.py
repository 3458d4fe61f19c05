"""Cloud Storage as far as a worker needs it: read one generation in order, create once.

The JSON API over one pooled session: one request per download and per output, no look-ups before.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, cast
from urllib.parse import quote

import google_crc32c
import requests
import urllib3
from common.identity import Work

from worker.errors import PermanentError, TransientError

HOST = "https://storage.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
HEAD_BYTES = 256 * 1024  # the header of nearly every image, profiles and previews included
PIECE_BYTES = 1024 * 1024
TIMEOUT = (5, 60)  # seconds to connect, and to wait for the next bytes
_BOUNDARY = b"=-part-of-one-object-="


def authorized_session(threads: int) -> requests.Session:
    """A session with the function's own identity; a dropped or throttled request is tried again."""
    import google.auth
    from google.auth.transport.requests import AuthorizedSession
    from requests.adapters import HTTPAdapter

    retry = urllib3.Retry(
        total=2, backoff_factor=0.3, status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None, raise_on_status=False, respect_retry_after_header=False,
    )  # fmt: skip
    credentials, _ = google.auth.default(scopes=[SCOPE])
    session: requests.Session = AuthorizedSession(credentials)
    session.mount(HOST, HTTPAdapter(pool_maxsize=2 * threads, max_retries=retry))
    return session


class Storage:
    """Raises TransientError storage_unavailable for whatever is neither success nor final."""

    def __init__(self, session: requests.Session, results_bucket: str) -> None:
        self._session = session
        self._results = f"{HOST}/upload/storage/v1/b/{results_bucket}/o"

    def open(self, work: Work, expected_size: int, whole: bool) -> Source:
        """Begins to read. Raises PermanentError source_gone."""
        return Source(self, work, None if whole or expected_size <= HEAD_BYTES else HEAD_BYTES)

    def get(self, work: Work, start: int, end: int | None) -> requests.Response:
        """Bytes start … end - 1 as they are stored: gzip is not undone on the way."""
        url = f"{HOST}/storage/v1/b/{work.bucket}/o/{quote(work.name, safe='')}"
        headers = {"Accept-Encoding": "gzip"}
        if start or end:
            headers["Range"] = f"bytes={start}-{end - 1 if end else ''}"
        response = self._send(
            "GET", url, params={"alt": "media", "generation": work.generation}, headers=headers,
            stream=True,
        )  # fmt: skip
        if response.status_code == 404:
            response.close()
            raise PermanentError("source_gone", "This generation of the object exists no more.")
        if response.status_code not in (200, 206):
            raise _unavailable(response)
        return response

    def create(
        self, name: str, data: bytes, content_type: str, **fields: str | Mapping[str, str]
    ) -> bool:
        """One request. False: somebody was first, and what is there stays as it is."""
        resource = {
            "name": name, "contentType": content_type, "crc32c": crc32c(data), **fields,
        }  # fmt: skip
        body = b"\r\n".join(
            (
                b"--" + _BOUNDARY, b"Content-Type: application/json", b"",
                json.dumps(resource).encode(),
                b"--" + _BOUNDARY, b"Content-Type: " + content_type.encode(), b"", data,
                b"--" + _BOUNDARY + b"--", b"",
            )
        )  # fmt: skip
        response = self._send(
            "POST", self._results, data=body,
            params={"uploadType": "multipart", "ifGenerationMatch": "0", "fields": "generation"},
            headers={"Content-Type": b'multipart/related; boundary="' + _BOUNDARY + b'"'},
        )  # fmt: skip
        if response.status_code == 200:
            return True
        # An account that may only create is told 412 or, instead, that it may not overwrite.
        if response.status_code == 412 or (
            response.status_code == 403 and "storage.objects.delete" in response.text
        ):
            return False
        raise _unavailable(response)

    def _send(self, method: str, url: str, **options: Any) -> requests.Response:
        from google.auth.exceptions import GoogleAuthError

        try:
            return self._session.request(method, url, timeout=TIMEOUT, **options)
        except (requests.RequestException, GoogleAuthError) as error:
            raise _no_answer(error) from error


class Source:
    """The bytes of one generation, in order, decompressed where they are stored as gzip.

    size counts stored bytes. It may be closed at any time: the next read asks for what is missing.
    """

    def __init__(self, storage: Storage, work: Work, first_end: int | None) -> None:
        self._stored = _Stored(storage, work, first_end)
        readable = cast(IO[bytes], self._stored)
        self._file = gzip.GzipFile(fileobj=readable) if self._stored.is_gzip else readable
        self.size, self.is_gzip = self._stored.size, self._stored.is_gzip
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
        file = io.BytesIO()
        for piece in self.pieces(limit):
            file.write(piece)
        file.seek(0)
        return file

    def verify(self, expected: str | None) -> None:
        """Raises TransientError when all was read and its crc32c is not the expected one."""
        if expected and self._stored.checksum() not in (None, expected):
            raise TransientError("download_corrupted", "The bytes read do not match the checksum.")

    def close(self) -> None:
        self._stored.close()

    def _read(self, length: int) -> bytes:
        try:
            return self._file.read(length)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise PermanentError("corrupt_encoding", f"Stored as gzip, but: {error}.") from error


class _Stored:
    """The bytes as they are stored."""

    def __init__(self, storage: Storage, work: Work, first_end: int | None) -> None:
        self.seconds = 0.0
        self._storage, self._work = storage, work
        self._offset = 0
        self._crc = 0
        self._response: requests.Response | None = None
        response = self._request(first_end)
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        self.size = int(total or response.headers.get("Content-Length", "0"))
        self.is_gzip = response.headers.get("Content-Encoding") == "gzip"

    def read(self, length: int = -1) -> bytes:
        """Up to `length` bytes, empty at the end. A connection that broke is made anew once."""
        started = time.monotonic()
        try:
            for last_try in (False, True):
                if self._offset >= self.size:
                    break
                try:
                    response = self._response or self._request(None)
                    data: bytes = response.raw.read(length, decode_content=False)
                except (urllib3.exceptions.HTTPError, OSError) as error:
                    self.close()
                    if last_try:
                        raise _no_answer(error) from error
                    continue
                if data:
                    self._offset += len(data)
                    self._crc = google_crc32c.extend(self._crc, data)
                    return data
                self.close()  # what the first request asked for is read
            return b""
        finally:
            self.seconds += time.monotonic() - started

    def checksum(self) -> str | None:
        """None until everything has been read."""
        if self._offset < self.size:
            return None
        return _base64(self._crc)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _request(self, end: int | None) -> requests.Response:
        response = self._response = self._storage.get(self._work, self._offset, end)
        return response


def too_large(limit: int) -> PermanentError:
    return PermanentError("file_too_large", f"The file has more than {limit} bytes.")


def crc32c(data: bytes) -> str:
    """As Cloud Storage writes it."""
    return _base64(google_crc32c.value(data))


def _base64(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def _no_answer(error: Exception) -> TransientError:
    return TransientError(
        "storage_unavailable", f"Cloud Storage gave no answer: {type(error).__name__}."
    )


def _unavailable(response: requests.Response) -> TransientError:
    detail = f"Cloud Storage answered {response.status_code}."
    response.close()
    return TransientError("storage_unavailable", detail)
