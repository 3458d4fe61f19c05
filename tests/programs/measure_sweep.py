"""What a call of the sweep takes, over listings that are made up on the spot: docs/operations.md.

    python -m tests.programs.measure_sweep [UPLOADS]

An upload in 100,000 has no record. Cloud Storage's own time is not in it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import scripts.ops  # noqa: F401  puts the functions' packages on the path

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
LOST = 100_000
UPLOADS, RESULTS, SWEEPS = "uploads", "results", "sweeps"
QUEUE = "projects/p/locations/l/queues/q"


def blob(name: str, generation: int = 1) -> Any:
    created = NOW - timedelta(days=1)
    sent = {"name": name, "generation": str(generation), "timeCreated": created.isoformat()}
    return SimpleNamespace(name=name, generation=generation, time_created=created, _properties=sent)


class Listing:
    """Pages of names, from the n-th upload on."""

    def __init__(self, form: str, start: int, end: int, lost: bool) -> None:
        self._form, self._start, self._end, self._lost = form, start, end, lost
        self.next_page_token: str | None = None

    @property
    def pages(self) -> Iterator[list[Any]]:
        for at in range(self._start, max(self._end, self._start + 1), 1000):
            last = min(at + 1000, self._end)
            self.next_page_token = "more" if last < self._end else None
            numbers = (n for n in range(at, last) if self._lost or n % LOST != LOST // 2)
            yield [blob(self._form.format(n)) for n in numbers]


class Storage:
    def __init__(self, uploads: int) -> None:
        self.uploads, self.cursor = uploads, ""

    def list_blobs(self, bucket: str, prefix: str = "", start_offset: str = "", **_: Any) -> Any:
        if bucket == SWEEPS:
            return [self] if self.cursor else []
        digits = "".join(c for c in start_offset.partition(".")[0] if c.isdigit())
        start, form = int(digits or 0), "{:08}.jpg"
        if bucket == RESULTS:
            form = "manifests/{:08}.jpg/1.json"
            if not prefix.startswith("manifests"):
                return Listing(form, 0, 0, lost=True)
        return Listing(form, start, self.uploads, lost=bucket == UPLOADS)

    def bucket(self, _: str) -> Any:
        return self

    def blob(self, _: str) -> Any:
        return self

    def upload_from_string(self, content: str, *_: Any, **__: Any) -> None:
        self.cursor = content

    def download_as_bytes(self) -> bytes:
        return self.cursor.encode()


class Tasks:
    created = 0

    def list_tasks(self, **_: Any) -> Any:
        return SimpleNamespace(pages=[SimpleNamespace(tasks=[], next_page_token="")])

    def create_task(self, *_: Any, **__: Any) -> None:
        self.created += 1


def main(uploads: int) -> None:
    from bridge.settings import Config, Lane
    from runtime.logs import Log
    from sweep.settings import Limits
    from sweep.sweeping import Sweep

    lane = Lane(QUEUE, "https://p.example", "https://p.example", 360)
    config = Config("p", "dev", UPLOADS, RESULTS, "t@p", (), (), False, {"default": lane})
    limits = Limits(240, 900, 3600, SWEEPS, 2000, 50_000)
    storage, tasks, calls, seconds = Storage(uploads), Tasks(), list[dict[str, Any]](), 0.0
    while not calls or "passes" not in calls[-1]:
        before = time.process_time()
        now = NOW + timedelta(minutes=15 * len(calls))
        calls.append(Sweep(config, limits, Log("p", False), storage, tasks, now).run())
        seconds = max(seconds, time.process_time() - before)
    requests = [call["list_requests"] for call in calls]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    told = {
        "uploads": sum(call["uploads"] for call in calls), "calls": len(calls),
        "most_requests": max(requests), "all_requests": sum(requests),
        "most_cpu_seconds": round(seconds, 2), "peak_mib": peak, "tasks": tasks.created,
    }  # fmt: skip
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
