"""A real browser for tests: Debian's Chromium, driven by Playwright.

Where there is none and the machine can install Debian's, it is installed; else the tests that need
it say NOT RUN.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
INSTALL = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "chromium")


NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """The path of Chromium, installed if need be; None where that cannot be."""
    with (Path(tempfile.gettempdir()) / "chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two workers of a test run want it at once
        if not any(map(shutil.which, NAMES)) and os.geteuid() == 0 and shutil.which("apt-get"):
            environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            for command in (("apt-get", "update", "--quiet"), INSTALL):
                subprocess.run(command, env=environ, capture_output=True, timeout=120, check=False)
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """Raises LookupError where no browser can be had."""
    path = chromium()
    if path is None:
        raise LookupError("there is no Chromium here, and it cannot be installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()
