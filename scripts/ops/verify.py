"""Two files through a deployed pipeline: a picture that is done, and a broken one that fails."""

from __future__ import annotations

import json
import secrets
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core import exceptions as api

from contract.identity import Work
from sweep.listing import Listings

from .clients import Clients
from .declared import State
from .doctor import Doctor, Finding
from .environment import Environment

WIDTH, HEIGHT = 800, 600
POLL_SECONDS = 0.5
TIMEOUT = 180.0  # seconds
# For so long IAM may not know an environment's bindings, and a push is refused until it does.
# https://docs.cloud.google.com/iam/docs/access-change-propagation
YOUNG = timedelta(minutes=10)


class Verification:
    def __init__(
        self, clients: Clients, environment: Environment, state: State, timeout: float | None
    ) -> None:
        """timeout: seconds until a file must have its record; TIMEOUT, or longer when young."""
        self._clients, self._environment, self._state = clients, environment, state
        self._timeout = timeout if timeout is not None else max(TIMEOUT, self.young())
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        prefix = next(iter(environment.config.include_prefixes), "")
        self._folder = f"{prefix}verify/{now}-{secrets.token_hex(3)}"

    def young(self) -> float:
        """For how many seconds more the environment is YOUNG; 0 where it cannot be told."""
        try:
            made = self._clients.storage.get_bucket(self._environment.results).time_created
        except (api.Forbidden, api.NotFound):
            return 0.0
        left = YOUNG - (datetime.now(UTC) - made)
        return left.total_seconds() if timedelta() < left <= YOUNG else 0.0

    def steps(self, begun: Callable[[str], None] = lambda _: None) -> Iterator[Finding]:
        begun("resources")
        doctor = Doctor(self._clients, self._environment, self._state)
        yield from doctor.complete()
        yield from doctor.examine("queues", begun=begun)
        begun("a picture")
        yield from self._picture()
        begun("a broken file")
        yield from self._broken()
        others = [name for name in doctor.checks() if name != "queues"]
        yield from doctor.examine(*others, begun=begun)

    def _picture(self) -> Iterator[Finding]:
        check = "a picture"
        work, seconds, record, attempts = self._process("photo.png", picture(), "image/png")
        if record is None:
            yield self._silence(check, work)
        elif record["status"] != "done":
            what = f"{work.name} failed: {record.get('reason')}: {record.get('detail')}"
            yield Finding("error", check, what, self._story(work))
        elif attempts != 1:
            what = f"{work.name} is done, but took {attempts} attempts"
            yield Finding("error", check, what, self._story(work))
        else:
            outputs = ", ".join(
                f"{o['name']} {o['width']} × {o['height']}" for o in record["outputs"]
            )
            yield Finding("ok", check, f"done in {seconds:.1f} s: {outputs or 'no outputs'}")
        self._tidy(work)

    def _broken(self) -> Iterator[Finding]:
        check = "a broken file"
        data = b"\xff\xd8\xff\xe0 this is not a picture"
        work, seconds, record, attempts = self._process("broken.jpg", data, "image/jpeg")
        if record is None:
            yield self._silence(check, work)
        elif record["status"] != "failed" or record["retryable"]:
            ended = record.get("reason") or record["status"]
            what = f"{work.name} should be refused for good, but ended as {ended}"
            yield Finding("error", check, what, self._story(work))
        elif attempts != 1:
            what = f"{work.name} failed for good, but took {attempts} attempts"
            yield Finding("error", check, what, self._story(work))
        else:
            what = f"failed in {seconds:.1f} s and one attempt: {record['reason']}"
            yield Finding("ok", check, what)
        self._tidy(work)

    def _process(
        self, file: str, data: bytes, content_type: str
    ) -> tuple[Work, float, dict[str, Any] | None, int]:
        """Uploads and waits: its identity, seconds, record (None in time) and attempts."""
        bucket = self._clients.storage.bucket(self._environment.uploads)
        blob = bucket.blob(f"{self._folder}/{file}")
        started = time.monotonic()
        blob.upload_from_string(data, content_type=content_type, if_generation_match=0)
        work = Work(self._environment.uploads, blob.name, str(blob.generation))
        record = None
        while record is None and time.monotonic() - started < self._timeout:
            time.sleep(POLL_SECONDS)
            record = self._record(work)
        seconds = time.monotonic() - started
        attempts = self._names(f"attempts/{work.key}/")
        return work, seconds, record, len(attempts)

    def _record(self, work: Work) -> dict[str, Any] | None:
        bucket = self._clients.storage.bucket(self._environment.results)
        for name in (work.manifest, work.failure):
            blob = bucket.get_blob(name)
            if blob is not None:
                return dict(json.loads(blob.download_as_bytes()))
        return None

    def _names(self, prefix: str) -> list[str]:
        listings = Listings(self._clients.storage)
        return [blob.name for blob in listings.blobs(self._environment.results, prefix=prefix)]

    def _tidy(self, work: Work) -> None:
        """Takes the file and its results away again, where the login may."""
        results = self._clients.storage.bucket(self._environment.results)
        uploads = self._clients.storage.bucket(self._environment.uploads)
        try:
            for kind in ("files", "manifests", "failures", "attempts"):
                for name in self._names(f"{kind}/{work.key}"):
                    results.blob(name).delete()
            uploads.blob(work.name, generation=int(work.generation)).delete()
        except (api.Forbidden, api.NotFound):
            return

    def _silence(self, check: str, work: Work) -> Finding:
        what = f"{work.name} has no record after {self._timeout:.0f} s"
        return Finding("error", check, what, self._story(work))

    def _story(self, work: Work) -> str:
        trace = f"projects/{self._environment.project}/traces/{work.trace}"
        return f"gcloud logging read 'trace=\"{trace}\"' --project={self._environment.project}"


def picture(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A PNG, red fading into blue."""
    row = b"\0" + b"".join(
        bytes((255 - 255 * x // width, 0, 255 * x // width)) for x in range(width)
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(row * height)),
            (b"IEND", b""),
        )
    )
