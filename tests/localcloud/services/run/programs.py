"""Programs that run here for the cloud: in a folder and process group of their own, observed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...core.processes import memfds, proportional, tree

PAGE = os.sysconf("SC_PAGE_SIZE")


class Program(asyncio.SubprocessProtocol):
    """One program, in its own process group, folder and HOME.

    Args:
        folder: its own; removed with it.
        log: takes each line that it writes.
    """

    def __init__(self, folder: Path, log: Callable[[str], None]) -> None:
        self.folder, self._log = folder, log
        self.pid = 0
        self.alive = False
        self.status: int | None = None  # its exit code, negative for a signal, once it has ended
        self.peak = 0  # bytes
        self._measured = 0, 0  # the cheap and the exact sum, when the latter was made
        self._partial = {1: b"", 2: b""}
        self._exited = asyncio.get_running_loop().create_future()

    async def run(self, command: list[str], source: Path, environment: dict[str, str]) -> None:
        """Starts `command` in a copy of `source`.

        Raises:
            OSError: it cannot be started.
        """
        home, work = self.folder / "home", self.folder / "workspace"
        (home / "tmp").mkdir(parents=True)
        shutil.copytree(source, work)
        own = {"HOME": str(home), "TMPDIR": str(home / "tmp")}
        await asyncio.get_running_loop().subprocess_exec(
            lambda: self,
            *command,
            stdin=subprocess.DEVNULL,
            cwd=work,
            env=environment | own,
            start_new_session=True,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.SubprocessTransport = transport  # type: ignore[assignment]
        self.pid = self._transport.get_pid()
        self.alive = True

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.alive:
            self.alive = number != signal.SIGKILL  # no request may meet it from now on
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def exited(self) -> None:
        await asyncio.shield(self._exited)

    def memory(self, exact: bool = False) -> int:
        """Bytes of memory of its processes and of their files in memory; pages that processes share
        count once if `exact`.

        The exact sum costs milliseconds: it is made anew when the cheap one has moved.
        """
        pids = tree(self.pid)
        files = memfds(pids)
        total = files + sum(_resident(pid) for pid in pids)
        if not exact:
            return total
        if abs(total - self._measured[0]) > 1 << 20:
            self._measured = total, files + sum(proportional(pid) for pid in pids)
            self.peak = max(self.peak, self._measured[1])
        return self._measured[1]

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, self._partial[fd] = (self._partial[fd] + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._log(line.decode(errors="replace"))

    def process_exited(self) -> None:
        # Workers that outlive their master would be nobody's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.alive = False

    def connection_lost(self, error: Exception | None) -> None:
        """The process has ended and its pipes are closed: all that it wrote has been read."""
        for rest in self._partial.values():
            if rest.strip():
                self._log(rest.decode(errors="replace"))
        self.status = self._transport.get_returncode()
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self._exited.done():
            self._exited.set_result(None)


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE
    return 0


def payload(line: str) -> Any:
    """A line of output as Cloud Logging takes it: JSON objects are structured."""
    if line.startswith("{"):
        with contextlib.suppress(ValueError):
            return json.loads(line)
    return line
