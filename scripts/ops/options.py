"""What commands have in common: their session, and options."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click

from . import filters
from .clients import Clients
from .declared import State
from .environment import Environment, load
from .naming import name_of
from .tasks import Service

F = TypeVar("F", bound=Callable[..., Any])


class _Parsed(click.ParamType[Any]):
    """An option that a function reads; a ValueError is a usage error."""

    def __init__(self, name: str, parse: Callable[[str], Any], form: str) -> None:
        self.name, self._parse, self._form = name, parse, form

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError:
            self.fail(f"{value!r} is not a {self.name}: write {self._form}", param, ctx)


TIME = _Parsed("time", filters.moment, "2026-11-21, 2026-11-21T10:00 (UTC), or 2h for so long ago")
SPAN = _Parsed("span", filters.span, "90s, 15m, 2h, 7d, or 0")


class Session:
    """What all commands have in common; the environment is read when it is first needed."""

    def __init__(self, name: str, project: str, outputs: Path | None, **overrides: str) -> None:
        self._name, self._project, self._outputs = name, project, outputs
        self._overrides = overrides
        self._environment: Environment | None = None
        self._clients: Clients | None = None

    @property
    def environment(self) -> Environment:
        if self._environment is None:
            self._environment = load(self._name, self._project, self._outputs, self._overrides)
        return self._environment

    @property
    def clients(self) -> Clients:
        if self._clients is None:
            self._clients = Clients(self.environment.project)
        return self._clients

    @cached_property
    def batch(self) -> Service:
        return Service.of(self._name, self._project)

    def chosen(
        self, file: str, prefix: str, since: datetime | None, until: datetime | None
    ) -> filters.Filter:
        """Raises Problem where there is no such file."""
        if not file:
            return filters.Filter(prefix, since, until)
        if prefix:
            raise click.UsageError("--file and --prefix exclude each other")
        name = name_of(self.clients, self.environment, file)
        return filters.Filter.of_name(name, since, until)

    def state(self) -> State:
        return State.read(self._name, self._project)


def filtered(command: F) -> F:
    """--prefix, --since, --until."""
    for option in (
        click.option("--until", type=TIME, help="Only before this time."),
        click.option(
            "--since",
            type=TIME,
            help="Only from this time on: 2026-11-21T10:00 (UTC), or 2h ago, as 2h.",
        ),
        click.option("--prefix", default="", help="Only objects whose name begins so."),
    ):
        command = option(command)
    return command


one_file = click.option(
    "--file", default="", metavar="[gs://UPLOADS/NAME | FILE_ID | TASK]", help="Only this file."
)


def acting(limit: int) -> Callable[[F], F]:
    """--apply, --limit, --rate."""

    def add(command: F) -> F:
        for option in (
            click.option(
                "--rate", type=click.FloatRange(0.01), metavar="PER_SECOND",
                help="Tasks a second for each lane. [default: 80 % of its queue's rate]",
            ),
            click.option(
                "--limit", type=click.IntRange(1), default=limit, show_default=True,
                help="At most so many tasks; run again for the rest.",
            ),
            click.option(
                "--apply", "--yes", "apply", is_flag=True, help="Do it. Without: only show it."
            ),
        ):  # fmt: skip
            command = option(command)
        return command

    return add


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
