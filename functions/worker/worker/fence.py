"""One task, one process: what it takes, and whether it ends well, is its own affair.

Each is forked off a server that has the handlers loaded, and takes so much memory and time; its
folder, and everything that it started, ends with it.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from batch.records import DONE, FAILED
from batch.tasks import TYPES, TaskId
from worker import child
from worker.settings import Config

POLL_SECONDS = 0.25  # how late a worker that is to end is noticed
SERVER_GONE = 255  # as multiprocessing tells it
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["__main__", "google.cloud.storage", *(f"worker.handlers.{name}" for name in TYPES)]
)
# Starting a process looks at all others, and whoever asks first takes its exit code.
_processes = threading.Lock()


class Stopped(Exception):
    """The worker is to end, so the task was broken off."""


def perform(
    config: Config, task: TaskId, request: dict[str, Any], stopping: threading.Event
) -> dict[str, Any]:
    """The outcome: {status, reason?, detail?, …}. Raises Stopped, and OSError where
    Google is not reached, or no process can be started."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        order = folder, config, str(task), request
        process = _forks.Process(target=child.run, args=order)
        with _processes:
            process.start()
        until = time.monotonic() + config.limit_seconds
        try:
            while not wait([process.sentinel], POLL_SECONDS):
                if stopping.is_set():
                    raise Stopped
                if time.monotonic() > until:
                    return _failed("timed_out", f"It took more than {config.limit_seconds} s.")
        finally:
            code = _end(process)
        return _outcome(code, Path(folder, child.OUTCOME), config)


def _end(process: Any) -> int:
    """Its exit code; what it has started ends, too, or what is left of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with _processes:
        process.kill()  # where it had no time to become a group
        process.join()
        code = int(process.exitcode)
        process.close()
    return code


def _outcome(code: int, said: Path, config: Config) -> dict[str, Any]:
    if code == 0:
        try:
            outcome = json.loads(said.read_bytes())
            if outcome["status"] in (DONE, FAILED):
                return dict(outcome)
        except (OSError, ValueError, KeyError, TypeError):
            pass
    if code in (child.TRY_AGAIN, SERVER_GONE):
        raise ConnectionError("Google was not reached, or the processes' server ended")
    if code in (child.OUT_OF_MEMORY, -signal.SIGKILL):
        limit = config.task_bytes >> 20
        return _failed("out_of_memory", f"It took more than the {limit} MiB of one task.")
    return _failed("process_crashed", f"Its process ended with {code}.")


def _failed(reason: str, detail: str) -> dict[str, Any]:
    return {"status": FAILED, "reason": reason, "detail": detail}
