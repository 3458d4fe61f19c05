"""Environments of functions: each zip's own requirements, installed once, kept by their hash.

What Google's buildpack does, as far as it can be seen from inside a function: the declared
runtime's interpreter where this machine has it (else the running one, which is said), a virtual
environment, `pip install --require-hashes`, functions-framework added when the zip names none.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

INSTALLER = Path(__file__).resolve().parents[4] / "scripts" / "installer.py"
FRAMEWORK = "functions-framework==3.10.2\n"  # for zips that name none
PROBE = "import ctypes, ssl, venv, sys; print('%d.%d.%d' % sys.version_info[:3])"
NO_INDEX = re.compile(
    r"NewConnectionError|Max retries exceeded|name resolution|ConnectTimeout|ReadTimeout|"
    r"Connection (?:refused|reset|aborted)|ProxyError|SSLError|Network is unreachable"
)

Say = Callable[[str], None]


class BuildError(Exception):
    """The environment cannot be made. The message is one line for a person."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An installed environment: its interpreter, and the version that really runs ("3.11.7")."""

    python: Path
    version: str


# Runs the command given as arguments; Linux kills it when its parent ends (PR_SET_PDEATHSIG).
WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execvp(sys.argv[1], sys.argv[1:])"
)


@functools.cache
def interpreter(runtime: str) -> tuple[str, str]:
    """A runtime such as "python313" → (executable, version): that version's, else our own."""
    major, minor = runtime.removeprefix("python")[:1], runtime.removeprefix("python")[1:]
    name = f"python{major}.{minor}"
    homes = {str(Path.home()), pwd.getpwuid(os.getuid()).pw_dir}
    pyenvs = {os.environ.get("PYENV_ROOT", "")} | {f"{home}/.pyenv" for home in homes}
    # A shim of pyenv's takes longer than the interpreter that it stands for.
    folders: list[Path] = []
    for root in filter(None, pyenvs):
        folders += sorted(Path(root).glob(f"versions/{major}.{minor}.*/bin"), reverse=True)
    folders += [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep) if p]
    folders += [Path("/usr/local/bin"), Path("/usr/bin")]
    for home in homes:
        folders += Path(home).glob(f".local/share/uv/python/cpython-{major}.{minor}.*/bin")
    for candidate in (str(folder / name) for folder in folders):
        # A shim may exist without its interpreter, an interpreter without its standard library.
        if os.access(candidate, os.X_OK):
            tried = subprocess.run([candidate, "-c", PROBE], capture_output=True, text=True)
            if tried.returncode == 0 and tried.stdout.startswith(f"{major}.{minor}."):
                return candidate, tried.stdout.strip()
    return sys.executable, ".".join(map(str, sys.version_info[:3]))


async def environment(
    cache: Path, source: Path, runtime: str, say: Say, image: bool = False
) -> Environment:
    """The environment for the unpacked zip at `source`, made unless `cache` holds it.

    Two processes that want the same one do not clash: one builds, the other waits for it. It
    appears whole or not at all.

    Args:
        cache: folder kept between runs.
        source: holds requirements.txt, or none; of an image, that file itself.
        image: whether it is one's own image, which gets no framework that it does not name.
        runtime: as declared, such as "python313".
        say: takes one line of progress.

    Raises:
        BuildError: pip failed; the line says why.
    """
    python, version = await asyncio.to_thread(interpreter, runtime)
    file = source if image else source / "requirements.txt"
    wanted = file.read_text() if file.exists() else ""
    named = re.search(r"(?mi)^functions[-_.]framework\b", wanted)
    framework = "" if named or image else FRAMEWORK
    key = hashlib.sha256(f"{version}\n{python}\n{framework}\n{wanted}".encode()).hexdigest()[:24]
    target = cache / "functions" / key
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        async with _lock(target.with_suffix(".lock")):
            if not target.exists():
                await _make(target, python, file, framework, say)
    return Environment(target / "bin" / "python", version)


async def _make(target: Path, python: str, file: Path, framework: str, say: Say) -> None:
    start = time.monotonic()
    for stale in target.parent.glob(f"{target.name}-*"):  # of a build that was interrupted
        shutil.rmtree(stale, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    ticking = asyncio.create_task(_tick(start, say))
    try:
        await _run(python, "-I", "-m", "venv", "--without-pip", str(folder))
        install = (sys.executable, str(INSTALLER), str(folder))
        if file.exists():
            hashes = ["--require-hashes"] if "--hash=" in file.read_text() else []
            await _run(*install, *hashes, "-r", str(file))
        if framework:
            await _run(*install, framework.strip())
        folder.rename(target)
    except OSError as error:
        raise BuildError(f"the environment cannot be written: {error}") from error
    finally:
        ticking.cancel()
        shutil.rmtree(folder, ignore_errors=True)
    say(f"ready after {time.monotonic() - start:.0f} s")


async def _tick(start: float, say: Say) -> None:
    while True:
        say(f"{time.monotonic() - start:.0f} s …")
        await asyncio.sleep(3)


async def _run(*command: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", WITH_PARENT, *command),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output = (await process.communicate())[0].decode(errors="replace")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise BuildError(_reason(output))


def _reason(output: str) -> str:
    """pip's output → one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if any(NO_INDEX.search(line) for line in lines):
        said = next(line for line in lines if NO_INDEX.search(line))[:200]
        return f"the package index cannot be reached (PIP_INDEX_URL or pip.conf set it): {said}"
    if any("No space left" in line for line in lines):
        return "no space left on the device"
    return (errors or lines or ["it said nothing"])[-1][:300]


@contextlib.asynccontextmanager
async def _lock(path: Path) -> AsyncIterator[None]:
    """Holds a file lock: the kernel frees it with the process, so it is never stale."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.1)
        yield
