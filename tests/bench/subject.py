"""A process that does one kind of step when it is told to, and says what the step cost.

So two subjects can take turns, A B A B, and whatever disturbs the machine meets both alike.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step cost: seconds of CPU in the whole process, seconds of wall clock."""

    cpu: float
    wall: float


class SubjectFailed(RuntimeError):
    """A subject could not be made, or a step of it failed: the end of what it wrote."""


class Subject:
    """A running subject.

    Args:
        module: of tests/bench/subjects, such as "storage_own".
        python: the interpreter, and with it the environment; or a whole command that speaks the
            protocol of main() below.
        path: what stands on sys.path in front.
        environ: environment variables beside the caller's own.
        arguments: for the module's make().

    Raises:
        SubjectFailed: make() failed.
    """

    def __init__(
        self,
        module: str,
        python: Path | Sequence[str] = Path(sys.executable),
        path: Sequence[Path] = (),
        environ: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> None:
        ours, theirs = socket.socketpair()
        pythonpath = os.pathsep.join(map(str, (*path, ROOT)))
        command = [str(python), "-m", "tests.bench.subject"]
        if not isinstance(python, Path):
            command = list(python)
        self._process = subprocess.Popen(
            [*command, str(theirs.fileno()), module, json.dumps(arguments)],
            cwd=ROOT,
            env=os.environ | (environ or {}) | {"PYTHONPATH": pythonpath},
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        theirs.close()
        self._channel = ours.makefile("rw")
        ours.close()
        self.peak = 0  # bytes of memory, once closed
        self._receive()

    def step(self) -> Step:
        """Raises SubjectFailed."""
        return Step(**self._ask("step"))

    def close(self) -> int:
        """Ends the process; its peak RSS in bytes."""
        with contextlib.suppress(OSError, SubjectFailed):
            self.peak = self._ask("peak")["bytes"]
        with contextlib.suppress(OSError):
            self._channel.close()
        self._process.wait(30)
        if self._process.stderr:
            self._process.stderr.close()
        return self.peak

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, what: str) -> dict[str, Any]:
        self._channel.write(what + "\n")
        self._channel.flush()
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        line = self._channel.readline()
        if not line:
            assert self._process.stderr
            raise SubjectFailed(self._process.stderr.read().strip()[-2000:])
        return dict(json.loads(line))


def turns(subjects: Mapping[str, Subject], steps: int, warmup: int = 1) -> dict[str, list[Step]]:
    """Lets the subjects take turns: the steps of each, without those to warm up."""
    for _ in range(warmup):
        for subject in subjects.values():
            subject.step()
    done: dict[str, list[Step]] = {name: [] for name in subjects}
    for _ in range(steps):
        for name, subject in subjects.items():
            done[name].append(subject.step())
    return done


@contextlib.contextmanager
def running(subjects: dict[str, Subject]) -> Iterator[dict[str, Subject]]:
    """Closes all of them, however the block ends."""
    try:
        yield subjects
    finally:
        for subject in subjects.values():
            subject.close()


def peak() -> int:
    """The peak RSS of this process, or of the largest child, in bytes. (This process's own
    ru_maxrss would count the parent's before exec.)"""
    status = Path("/proc/self/status").read_text()
    own = int(status.split("VmHWM:")[1].split(None, 1)[0]) << 10
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10)


def used() -> float:
    """Seconds of CPU of this process, and of its children that ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1])).makefile("rw")
    step = importlib.import_module(f"tests.bench.subjects.{sys.argv[2]}").make(
        **json.loads(sys.argv[3])
    )
    answer: dict[str, Any] = {"ready": True}
    while True:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()
        match channel.readline().strip():
            case "step":
                cpu, wall = used(), time.perf_counter()
                step()
                wall = time.perf_counter() - wall
                answer = {"cpu": used() - cpu, "wall": wall}
            case "peak":
                answer = {"bytes": peak()}
            case _:
                return


if __name__ == "__main__":
    main()
