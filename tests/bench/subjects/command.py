"""A command as one would call it; its process is a child of this one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable


def make(command: list[str]) -> Callable[[], None]:
    return lambda: void(subprocess.run(command, check=True, capture_output=True))


def void(_: object) -> None:
    pass
