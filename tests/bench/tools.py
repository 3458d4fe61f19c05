"""What others use for thumbnails, installed where it can be: libvips by pyvips, sharp by npm."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.localcloud.client import CACHE

FOLDER = CACHE / "bench"


def pyvips() -> Path | None:
    """The interpreter of an environment that holds it (and what writes HEIC)."""
    python = FOLDER / "tools" / "bin" / "python"
    if not (FOLDER / "tools.done").exists():
        shutil.rmtree(FOLDER / "tools", ignore_errors=True)
        wanted = ["pyvips[binary]", "pillow-heif"]
        made = _run(sys.executable, "-m", "venv", str(FOLDER / "tools")) and _run(
            str(python), "-m", "pip", "install", "--quiet", "--retries", "2", *wanted
        )
        if not made:
            return None
        (FOLDER / "tools.done").touch()
    return python


def sharp() -> Path | None:
    """The folder of modules that holds it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    modules = FOLDER / "sharp" / "node_modules"
    if not (modules / "sharp").exists():
        (FOLDER / "sharp").mkdir(parents=True, exist_ok=True)
        options = ("--no-save", "--no-audit", "--no-fund", "--prefix", str(FOLDER / "sharp"))
        if not _run("npm", "install", *options, "sharp"):
            return None
    return modules


def _run(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=180).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
