"""A request to do something, as submit takes it and the worker does it.

A type of task is a row of TYPES: its name and the function that checks a request's own fields. A
checked request is plain JSON: {"task_type", "priority", fields of the type …}.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

NO_BATCH = "-"
MAX_NAME_BYTES = 1024
MAX_ROWS = 10_000_000
MAX_RUN = 999_999  # as contract.identity has it
MAX_DELAY = timedelta(days=30)  # Cloud Tasks' limit for a scheduled task
_BATCH = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ID = re.compile(r"(?:(?P<batch>[a-z0-9][a-z0-9-]{0,62})\.)?(?P<id>[0-9a-f]{32})")
_LANE = re.compile(r"[a-z][a-z0-9-]{0,62}")
_COLUMN_BYTES = 128
_FORMATS = ("csv", "ndjson", "parquet")
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=", "contains", "is_null")
_AGGREGATES = ("count", "sum", "avg", "min", "max")
_COMMON = {"task_type", "priority", "run_after", "key"}

Fields = Mapping[str, Any]


class Invalid(ValueError):
    """A field is missing or wrong; the message names it and what it must be."""


@dataclass(frozen=True, slots=True)
class TaskId:
    """batch: the batch's name, or "-". id: 32 hex digits. As text: BATCH.ID, or ID alone."""

    batch: str
    id: str

    def __str__(self) -> str:
        return self.id if self.batch == NO_BATCH else f"{self.batch}.{self.id}"

    @classmethod
    def parse(cls, text: str) -> TaskId:
        """Raises Invalid."""
        match = _ID.fullmatch(text)
        if match is None:
            raise Invalid("task_id must be what the submission answered: [BATCH.]32 hex digits")
        return cls(match["batch"] or NO_BATCH, match["id"])

    @classmethod
    def new(cls, batch: str = NO_BATCH, key: str | None = None) -> TaskId:
        """Random, or, with a key, the same for the same batch and key."""
        if key is None:
            return cls(batch, secrets.token_hex(16))
        digest = hashlib.sha256(json.dumps([batch, key]).encode()).hexdigest()
        return cls(batch, digest[:32])


def checked_batch(batch: object) -> str:
    """Raises Invalid."""
    if not (isinstance(batch, str) and _BATCH.fullmatch(batch)):
        raise Invalid(
            "batch_id must have 1 to 63 lower-case letters, digits and hyphens, and begin with a "
            "letter or digit"
        )
    return batch


def checked(fields: object, priorities: tuple[str, ...], now: datetime) -> dict[str, Any]:
    """The request that is kept. Raises Invalid for the first field that is missing or wrong."""
    if not isinstance(fields, Mapping):
        raise Invalid("the body must be a JSON object")
    name = fields.get("task_type")
    if not name:
        raise Invalid("task_type is required")
    if not isinstance(name, str) or name not in TYPES:
        raise Invalid(f"task_type must be one of {', '.join(sorted(TYPES))}")
    priority = fields.get("priority", priorities[0])
    if priority not in priorities:
        raise Invalid(f"priority must be one of {', '.join(priorities)}")
    request = {"task_type": name, "priority": priority} | TYPES[name](fields)
    if unknown := fields.keys() - request.keys() - _COMMON:
        raise Invalid(f"{sorted(unknown)[0]} is not a field of {name}")
    if (after := fields.get("run_after")) is not None:
        request["run_after"] = _moment(after, now)
    return request


