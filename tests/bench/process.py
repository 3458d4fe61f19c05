"""Other processes, as Linux shows them."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path


def tree(pid: int) -> list[int]:
    """A process and all below it that live."""
    found, queue = [], [pid]
    while queue:
        found.append(pid := queue.pop())
        with contextlib.suppress(OSError):
            queue += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


def cpu(pid: int) -> float:
    """CPU seconds of a process, 0 when it ended. Linux gives each one a clock of its own."""
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0
