"""Terraform, run for one environment: output, signals, and failures with a known way on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from known import known
from prepare import ROOT

PREFIX = "files"
PROJECT = "TF_VAR_project_id"


class Failed(Exception):
    """A command said why; nothing is left to add but its exit code.

    said: what Terraform wrote to stderr, where it was asked quietly.
    """

    def __init__(self, code: int, said: str = "") -> None:
        super().__init__(f"a command ended with {code}")
        self.code, self.said = code, said


@dataclass(frozen=True)
class Environment:
    """One environment of one project: its folder, and where its state and its plan are."""

    name: str
    project: str
    prefix: str

    @property
    def folder(self) -> Path:
        return ROOT / "environments" / self.name

    @property
    def state_bucket(self) -> str:
        return f"{self.project}-{self.prefix}-tfstate"

    @property
    def local_state(self) -> Path:
        """Bootstrap's state, while it is not in the bucket."""
        return self.folder / f"{self.project}.tfstate"

    @property
    def override(self) -> Path:
        return self.folder / "backend_override.tf"

    @property
    def saved_plan(self) -> Path:
        """What `plan` saved for `apply`; git-ignored."""
        return ROOT / "build" / f"{self.name}-{self.project}.tfplan"

    @property
    def planned_from(self) -> Path:
        """What the saved plan was made from, see sources()."""
        return self.saved_plan.with_suffix(".json")

    def command(self, target: str, *more: str) -> str:
        """What a person types in the checkout's root: `make TARGET …`."""
        words = ["make", target]
        if target != "bootstrap":
            words.append(f"ENV={self.name}")
        words.append(f"PROJECT={self.project}")
        if self.prefix != PREFIX:
            words.append(f"PREFIX={self.prefix}")
        return " ".join([*words, *more])


def prefix_of(folder: Path) -> str | None:
    """The prefix that an environment's call has; None for an expression, Terraform's to read."""
    written = re.search(r"^ +prefix += (.*)", (folder / "main.tf").read_text("utf-8"), re.M)
    said = written[1].partition("#")[0].strip() if written else f'"{PREFIX}"'
    return said.strip('"') if said.startswith('"') else None


@dataclass(frozen=True)
class SavedPlan:
    """A plan's file, and what Terraform tells of it, which takes a second: it is asked once."""

    environment: Environment
    path: Path

    @cached_property
    def shown(self) -> dict[str, Any]:
        told = terraform(self.environment, "show", "-json", str(self.path), quiet=True)
        return dict(json.loads(told))


def terraform(environment: Environment, verb: str, *arguments: str, quiet: bool = False) -> str:
    """Runs Terraform in the environment's folder.

    Its output is shown as it comes. With `quiet` it is returned instead, and what went wrong is
    told by the exception alone. Ctrl-C reaches Terraform once, and it is waited for, so that it
    stops in good order and gives its lock back.

    Raises:
        Refused: for a failure with a known way on.
        Failed: for any other; Terraform has shown why, or `said` has it.
        KeyboardInterrupt: once Terraform has ended after Ctrl-C.
    """
    errors: list[str] = []
    with _signals_passed_on() as passed_on:
        process = subprocess.Popen(
            ["terraform", f"-chdir={environment.folder}", verb, *_colour(verb, quiet), *arguments],
            env=os.environ
            | {
                "TF_IN_AUTOMATION": "1",
                "TF_INPUT": "0",
                "TF_VAR_prefix": environment.prefix,
                PROJECT: environment.project,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.PIPE,
            text=True,
            # A group of its own: a terminal's Ctrl-C would reach it beside the one that is passed
            # on, and at the second Terraform drops everything, its lock too.
            process_group=0,
        )
        passed_on.to(process)
        reader = threading.Thread(target=_keep, args=(process.stderr, errors, not quiet))
        reader.start()
        output = process.stdout.read() if process.stdout else ""
        process.wait()
        reader.join()
    if passed_on.received:
        raise KeyboardInterrupt
    if process.returncode == 0:
        return output
    said = "".join(errors)
    raise known(environment, said) or Failed(process.returncode, said if quiet else "")


def _colour(verb: str, quiet: bool) -> tuple[str, ...]:
    """Colours are for terminals: not for files, nor for who asks for none."""
    wanted = sys.stdout.isatty() and not quiet and not os.environ.get("NO_COLOR")
    return () if wanted or verb in ("state", "providers", "force-unlock") else ("-no-color",)


def _keep(lines: Iterator[str], kept: list[str], shown: bool) -> None:
    for line in lines:
        kept.append(line)
        if shown:
            sys.stderr.write(line)
            sys.stderr.flush()


class _PassedOn:
    """Passes the first SIGINT or SIGTERM on to Terraform; further ones are answered with a line."""

    def __init__(self) -> None:
        self.received = False
        self._process: subprocess.Popen[str] | None = None

    def to(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        if self.received:
            process.send_signal(signal.SIGINT)

    def handle(self, _number: int, _frame: object) -> None:
        os.write(2, b"waiting for Terraform to finish its step and unlock the state\n")
        if not self.received and self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self.received = True


@contextmanager
def _signals_passed_on() -> Iterator[_PassedOn]:
    passed_on = _PassedOn()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, passed_on.handle) for number in numbers}
    try:
        yield passed_on
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
