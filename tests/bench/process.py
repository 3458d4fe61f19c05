"""What other processes used."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path


def cpu(pid: int) -> float:
    """CPU seconds of a process and of its children that ended, 0 when it ended itself.

    Linux gives each process a clock of its own; of those that ended it tells ticks of 10 ms.
    """
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ended = sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime((~pid << 3) | 2) + ended
    return 0.0
