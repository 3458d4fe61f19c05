"""Cloud Storage as far as a worker needs it: read one generation in order, create once.

Google's library, with care: one request for each read and each object, no look-ups before.
"""

from __future__ import annotations

import base64
import gzip
import io
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from contract.identity import Work
from processor.errors import PermanentError, TransientError
from runtime.storage import unless_there

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

Bytes = bytes | memoryview
HEAD_BYTES = 256 * 1024  # the header of nearly every image, profiles and previews included
PIECE_BYTES = 4 * 1024 * 1024
COPY_BYTES = 16 * 1024 * 1024  # in one request, where nothing but the file holds it
CHUNK_BYTES = 8 * 1024 * 1024  # the most that is written in one request
RETRY_SECONDS = 2.0  # beyond that it is the queue that tries again
# Answers of the 4xx kind that an outage, a missing permission or too many requests give.
_PASSING = frozenset({401, 403, 408, 429})


@contextmanager
def _reached() -> Iterator[None]:
    """TransientError for no token, no connection, and each answer that nobody expected."""
    from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError, HTTPError, OSError) as error:
        code = error.code if isinstance(error, GoogleAPICallError) else None
        what = f"answered {code}" if code else f"gave no answer: {type(error).__name__}"
        raise TransientError("storage_unavailable", f"Cloud Storage {what}.") from error


def _retry() -> Any:
    """A dropped or throttled request is tried again, for little more than a second."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_delay(initial=0.3).with_timeout(RETRY_SECONDS)


class Storage:
    """Raises TransientError storage_unavailable for whatever is neither success nor final."""

    def __init__(self, client: Callable[[], Client], results_bucket: str) -> None:
        self._client, self._results = client, results_bucket

    def open(self, work: Work, size: int | None) -> Source:
        """Reads the beginning. size: in bytes, None when unknown. Raises as Source does."""
        with _reached():
            bucket = self._client().bucket(work.bucket)
        return Source(bucket.blob(work.name, generation=int(work.generation)), size)

    def create(
        self,
        name: str,
        data: Bytes,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str | None = None,
    ) -> bool:
        """One request, beyond CHUNK_BYTES several. False: somebody was first, and what is there
        stays as it is."""
        with _reached(), unless_there():
            blob = self._client().bucket(self._results).blob(name)
            blob.metadata, blob.cache_control = metadata, cache_control
            blob.chunk_size = CHUNK_BYTES
            blob.upload_from_file(
                io.BufferedReader(_View(data)), size=len(data), content_type=content_type,
                if_generation_match=0, checksum="crc32c", retry=_retry(),
            )  # fmt: skip
            return True
        return False


class _View(io.RawIOBase):
    """A file over bytes that are in memory already, which copies only what is read of it."""

    def __init__(self, data: Bytes) -> None:
        self._data, self._at = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, to: int, whence: int = os.SEEK_SET) -> int:
        self._at = (
            to + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._data)}[whence]
        )
        return self._at

    def readinto(self, buffer: Any) -> int:
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


class Source:
    """The bytes of one generation, in order, decompressed where they are stored as gzip.

    size counts stored bytes, None when unknown. Raises PermanentError source_gone, and
    TransientError source_unreadable for an answer about this object, not about a passing state:
    400 where it is encrypted with a key of the uploader's own, 410, 412.
    """

    def __init__(self, blob: Blob, size: int | None) -> None:
        self._stored, self._unzipped = _Stored(blob, size), None
        self.head = self._stored.read(HEAD_BYTES)
        self.size = size if size and size > self._stored.at else None  # a task may err
        if self._stored.ended:
            self.size = self._stored.at
        self.is_gzip = blob.content_encoding == "gzip"
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
    """The bytes as they are stored, one ranged request for each read or copy."""

    def __init__(self, blob: Blob, size: int | None) -> None:
        self._blob, self._size = blob, size
        self.at, self.crc, self.seconds, self.ended = 0, 0, 0.0, False
        self._put_back = b""

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

    def copy(self, file: io.BytesIO | io.FileIO, wanted: int) -> None:
        """Up to so many bytes, as they come."""
        from google.api_core.exceptions import (
            GoogleAPICallError,
            NotFound,
            RequestRangeNotSatisfiable,
        )

        if self.ended:
            return
        end, started = self.at + wanted, time.monotonic()
        with _reached():
            try:
                self._blob.download_to_file(
                    _Tee(self, file), start=self.at, end=end - 1, raw_download=True, checksum=None,
                    retry=_retry(),
                )  # fmt: skip
            except RequestRangeNotSatisfiable:
                pass  # nothing is there, or nothing more
            except NotFound as error:
                detail = "This generation of the object exists no more."
                raise PermanentError("source_gone", detail) from error
            except GoogleAPICallError as error:
                if error.code in _PASSING or not 400 <= (error.code or 0) < 500:
                    raise
                raise TransientError("source_unreadable", _refused(error.code)) from error
            finally:
                self.seconds += time.monotonic() - started
        self.ended = self.at < end or self.at == self._size


class _Tee:
    """What the library writes to: it keeps position and checksum beside the bytes."""

    def __init__(self, stored: _Stored, file: io.BytesIO | io.FileIO) -> None:
        import google_crc32c

        self._stored, self._file, self._extend = stored, file, google_crc32c.extend

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._stored.at += len(data)
        self._stored.crc = self._extend(self._stored.crc, data)


def _refused(code: int | None) -> str:
    hint = "; is it encrypted with a key of the uploader's own?" if code == 400 else "."
    return f"Cloud Storage answers {code} to each read of this object{hint}"


def too_large(limit: int) -> PermanentError:
    return PermanentError("file_too_large", f"The file has more than {limit} bytes.")


def crc32c(data: Bytes) -> str:
    """As Cloud Storage writes it."""
    import google_crc32c

    crc = 0
    for at in range(0, len(data), CHUNK_BYTES):  # a copy of each piece, as it takes no view
        crc = google_crc32c.extend(crc, bytes(data[at : at + CHUNK_BYTES]))
    return _base64(crc)


def _base64(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()
