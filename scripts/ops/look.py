"""What every check is given, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import runner

from . import ROOT
from .clients import Clients
from .declared import Resource, State
from .environment import Environment, named_prefix

Level = Literal["ok", "note", "warning", "error", "unknown"]
NOTHING: tuple[object, ...] = (None, 0, "", {})


@dataclass(frozen=True)
class Finding:
    """One fact. fix is a command or a sentence; empty where all is well.

    A note is worth knowing for whoever answers for the environment, but nothing to fix.
    """

    level: Level
    check: str
    what: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


class Look:
    """The environment as Terraform declares it, and Google's answers.

    Attributes:
        get: one call of a REST API; None for 404. Raises Problem.
        apply: the command that makes what is there what is declared.
        bootstrap: the same for what a project needs once.
    """

    def __init__(self, clients: Clients, environment: Environment, state: State) -> None:
        self.clients, self.environment, self.state = clients, environment, state
        self.get = clients.rest
        prefix = named_prefix(ROOT / "environments" / state.name)
        deployed = runner.Environment(state.name, environment.project, prefix)
        self.apply = deployed.command("apply")
        named = " ".join(module for module in state.modules if module != "pipeline")
        capabilities = f' CAPABILITIES="{named}"' if named else ""
        self.bootstrap = deployed.command("bootstrap") + capabilities

    def ops(self, arguments: str) -> str:
        """A command of the operator's tool, as a person types it."""
        project = self.environment.project
        return f'make ops ENV={self.state.name} PROJECT={project} ARGS="{arguments}"'

    def absent(self, check: str, declared: Resource, name: str) -> Finding:
        return Finding("error", check, f"{name} ({declared.address}) does not exist", self.apply)

    def differing(
        self, check: str, name: str, pairs: dict[str, tuple[Any, Any]]
    ) -> Iterator[Finding]:
        """An error for each pair (live, declared) that differs; what is absent equals nothing."""
        for what, (live, wanted) in pairs.items():
            if live == wanted or (live in NOTHING and wanted in NOTHING):
                continue
            if isinstance(live, dict) and isinstance(wanted, dict):
                changed = [k for k in {*live, *wanted} if live.get(k) != wanted.get(k)]
                live, wanted = f"changed in {', '.join(sorted(changed))}", "others"
            text = f"{name}: {what} is {live}, declared is {wanted}"
            yield Finding("error", check, text, self.apply)


# Name → what looks. A check yields nothing, or notes only, where all is as declared.
Checks = dict[str, Callable[[Look], Iterator[Finding]]]


def short(name: str) -> str:
    return name.rpartition("/")[2]
