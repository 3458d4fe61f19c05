"""Settings read from the environment, with every fault named at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class ConfigError(Exception):
    """The environment is incomplete or wrong; the message names every variable concerned."""


def read(cls: type[T], variables: Mapping[str, str]) -> T:
    """A dataclass, each field from the variable of its name in capitals. Raises ConfigError."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        name = field.name.upper()
        parse = field.metadata.get("parse") or _PARSERS[str(field.type)]
        try:
            values[field.name] = parse(variables[name]) if variables.get(name) else None
        except (ValueError, TypeError, KeyError) as error:
            faults.append(f"{name}: {type(error).__name__}: {error}")
        else:
            faults += [f"{name} is missing"] if values[field.name] is None else []
    if faults:
        raise ConfigError("environment variables: " + "; ".join(faults))
    return cls(**values)


def table(row: Callable[..., Any]) -> Any:
    """A field that holds a JSON map of JSON maps; `row` is called with the fields of each."""

    def parse(text: str) -> dict[str, Any]:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("must be a JSON map")
        return {key: row(**item) for key, item in value.items()}

    return dataclasses.field(metadata={"parse": parse})


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("must be at least 1")
    return number


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _names(text: str) -> tuple[str, ...]:
    value = json.loads(text)
    if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise ValueError("must be a JSON list of strings")
    return tuple(value)


_PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str, "int": _positive, "bool": _flag, "tuple[str, ...]": _names,
}  # fmt: skip