def _moment(after: object, now: datetime) -> str:
    """RFC 3339 in UTC."""
    try:
        then = datetime.fromisoformat(after if isinstance(after, str) else "")
    except ValueError:
        then = None
    if then is None or then.tzinfo is None:
        raise Invalid("run_after must be a time with its zone, such as 2026-11-30T18:00:00Z")
    if then - now > MAX_DELAY:
        raise Invalid("run_after must lie at most 30 days ahead")
    return then.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _file_processing(fields: Fields) -> dict[str, Any]:
    """{filename} or {prefix}: of uploads; lane, run: as which lane has it, and which run it is.
    processing_time, a sham of the recipe, is let in."""
    seconds = fields.get("processing_time", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise Invalid("processing_time must be a number of seconds")
    taken: dict[str, Any] = {"processing_time": seconds} if "processing_time" in fields else {}
    if ("filename" in fields) == ("prefix" in fields):
        raise Invalid("filename is required: an object of the uploads bucket, or a prefix of many")
    which = "filename" if "filename" in fields else "prefix"
    taken[which] = _object(fields, which)
    if "lane" in fields:
        if not (isinstance(fields["lane"], str) and _LANE.fullmatch(fields["lane"])):
            raise Invalid("lane must be the name of one of the pipeline's lanes")
        taken["lane"] = fields["lane"]
    if "run" in fields:
        if type(fields["run"]) is not int or not 0 <= fields["run"] <= MAX_RUN:
            raise Invalid(f"run must be a whole number from 0 to {MAX_RUN}")
        taken["run"] = fields["run"]
    return taken


def _data_transformation(fields: Fields) -> dict[str, Any]:
    """{transformation, and input or dataset_size …}: see docs/batch.md."""
    transformation = fields.get("transformation", "normalize")
    if transformation not in _TRANSFORMATIONS:
        raise Invalid(f"transformation must be one of {', '.join(_TRANSFORMATIONS)}")
    request: dict[str, Any] = {"transformation": transformation}
    if "input" in fields:
        request["input"] = _object(fields, "input")
        request["input_format"] = _format(fields, "input_format", _by_name(request["input"]))
    else:
        rows = fields.get("dataset_size", 100)
        if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MAX_ROWS:
            raise Invalid(f"dataset_size must be a whole number of rows from 1 to {MAX_ROWS}")
        request["dataset_size"] = rows
    request["output_format"] = _format(fields, "output_format", "csv")
    return request | _TRANSFORMATIONS[transformation](fields)


def _normalize(fields: Fields) -> dict[str, Any]:
    return {"columns": _columns(fields, "columns")} if "columns" in fields else {}


def _aggregation(fields: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "group_by" in fields:
        found["group_by"] = _columns(fields, "group_by")
    if "aggregates" in fields:
        found["aggregates"] = [
            {"op": _one_of(row, "op", _AGGREGATES), "column": _column(row.get("column"), "column")}
            for row in _rows(fields, "aggregates")
        ]
    return found


def _filter(fields: Fields) -> dict[str, Any]:
    conditions = []
    for row in _rows(fields, "where"):
        value = row.get("value")
        if not isinstance(value, str | int | float | bool | None):
            raise Invalid("where.value must be a string, a number, true or false")
        op = _one_of(row, "op", _COMPARISONS)
        if value is None and op != "is_null":
            raise Invalid(f"where.value is required for {op}")
        condition: dict[str, Any] = {"column": _column(row.get("column"), "where.column"), "op": op}
        conditions.append(condition | ({} if op == "is_null" else {"value": value}))
    return {"where": conditions}


def _convert(fields: Fields) -> dict[str, Any]:
    if "output_format" not in fields:
        raise Invalid(f"output_format must be one of {', '.join(_FORMATS)}")
    return {}


_TRANSFORMATIONS: dict[str, Callable[[Fields], dict[str, Any]]] = {
    "aggregation": _aggregation, "convert": _convert, "filter": _filter, "normalize": _normalize,
}  # fmt: skip
TYPES: dict[str, Callable[[Fields], dict[str, Any]]] = {
    "data_transformation": _data_transformation, "file_processing": _file_processing,
}  # fmt: skip


def _object(fields: Fields, field: str) -> str:
    name = fields[field]
    if not isinstance(name, str) or not name or len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        raise Invalid(f"{field} must be an object's name, of 1 to {MAX_NAME_BYTES} bytes")
    if any(ord(char) < 32 or 0xD800 <= ord(char) < 0xE000 for char in name):
        raise Invalid(f"{field} must have no control characters")
    return name


def _by_name(name: str) -> str:
    ending = name.rpartition(".")[2].lower()
    return {"jsonl": "ndjson", "json": "ndjson"}.get(ending, ending)


def _format(fields: Fields, field: str, default: str) -> str:
    value = fields.get(field, default)
    if value not in _FORMATS:
        raise Invalid(f"{field} must be one of {', '.join(_FORMATS)}")
    return str(value)


def _one_of(row: Fields, field: str, known: tuple[str, ...]) -> str:
    value = row.get(field)
    if value not in known:
        raise Invalid(f"{field} must be one of {', '.join(known)}")
    return str(value)


def _rows(fields: Fields, field: str) -> list[Fields]:
    rows = fields.get(field)
    if not (isinstance(rows, list) and 1 <= len(rows) <= 20) or not all(
        isinstance(row, Mapping) for row in rows
    ):
        raise Invalid(f"{field} must be a list of 1 to 20 objects")
    return rows


def _columns(fields: Fields, field: str) -> list[str]:
    names = fields[field]
    if not (isinstance(names, list) and 1 <= len(names) <= 100):
        raise Invalid(f"{field} must be a list of 1 to 100 columns' names")
    return [_column(name, field) for name in names]


def _column(name: object, field: str) -> str:
    if not isinstance(name, str) or not 1 <= len(name.encode(errors="replace")) <= _COLUMN_BYTES:
        raise Invalid(f"{field} must be a column's name, of 1 to {_COLUMN_BYTES} bytes")
    if "\0" in name or any(0xD800 <= ord(char) < 0xE000 for char in name):
        raise Invalid(f"{field} must be valid Unicode without a zero character")
    return name
