"""Makes what a target of the Makefile needs inside the checkout, once: `prepare.py [--gsutil]`.

Checks Python and Terraform, creates .venv from the hashed requirements of tests/, and says what it
is doing. Safe to run twice at once: the second waits for the first.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

from installer import install

ROOT = Path(__file__).resolve().parents[1]
PYTHON, TERRAFORM = (3, 11), (1, 9)
RELEASE = "1.11.4"  # as .github/workflows has it


class Unprepared(Exception):
    """Something that only the user can fix: what, and how."""


HINTS = {
    errno.ENOSPC: "The disk is full: free about 1 GB and run this again",
    errno.EROFS: "The checkout is on a read-only disk: clone it elsewhere",
    errno.EACCES: "This user may not do that here: ls -l shows whose it is",
}


def told(error: OSError) -> str:
    """The error, and the way on where it is known by its number; nothing is guessed."""
    hint = HINTS.get(error.errno or 0)
    return f"{error}. {hint}" if hint else str(error)


def check_python() -> None:
    if sys.version_info < PYTHON:
        have = ".".join(map(str, sys.version_info[:3]))
        raise Unprepared(f"Python {have} is too old: install Python 3.11 or newer")


def install_terraform() -> str:
    """The command that installs it here: the release that CI uses, or Homebrew's."""
    system, machine = platform.system().lower(), platform.machine().lower()
    if system == "darwin":
        return "brew install hashicorp/tap/terraform"
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    name = f"terraform_{RELEASE}_{system}_{arch}.zip"
    url = f"https://releases.hashicorp.com/terraform/{RELEASE}/{name}"
    return (
        f"curl -fsSLO {url} && sudo {Path(sys.executable).name} -m zipfile -e {name} "
        "/usr/local/bin && sudo chmod +x /usr/local/bin/terraform"
    )


def check_terraform() -> None:
    if shutil.which("terraform") is None:
        raise Unprepared(
            "terraform is not on PATH: install Terraform 1.9 or newer, such as with: "
            f"{install_terraform()}"
        )
    done = subprocess.run(
        ["terraform", "version"],
        capture_output=True,
        text=True,
        env=os.environ | {"CHECKPOINT_DISABLE": "1"},
    )
    match = re.search(r"Terraform v(\d+)\.(\d+)", done.stdout)
    if not match:
        raise Unprepared(f"terraform version does not work: {done.stderr.strip()[:200]}")
    if (int(match[1]), int(match[2])) < TERRAFORM:
        raise Unprepared(
            f"Terraform {match[1]}.{match[2]} is too old: install 1.9 or newer, such as with: "
            f"{install_terraform()}"
        )


def environment(target: Path, *requirements: tuple[Path, tuple[str, ...]]) -> None:
    """A virtual environment with hashed requirements: complete, or not there at all.

    Args:
        target: folder of the environment.
        requirements: files, each with further options for pip.

    Raises:
        Unprepared: when it cannot be made; nothing half-made is left behind.
    """
    digest = hashlib.sha256(sys.version.encode())
    for path, options in requirements:
        if not path.is_file():
            name = path.relative_to(ROOT)
            raise Unprepared(
                f"{name} is missing from this checkout: git restore {name} brings it back"
            )
        digest.update(path.read_bytes() + repr(options).encode())
    mark = target / "complete"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(target.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if mark.exists() and mark.read_text() == digest.hexdigest():
            return
        began = time.monotonic()
        print(f"Preparing {target.relative_to(ROOT)} (once; a minute or two) …", flush=True)
        shutil.rmtree(target, ignore_errors=True)
        try:
            try:
                venv.create(target, with_pip=True)
            except subprocess.CalledProcessError as error:
                raise Unprepared(
                    "this Python cannot make environments with pip: install its venv package "
                    "(on Debian and Ubuntu: apt install python3-venv)"
                ) from error
            for path, options in requirements:
                print(f"  installing {path.relative_to(ROOT)} …", flush=True)
                _install(target, path, options)
            mark.write_text(digest.hexdigest())
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        print(f"  ready in {time.monotonic() - began:.0f} s", flush=True)


def _install(target: Path, requirements: Path, options: tuple[str, ...]) -> None:
    done = install(target, "--require-hashes", *options, "-r", str(requirements))
    if done.returncode == 0:
        return
    errors = done.stderr.strip()
    if re.search(r"No space left|Errno 28", errors):
        raise Unprepared(f"the disk is full: free about 1 GB under {ROOT} and run this again")
    if re.search(
        r"NewConnectionError|NameResolution|ConnectTimeout|ConnectionError|ProxyError|SSLError",
        errors,
    ):
        raise Unprepared(
            "the Python package index cannot be reached: check the network, or pip's own "
            "configuration (pip config list), and run this again"
        )
    last = [line for line in errors.splitlines() if line.startswith("ERROR")] or ["pip failed"]
    raise Unprepared(
        f"pip could not install {requirements.name}: {last[-1].removeprefix('ERROR: ')}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--gsutil", action="store_true", help="also gsutil, where the machine has none"
    )
    parser.add_argument("--no-terraform", action="store_true", help="do not ask for Terraform")
    arguments = parser.parse_args()
    tests = ROOT / "tests"
    try:
        check_python()
        if not arguments.no_terraform:
            check_terraform()
        environment(
            ROOT / ".venv",
            (tests / "requirements-uv.txt", ()),
            (tests / "requirements.txt", ()),
            (tests / "requirements-nodeps.txt", ("--no-deps",)),
        )
        if arguments.gsutil and not (shutil.which("gsutil") or shutil.which("gcloud")):
            environment(ROOT / ".cache/gsutil", (tests / "requirements-gsutil.txt", ()))
    except Unprepared as error:
        print(f"Cannot go on: {error}.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Cannot go on: {told(error)}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
