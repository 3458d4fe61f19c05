"""What an action takes, before it is taken: requests, dollars, time.

Prices of us-central1, November 2026, without any free tier: cloud.google.com/storage/pricing,
cloud.google.com/tasks/pricing, cloud.google.com/run/pricing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LIST_OR_WRITE = 0.005 / 1000  # storage operations of class A
READ = 0.0004 / 1000  # of class B
TASK = 0.40 / 1_000_000  # operations of Cloud Tasks
RUN_REQUEST = 0.40 / 1_000_000
RUN_SECOND = 2 * 0.000024 + 2 * 0.0000025  # 2 CPU, 2 GiB: one file at a time, the worst case
SECONDS_A_FILE = 2.0
# The processor's requests for one file: it reads once; it claims an attempt and writes one output
# and the manifest. Its task is one operation to create and one to dispatch.
READS_A_FILE, WRITES_A_FILE, TASKS_A_FILE = 1, 3, 2
PAGE = 1000


@dataclass(frozen=True)
class Estimate:
    """requests of all services; dollars; seconds until the tasks are enqueued."""

    files: int
    requests: int
    dollars: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.files:,} files: about {self.requests:,} requests, "
            f"${self.dollars:,.2f}, {duration(self.seconds)} to enqueue"
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def estimate(files: int, per_second: float) -> Estimate:
    """Of enqueuing and processing `files`."""
    requests = files * (READS_A_FILE + WRITES_A_FILE + TASKS_A_FILE + 1)
    dollars = files * (
        READS_A_FILE * READ
        + WRITES_A_FILE * LIST_OR_WRITE
        + TASKS_A_FILE * TASK
        + RUN_REQUEST
        + SECONDS_A_FILE * RUN_SECOND
    )
    return Estimate(files, requests, dollars, files / per_second)


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
