"""What an action takes, before it is taken: requests, dollars, time.

Prices are those of scripts/cost.py.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cost import price

from .output import counted

LIST_OR_WRITE, READ, TASK, RUN_REQUEST = map(price, ("class_a", "class_b", "task", "request"))
RUN_SECOND = 2 * price("cpu_second") + 2 * price("gib_second")  # one file at a time: the worst case
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
            f"{counted(self.files, 'file')}: about {counted(self.requests, 'request')}, "
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
