"""Python's csv: of each column its type, how many are empty, the least and the largest value."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any


def make(file: str) -> Callable[[], None]:
    data = Path(file).read_bytes()

    def step() -> None:
        reader = csv.reader(io.StringIO(data.decode(), newline=""))
        names = next(reader)
        columns: list[list[Any]] = [[] for _ in names]
        empty = [0] * len(names)
        for row in reader:
            for at, value in enumerate(row):
                if value:
                    columns[at].append(value)
                else:
                    empty[at] += 1
        for values in columns:
            for kind in (int, float, str):
                try:
                    made = [kind(value) for value in values]
                except ValueError:
                    continue
                min(made), max(made)
                break

    return step
