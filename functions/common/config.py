"""Reading the environment once, with every fault named at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class ConfigError(Exception):
    """The environment is incomplete or wrong; the message names every variable concerned."""


class Environment:
    """Typed look-ups that collect faults; call check() after the last one."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._faults: list[str] = []

    def text(self, name: str) -> str:
        return self._read(name, str, "")

    def number(self, name: str) -> int:
        return self._read(name, _positive, 1)

    def flag(self, name: str) -> bool:
        return self._read(name, _flag, False)

    def names(self, name: str) -> tuple[str, ...]:
        return self._read(name, _names, ())

    def table(self, name: str, row: Callable[[Mapping[str, Any]], T]) -> dict[str, T]:
        """A JSON map of objects, each read by `row`, which raises KeyError or ValueError."""
        return self._read(name, lambda text: {k: row(v) for k, v in _object(text).items()}, {})

    def check(self) -> None:
        """Raises ConfigError when any look-up failed."""
        if self._faults:
            raise ConfigError("environment variables: " + "; ".join(self._faults))

    def _read(self, name: str, parse: Callable[[str], T], default: T) -> T:
        value = self._variables.get(name, "")
        if not value:
            self._faults.append(f"{name} is missing")
            return default
        try:
            return parse(value)
        except KeyError as error:
            self._faults.append(f"{name} lacks {error}")
        except (ValueError, TypeError) as error:
            self._faults.append(f"{name}: {error}")
        return default


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("must be at least 1")
    return number


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _names(text: str) -> tuple[str, ...]:
    value = json.loads(text)
    if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise ValueError("must be a JSON list of strings")
    return tuple(value)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not (isinstance(value, dict) and all(isinstance(row, dict) for row in value.values())):
        raise ValueError("must be a JSON map of objects")
    return value
