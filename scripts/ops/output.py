"""How results are shown: tables for people, JSON for programs, progress on the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

COLOURS = {
    "done": "green", "ok": "green", "failed": "red", "error": "red", "dead_lettered": "red",
    "note": "cyan", "warning": "yellow", "unknown": "yellow", "pending": "yellow",
}  # fmt: skip


SHOWN = 20  # names that are printed; --json has all


def counted(count: int, what: str) -> str:
    """1 file, 2 files."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


class Step(Protocol):
    def __call__(self, completed: int, title: str = "") -> None: ...


class Output:
    """as_json: only one JSON document on stdout, whatever happens on stderr."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        # Files and pipes get whole lines; a terminal folds them.
        width = None if sys.stdout.isatty() else 1000
        self._out = Console(width=width, highlight=False)
        self._err = Console(stderr=True, highlight=False)

    def document(self, value: Any) -> None:
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")

    def say(self, text: str) -> None:
        """A line for people; nothing in JSON mode."""
        if not self.as_json:
            self._out.print(escape(text), soft_wrap=True)

    def first(self, lines: Iterable[str], total: int) -> None:
        """The first SHOWN, and how many more there are."""
        for line in islice(lines, SHOWN):
            self.say(line)
        self.more(total)

    def more(self, total: int) -> None:
        if total > SHOWN:
            self.say(f"… and {total - SHOWN:,} more: --json lists all")

    def table(self, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*(self._cell(value) for value in row))
        with self._out.capture() as told:
            self._out.print(table)
        # The last column is as wide as its longest line, with blanks that nobody wants in a file.
        for line in told.get().splitlines():
            print(line.rstrip())

    def _cell(self, value: Any) -> str:
        text = escape("–" if value is None else str(value))
        colour = COLOURS.get(str(value))
        return f"[{colour}]{text}[/]" if colour else text

    @contextmanager
    def progress(self, title: str, total: int | None = None) -> Iterator[Step]:
        """A bar on the terminal's stderr; call the step with how many are done."""
        shown = self._err.is_terminal and not self.as_json
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(),
                   MofNCompleteColumn())  # fmt: skip
        with Progress(*columns, console=self._err, transient=True, disable=not shown) as bar:
            task = bar.add_task(title, total=total)

            def step(completed: int, title: str = "") -> None:
                bar.update(task, completed=completed, description=title or None)

            yield step
