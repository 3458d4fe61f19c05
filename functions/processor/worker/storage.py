"""Cloud Storage as far as a worker needs it: read one generation in order, create once.

The JSON API over one pooled session: one request per download and per output, no look-ups before.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, cast
from urllib.parse import quote
from urllib.request import getproxies

import certifi
import google_crc32c
import urllib3
from common.identity import Work

from worker.errors import PermanentError, TransientError

HOST = "https://storage.googleapis.com"
HEAD_BYTES = 256 * 1024  # the header of nearly every image, profiles and previews included
PIECE_BYTES = 1024 * 1024
_BOUNDARY = b"=-part-of-one-object-="


def connections(threads: int) -> urllib3.PoolManager:
    """Kept open; a dropped or throttled request is tried again, for little more than a second."""
    retries = urllib3.Retry(
        total=2, backoff_factor=0.3, status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None, raise_on_status=False, respect_retry_after_header=False,
    )  # fmt: skip
    options: dict[str, Any] = {
        "ca_certs": os.environ.get("SSL_CERT_FILE") or certifi.where(),
        "maxsize": 2 * threads,
        "retries": retries,
        "timeout": urllib3.Timeout(connect=5, read=60),
    }
    proxy = getproxies().get("https")
    return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)


class Identity:
    """The function's own access token, asked of the metadata server before it runs out.

    google-auth does the same, and doubles the libraries that a cold start loads.
    """

    def __init__(self) -> None:
        host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
        self._url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        self._http = urllib3.PoolManager(headers={"Metadata-Flavor": "Google"}, timeout=5)
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0

    def token(self) -> str:
        """Raises urllib3's HTTPError, or ValueError for an answer without a token."""
        with self._lock:
            if time.monotonic() >= self._until:
                answer = self._http.request("GET", self._url)
                try:
                    token = answer.json()
                    self._token = str(token["access_token"])
                    self._until = time.monotonic() + token["expires_in"] - 240
                except (KeyError, TypeError) as error:
                    raise ValueError("the metadata server gave no token") from error
            return self._token

    def forget(self) -> None:
        self._until = 0.0


class Storage:
    """Raises TransientError storage_unavailable for whatever is neither success nor final."""

    def __init__(self, http: urllib3.PoolManager, identity: Identity, results_bucket: str) -> None:
        self._http, self._identity = http, identity
        self._results = (
            f"{HOST}/upload/storage/v1/b/{results_bucket}/o"
            "?uploadType=multipart&ifGenerationMatch=0&fields=generation"
        )

    def open(self, work: Work, expected_size: int, whole: bool) -> Source:
        """Begins to read. Raises PermanentError source_gone."""
        return Source(self, work, None if whole or expected_size <= HEAD_BYTES else HEAD_BYTES)

    def get(self, work: Work, start: int, end: int | None) -> urllib3.BaseHTTPResponse:
        """Bytes start … end - 1 as they are stored: gzip is not undone on the way."""
        url = (
            f"{HOST}/storage/v1/b/{work.bucket}/o/{quote(work.name, safe='')}"
            f"?alt=media&generation={work.generation}"
        )
        headers = {"Accept-Encoding": "gzip"}
        if start or end:
            headers["Range"] = f"bytes={start}-{end - 1 if end else ''}"
        response = self._send("GET", url, headers, preload_content=False)
        if response.status in (200, 206):
            return response
        response.close()
        if response.status == 404:
            raise PermanentError("source_gone", "This generation of the object exists no more.")
        raise _unavailable(f"answered {response.status}")

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
        headers = {"Content-Type": f'multipart/related; boundary="{_BOUNDARY.decode()}"'}
        response = self._send("POST", self._results, headers, body=body)
        if response.status == 200:
            return True
        # An account that may only create is told 412 or, instead, that it may not overwrite.
        if response.status == 412 or (
            response.status == 403 and b"storage.objects.delete" in response.data
        ):
            return False
        raise _unavailable(f"answered {response.status}")

    def _send(
        self, method: str, url: str, headers: dict[str, str], **options: Any
    ) -> urllib3.BaseHTTPResponse:
        try:
            headers["Authorization"] = f"Bearer {self._identity.token()}"
            response = self._http.request(method, url, headers=headers, **options)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise _unavailable(f"gave no answer: {type(error).__name__}") from error
        if response.status == 401:
            self._identity.forget()  # withdrawn before its time: the next request asks anew
        return response


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
        self._response: urllib3.BaseHTTPResponse | None = None
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
                    data: bytes = response.read(length, decode_content=False)
                except (urllib3.exceptions.HTTPError, OSError) as error:
                    self.close()
                    if last_try:
                        raise _unavailable(f"broke off: {type(error).__name__}") from error
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

    def _request(self, end: int | None) -> urllib3.BaseHTTPResponse:
        response = self._response = self._storage.get(self._work, self._offset, end)
        return response


def too_large(limit: int) -> PermanentError:
    return PermanentError("file_too_large", f"The file has more than {limit} bytes.")


def crc32c(data: bytes) -> str:
    """As Cloud Storage writes it."""
    return _base64(google_crc32c.value(data))


def _base64(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def _unavailable(what: str) -> TransientError:
    return TransientError("storage_unavailable", f"Cloud Storage {what}.")
