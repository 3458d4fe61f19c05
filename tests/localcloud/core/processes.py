"""Processes as Linux shows them."""

from __future__ import annotations

import contextlib
from pathlib import Path


def _within(pid: int, folder: str) -> list[Path]:
    """Nothing of a process that ended meanwhile, where Path.glob raises."""
    with contextlib.suppress(OSError):
        return list(Path(f"/proc/{pid}/{folder}").iterdir())
    return []


def tree(pid: int) -> list[int]:
    """A process and all below it that live, whichever thread started them."""
    found, queue = [], [pid]
    while queue:
        found.append(pid := queue.pop())
        for thread in _within(pid, "task"):
            with contextlib.suppress(OSError):
                queue += map(int, (thread / "children").read_text().split())
    return found


def memfds(pids: list[int]) -> int:
    """Bytes of the files in memory that these processes have open."""
    sizes: dict[int, int] = {}
    for pid in pids:
        for file in _within(pid, "fd"):
            with contextlib.suppress(OSError):
                if str(file.readlink()).startswith("/memfd:"):
                    found = file.stat()
                    sizes[found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def proportional(pid: int) -> int:
    """Bytes of memory; what processes share is divided among them."""
    with contextlib.suppress(OSError, IndexError):  # a process that ends has an empty one
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(rollup.split("\nPss:", 1)[1].split(None, 1)[0]) << 10
    return 0
