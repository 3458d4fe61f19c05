"""One call: as many uploads as its limits allow, from where the last call stopped.

What has no record gets its task back; a failure that a retry can help is tried once more.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from bridge.decisions import lane_of, rejection
from bridge.notification import Notification
from bridge.settings import Config
from contract.identity import Work
from runtime.logs import Log
from sweep.cursor import FORM, Cursor, Cursors
from sweep.listing import PAGE, UPLOAD_FIELDS, Generation, Listings, Upload, upload_of
from sweep.restore import REASONS, Restorer
from sweep.settings import Limits

WORKERS = 8
UNAVAILABLE = frozenset({"queue_refused", "queue_throttled", "queue_unavailable"})


class Unavailable(Exception):
    """Cloud Tasks did not take a task: the same uploads are looked at again by the next call."""


class Found(NamedTuple):
    """failure: the record that says whether it is tried again; empty where there is no record."""

    notification: Notification
    lane: str
    failure: str


@dataclass
class Sweep:
    """now: Google's time of the call. Clients: of Cloud Storage and Cloud Tasks."""

    config: Config
    limits: Limits
    log: Log
    storage: Any
    tasks: Any
    now: datetime
    counts: Counter[str] = field(default_factory=lambda: Counter(uploads=0))

    def run(self) -> dict[str, Any]:
        """Counts of what was found. Raises Unavailable, and what Cloud Storage raises."""
        started, listings = time.monotonic(), Listings(self.storage)
        cursors = Cursors(self.storage, self.limits.sweeps_bucket)
        cursor = cursors.newest(self.now)
        if not cursor.name:
            cursor = Cursor(began=f"{self.now:{FORM}}", before=cursor.began)
        restorer = Restorer(self.tasks, self.config, self._recorded, lambda: self.now)
        uploads = self._uploads(listings, cursor)
        with ThreadPoolExecutor(WORKERS) as pool:
            while chunk := list(islice(uploads, PAGE)):
                self.counts["uploads"] += len(chunk)
                generations = listings.with_records(self.config.results_bucket, chunk)
                found = list(self._choose(generations, cursor.before))
                self._settle(list(pool.map(lambda one: self._enqueue(restorer, one), found)))
                cursor = replace(cursor, name=chunk[-1].name, generation=chunk[-1].generation)
                if len(chunk) < PAGE:
                    break
                if self._enough(time.monotonic() - started):
                    return self._end(cursors, cursor, listings, started)
        over = replace(cursor, name="", generation="")
        self.counts["passes"] = 1
        return self._end(cursors, over, listings, started)

    def _uploads(self, listings: Listings, cursor: Cursor) -> Iterator[Upload]:
        bucket = self.config.uploads_bucket
        options = {"start_offset": cursor.name} if cursor.name else {}
        for blob in listings.blobs(bucket, versions=True, fields=UPLOAD_FIELDS, **options):
            if not cursor.passed(blob.name, str(blob.generation)):
                yield upload_of(bucket, blob)

    def _enough(self, seconds: float) -> bool:
        return (
            self.counts["uploads"] >= self.limits.uploads_per_call
            or self.counts["looked_up"] >= self.limits.tasks_per_call
            or seconds >= self.limits.call_seconds
        )

    def _choose(self, generations: list[Generation], before: str) -> Iterator[Found]:
        """What has no record although it is old enough, and failures that have rested.

        before: when the pass before this one began, which looked at older failures.
        """
        rest = timedelta(seconds=self.limits.redrive_after_seconds)
        seen = datetime.fromisoformat(before) - rest if before else None
        youngest = self.now - timedelta(seconds=self.limits.min_age_seconds)
        for generation in generations:
            upload, state, found = generation.upload, str(generation.state), None
            assert upload is not None
            if state == "missing" and upload.created > youngest:
                state = "young"
            elif state == "missing":
                found = self._item(upload, 0)
            elif state == "failed" and not generation.highest_run:
                failure = generation.failures[0]
                if failure.created <= self.now - rest and not (seen and failure.created <= seen):
                    found = self._item(upload, 1, failure.object)
            self.counts[state] += 1
            if found:
                yield found

    def _item(self, upload: Upload, run: int, failure: str = "") -> Found | None:
        work = Work(self.config.uploads_bucket, upload.name, upload.generation, run)
        notification = Notification("OBJECT_FINALIZE", work, upload.resource)
        if rejection(notification, self.config):
            return None
        lane = lane_of(notification, self.config)
        return Found(notification, lane, failure) if self.config.lanes[lane].records else None

    def _recorded(self, work: Work) -> bool:
        return Listings(self.storage).recorded(self.config.results_bucket, work)

    def _enqueue(self, restorer: Restorer, found: Found) -> str:
        work = found.notification.work
        if found.failure and not self._retryable(found.failure):
            return "permanent"
        reason, error = restorer.enqueue(found.notification, found.lane)
        log = self.log.about(work, lane=found.lane, reason=reason)
        if reason in UNAVAILABLE:
            log.write("WARNING", "unavailable", "Cloud Tasks did not take the task", error=error)
        elif reason in ("created", "delayed", "restored"):
            if work.run:
                log.write("INFO", "redriven", "a failure is tried once more")
                return "redriven"
            log.write("ERROR", "restored", "an upload had neither a record nor a task")
        elif reason == "late":
            log.write("WARNING", "late", REASONS[reason])
        elif reason in ("blocked", "wrong_target"):
            log.write("WARNING", "left", REASONS[reason])
        return reason

    def _retryable(self, failure: str) -> bool:
        blob = self.storage.bucket(self.config.results_bucket).blob(failure)
        return bool(json.loads(blob.download_as_bytes()).get("retryable"))

    def _settle(self, reasons: list[str]) -> None:
        self.counts["looked_up"] += len(reasons)
        self.counts.update(reasons)
        if UNAVAILABLE & set(reasons):
            raise Unavailable("Cloud Tasks did not take all tasks.")

    def _end(
        self, cursors: Cursors, cursor: Cursor, listings: Listings, started: float
    ) -> dict[str, Any]:
        told: dict[str, Any] = dict(self.counts) | {
            "list_requests": listings.requests,
            "seconds": round(time.monotonic() - started, 3),
        }
        cursors.write(self.now, cursor, told)
        self.log.write("INFO", "swept", "uploads compared with records", **told)
        return told
