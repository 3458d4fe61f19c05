"""An instance has no CPU between requests: what its server does when it wakes up."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

FUNCTIONS = Path(__file__).parents[2] / "functions"
HANDLER = "import runtime\ndef handle(request): return 'ok'\n"
ASLEEP = 1.2  # longer than the request's timeout, which is what the heartbeat's is without runtime


@contextlib.contextmanager
def served(folder: Path, handler: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """functions-framework and gunicorn as Google starts them, with one worker: the arbiter's
    process, and the address."""
    (folder / "main.py").write_text(handler)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    given = {"PYTHONPATH": str(FUNCTIONS), "PORT": str(port), "CLOUD_RUN_TIMEOUT_SECONDS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "functions_framework", "--target=handle", "--host=127.0.0.1"],
        cwd=folder, env=os.environ | given, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield process, f"http://127.0.0.1:{port}/"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def answered(url: str) -> bytes:
    """Asked until somebody answers: it starts meanwhile."""
    until = time.monotonic() + 60
    while True:
        try:
            return bytes(urllib.request.urlopen(url, timeout=10).read())
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def worker_of(arbiter: int) -> int:
    children = Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split()
    return int(children[0])


def wakes_up(folder: Path, handler: str) -> bool:
    """Whether the worker survives a sleep after which the arbiter gets its CPU first."""
    with served(folder, handler) as (process, url):
        assert answered(url) == b"ok"
        worker = worker_of(process.pid)
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(ASLEEP)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(ASLEEP)  # the arbiter looks once a second
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)
        assert answered(url) == b"ok"
        return worker_of(process.pid) == worker


def test_a_worker_survives_a_sleep_longer_than_its_requests_timeout(tmp_path: Path) -> None:
    assert wakes_up(tmp_path, HANDLER)


def test_the_framework_alone_kills_it(tmp_path: Path) -> None:
    """Once this fails, runtime need not turn the heartbeat off any more."""
    assert not wakes_up(tmp_path, HANDLER.replace("import runtime\n", ""))
