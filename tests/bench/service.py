"""A web service as a process: started, asked, its CPU and memory read from outside."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.process import cpu
from tests.bench.subject import Step
from tests.localcloud.core.processes import memfds, proportional, tree

PATIENCE = 60.0  # seconds


class ServiceFailed(RuntimeError):
    """It did not start, or answered with an error: the end of what it wrote."""


class Client:
    """One connection to a loopback port, kept open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """One request. A connection that the other side closed meanwhile is made anew.

        Raises:
            ServiceFailed: the answer is not a success.
            OSError, http.client.HTTPException: there was none.
        """
        for last_try in (self._connection is None, True):
            connection = self._connection or http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=120
            )
            self._connection = connection
            try:
                connection.request(method, path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                data = answer.read()
                break
            except (OSError, http.client.HTTPException):
                self.hang_up()
                if last_try:
                    raise
        if answer.status // 100 != 2:
            raise ServiceFailed(f"{method} {path}: {answer.status} {data[:500]!r}")
        return data

    def hang_up(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


class Service:
    """A service on a loopback port, in a process group of its own.

    Args:
        command: "{port}" in it is replaced.
        core: the only one it may run on; None: all.
    """

    def __init__(
        self, command: Sequence[str], cwd: Path, environ: Mapping[str, str], core: int | None = None
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        self.began = time.perf_counter()
        self._process = subprocess.Popen(
            [*pinned, *(part.format(port=self.port) for part in command)],
            cwd=cwd,
            env={**environ, "PORT": str(self.port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._own = self.client()

    def client(self) -> Client:
        return Client(self.port)

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        return self._own.ask(method, path, body)

    def first(self, method: str = "GET", path: str = "/", body: bytes = b"") -> Step:
        """Asks until it answers: CPU and wall clock since it was started."""
        while not self._listens():
            if self._process.poll() is not None:
                raise ServiceFailed(f"{self._process.args!r} ended")
            if time.perf_counter() - self.began > PATIENCE:
                raise ServiceFailed(f"{self._process.args!r} does not listen")
            time.sleep(0.002)
        self.ask(method, path, body)
        return Step(self.cpu(), time.perf_counter() - self.began)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def cpu(self) -> float:
        """Seconds that its processes, those that live, have used."""
        return sum(cpu(pid) for pid in tree(self._process.pid))

    def step(self, method: str, path: str, *bodies: bytes) -> Step:
        """A request for each: what one cost the service, and how long it took."""
        used, wall = self.cpu(), time.perf_counter()
        for body in bodies:
            self.ask(method, path, body)
        wall = time.perf_counter() - wall
        return Step((self.cpu() - used) / len(bodies), wall / len(bodies))

    def peak(self) -> int:
        """Peak RSS of its largest process, in bytes."""
        sizes = []
        for pid in tree(self._process.pid):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                sizes += [int(found[1]) << 10 for found in re.finditer(r"VmHWM:\s+(\d+)", status)]
        return max(sizes, default=0)

    def memory(self) -> int:
        """Bytes that its processes and their files in memory have now; shared pages count once."""
        pids = tree(self._process.pid)
        return memfds(pids) + sum(proportional(pid) for pid in pids)

    def forget_peak(self) -> None:
        """Begins the peak anew."""
        for pid in tree(self._process.pid):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def close(self) -> None:
        self._own.hang_up()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
