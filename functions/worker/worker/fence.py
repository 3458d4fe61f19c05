"""One task, one process: what it takes, and whether it ends well, is its own affair.

The child may take so much memory and time, and everything that it started ends with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from batch.records import DONE, FAILED
from batch.tasks import TaskId
from worker.settings import Config

COMMAND = [sys.executable, "-m", "worker.child"]
OUTCOME_BYTES = 1 << 20
POLL_SECONDS = 0.05
# The child's own exit codes: for a MemoryError, and where Google was not reached.
OUT_OF_MEMORY, TRY_AGAIN = 77, 75
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_libc = ctypes.CDLL(None)  # before any fork: a child of threads must not load


class Stopped(Exception):
    """The worker is to end, so the task was broken off."""


def perform(
    config: Config, task: TaskId, request: dict[str, Any], stopping: threading.Event
) -> dict[str, Any]:
    """The outcome: {status, reason?, detail?, …}. Raises Stopped, and OSError where
    Google is not reached, or no process can be started."""
    order = json.dumps({"task_id": str(task), "request": request}).encode()
    process = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        # In the names that the processor has for them.
        env=os.environ | {
            "MEMORY_BYTES": str(config.task_bytes), "WORK_SECONDS": str(config.limit_seconds)
        },
        preexec_fn=lambda: _limit(config.task_bytes),
    )  # fmt: skip
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(process.stdout.read(OUTCOME_BYTES)))  # type: ignore[union-attr]
    reader.start()
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(order)
        process.stdin.close()
    until = time.monotonic() + config.limit_seconds
    try:
        while (code := process.poll()) is None:
            if stopping.is_set():
                raise Stopped
            if time.monotonic() > until:
                return _failed("timed_out", f"It took more than {config.limit_seconds} s.")
            reader.join(POLL_SECONDS) if reader.is_alive() else time.sleep(POLL_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started
        process.wait()
        reader.join(1.0)
    return _ended(code, b"".join(said), config)


def _ended(code: int, said: bytes, config: Config) -> dict[str, Any]:
    if code == 0:
        try:
            outcome = json.loads(said)
            if outcome["status"] in (DONE, FAILED):
                return dict(outcome)
        except (ValueError, KeyError, TypeError):
            pass
    if code == TRY_AGAIN:
        raise ConnectionError("Google was not reached")
    if code in (OUT_OF_MEMORY, -signal.SIGKILL):
        limit = config.task_bytes >> 20
        return _failed("out_of_memory", f"It took more than the {limit} MiB of one task.")
    return _failed("process_crashed", f"Its process ended with {code}.")


def _failed(reason: str, detail: str) -> dict[str, Any]:
    return {"status": FAILED, "reason": reason, "detail": detail}


def _limit(memory: int) -> None:
    """In the child, before it runs: its memory, no core, no new privileges, no life of its own."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Private memory that can be written; not what libraries map to read, which costs nothing.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
