"""What the results bucket tells of one upload, whose name and generation its file_id lacks.

The first look lists, and so learns the key; later ones read by names, which costs a twelfth. A file
is done if any of its runs is, else as its highest run. Where files are published through another
bucket, only what is published there is done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from contract.identity import PERCENT_STEP, Key, parse_key
from portal.names import File
from web.problems import reached

if TYPE_CHECKING:
    from google.cloud.storage import Client

MAX_RECORD_BYTES = 1 << 20
CALL_SECONDS = 10.0
RETRY_SECONDS = 5.0
SERVICE = "Cloud Storage"
WAITING, PROCESSING, DONE, FAILED = "waiting", "processing", "done", "failed"
PUBLISHED, REJECTED, EXPIRED = "published", "rejected", "expired"
# <name>/<generation>/<number>, or that and /<percent>: an upload's name has no slash.
_ATTEMPT = re.compile(
    r"(?P<key>[^/]+/[^/]+)/(?P<number>[1-9][0-9]{0,3})(?:/(?P<percent>[0-9]{1,2}))?"
)
# What a file fails with that is not published.
REFUSALS = {
    REJECTED: {
        "reason": "not_approved",
        "detail": "The file was not approved for publication.",
        "retryable": False,
    },
    EXPIRED: {
        "reason": "approval_expired",
        "detail": "Nobody decided in time whether the file is published.",
        "retryable": True,
    },
}


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of a file. key: of its newest run, "" until one is known. percent: of what its
    attempt makes, where that is told. approval: waiting, published, rejected or expired, once there
    is something to approve; "" where nobody has to."""

    status: str
    key: str = ""
    attempt: int = 0
    record: Mapping[str, Any] | None = None
    approval: str = ""
    percent: int = 0

    @property
    def ended(self) -> bool:
        return self.status in (DONE, FAILED)


class Records:
    """Raises Unreached where Cloud Storage gives no answer, or not the expected one."""

    def __init__(self, client: Callable[[], Client], bucket: str, published: str = "") -> None:
        """published: the bucket that files are published through, "" where there is none."""
        self._client, self._bucket, self._published = client, bucket, published

    def look(self, file: File, before: Seen | None = None, thorough: bool = True) -> Seen:
        """before: what the last look saw. thorough: whether what began without an attempt, or
        long ago, is looked for, too."""
        if before and before.key:
            return self._by_name(before)
        if thorough:
            if runs := self._runs("manifests", file):
                return self._best(runs)
            failures = self._runs("failures", file)
        else:
            failures = []
        attempts = self._attempts(file)
        newest = max([run for run, _ in failures] + [run for run, *_ in attempts], default=None)
        if newest is None:
            return Seen(WAITING)
        if failures and failures[-1][0] == newest:
            return self._ended(FAILED, failures[-1][1]) or Seen(WAITING)
        _, number, percent, key = attempts[-1]
        # It may have ended since the listings.
        return self._by_name(Seen(PROCESSING, key, number, percent=percent))

    def _best(self, runs: list[tuple[int, str]]) -> Seen:
        """The newest of these runs that is done, else the newest: a later one may have to be
        approved anew while what was published stays."""
        newest = None
        for _, key in reversed(runs):
            seen = self._ended(DONE, key)
            if seen and seen.status == DONE:
                return seen
            newest = newest or seen
        return newest or Seen(WAITING)

    def _by_name(self, before: Seen) -> Seen:
        key = before.key
        ended = self._ended(DONE, key) or self._ended(FAILED, key)
        if ended:
            return ended
        number, percent = before.attempt, before.percent
        while self._read(f"attempts/{key}/{number + 1}") is not None:
            number, percent = number + 1, 0
        while self._read(f"attempts/{key}/{number}/{percent + PERCENT_STEP}") is not None:
            percent += PERCENT_STEP
        return Seen(PROCESSING, key, number, percent=percent)

    def _ended(self, status: str, key: str) -> Seen | None:
        kind = "manifests" if status == DONE else "failures"
        record = self._read(f"{kind}/{key}.json")
        if record is None:
            return None
        attempt = record.get("attempt")
        seen = Seen(status, key, attempt if type(attempt) is int else 0, record)
        return self._approved(seen) if status == DONE and self._published else seen

    def _approved(self, seen: Seen) -> Seen:
        """What the published bucket says of a file that is done."""
        if self._read(f"{PUBLISHED}/{seen.key}.json", self._published) is not None:
            return replace(seen, approval=PUBLISHED)
        if (rejected := self._read(f"{REJECTED}/{seen.key}.json", self._published)) is not None:
            decision = rejected.get("decision")
            expired = isinstance(decision, dict) and decision.get("decision") == EXPIRED
            approval = EXPIRED if expired else REJECTED
            record = {**(seen.record or {}), **REFUSALS[approval]}
            return replace(seen, status=FAILED, record=record, approval=approval)
        return replace(seen, status=PROCESSING, approval=WAITING)

    def _runs(self, kind: str, file: File) -> list[tuple[int, str]]:
        """(run, key) of the records of a kind, in order of runs."""
        keys = [name.removesuffix(".json") for name in self._names(kind, file)]
        return sorted((_parts(key).run, key) for key in keys if parse_key(key))

    def _attempts(self, file: File) -> list[tuple[int, int, int, str]]:
        """(run, number, percent, key) of each attempt and of how far it came, in that order."""
        found = []
        for name in self._names("attempts", file):
            match = _ATTEMPT.fullmatch(name, len(file.prefix))
            if match and (key := parse_key(name[: match.end("key")])):
                number, percent = int(match["number"]), int(match["percent"] or 0)
                found.append((key.run, number, percent, name[: match.end("key")]))
        return sorted(found)

    def _names(self, kind: str, file: File) -> list[str]:
        """Without the kind in front. One page: a file has a handful of runs."""
        prefix = f"{kind}/{file.prefix}"
        with reached(SERVICE):
            blobs = self._client().list_blobs(
                self._bucket, prefix=prefix, max_results=1000, fields="items(name),nextPageToken",
                timeout=CALL_SECONDS, retry=_retry(),
            )  # fmt: skip
            return [str(blob.name).removeprefix(f"{kind}/") for blob in blobs]

    def _read(self, name: str, bucket: str = "") -> dict[str, Any] | None:
        """A record; {} for one that cannot be read, None where there is none."""
        from google.api_core.exceptions import NotFound

        with reached(SERVICE):
            blob = self._client().bucket(bucket or self._bucket).blob(name)
            try:
                content = blob.download_as_bytes(
                    end=MAX_RECORD_BYTES, raw_download=True, checksum=None, timeout=CALL_SECONDS,
                    retry=_retry(),
                )  # fmt: skip
            except NotFound:
                return None
        try:
            record = json.loads(content)
        except (ValueError, RecursionError):
            return {}
        return record if isinstance(record, dict) else {}


def _parts(key: str) -> Key:
    parts = parse_key(key)
    assert parts
    return parts


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_delay(initial=0.2).with_timeout(RETRY_SECONDS)
