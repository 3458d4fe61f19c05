"""What Terraform is shown: the checks of a configuration and the planned values."""

from __future__ import annotations

import json
import re
from typing import Any

from .tables import Block, Field, Table
from .values import UNKNOWN, equal, is_empty


def check(block: Block, config: Any, where: str = "") -> list[str]:
    """The faults of a configuration, one sentence each."""
    faults = []
    for name, field in block.fields.items():
        value = config[name]
        if value is None or value is UNKNOWN:
            continue
        if field.block is not None:
            for item in value:
                faults += check(field.block, item, f"{where}{name}.")
            continue
        for item in value if isinstance(value, list) else [value]:
            faults += [f"{where}{name}: {fault}" for fault in _faults(field, item)]
    for rule, names in block.groups:
        values = [config[name] for name in names]
        if UNKNOWN in values:
            continue
        count = sum(value not in (None, []) for value in values)
        listed = f"{where}{', '.join(names)}"
        if rule == "exactly_one" and count != 1:
            faults.append(f"exactly one of {listed} must be specified, not {count}")
        elif rule == "at_least_one" and not count:
            faults.append(f"at least one of {listed} must be specified")
        elif rule == "conflicts" and count > 1:
            faults.append(f"at most one of {listed} may be specified")
    return faults


def _faults(field: Field, value: Any) -> list[str]:
    if value is UNKNOWN:
        return []
    if field.enum and value != "" and value not in field.enum:
        return [f"expected one of {', '.join(field.enum)}, got {value}"]
    if field.pattern and not re.search(field.pattern, value):
        return [f'"{value}" must match {field.pattern}']
    if field.limits and not field.limits[0] <= value <= field.limits[1]:
        return [f"expected {field.limits[0]} to {field.limits[1]}, got {value}"]
    low, _, high = field.options.get("length", "").partition("..")
    if high and not int(low) <= len(value) <= int(high):
        return [f'"{value}" must have {low} to {high} characters']
    if field.same == "json":
        try:
            json.loads(value)
        except ValueError as error:
            return [f"contains an invalid JSON: {error}"]
    return []


def _seconds(text: str) -> Any:
    match = re.fullmatch(r"([\d.]+)s", text)
    return float(match[1]) if match else text


def _within(small: Any, large: Any) -> bool:
    """Whether one JSON value holds another: servers add keys of their own."""
    if isinstance(small, dict) and isinstance(large, dict):
        return all(key in large and _within(small[key], large[key]) for key in small)
    if isinstance(small, list) and isinstance(large, list):
        return len(small) == len(large) and all(map(_within, small, large))
    return bool(small == large)


def same(field: Field, new: Any, old: Any) -> bool:
    """Whether a change from old to new is none (the provider's "diff suppression")."""
    if equal(field, new, old) or (is_empty(new) and is_empty(old)):
        return True
    if field.options.get("keeps") and isinstance(old, dict) and isinstance(new, dict):
        added = field.options["keeps"]
        return new == {key: value for key, value in old.items() if key != added or key in new}
    if not isinstance(new, str) or not isinstance(old, str):
        return False
    if field.same == "link":
        return "/" not in new and new == old.rsplit("/", 1)[-1]
    if field.same == "duration":
        return bool(_seconds(new) == _seconds(old))
    if field.same == "case":
        return new.lower() == old.lower()
    return field.same == "json" and _within(json.loads(new), json.loads(old))


def _attribute(field: Field, config: Any, prior: Any, exists: bool) -> Any:
    items = config.values() if isinstance(config, dict) else config
    if config is UNKNOWN or (isinstance(config, list | dict) and UNKNOWN in items):
        return UNKNOWN  # one unknown item makes the whole list or map unknown
    if config is None or (config == "" and field.computed):
        if field.computed:
            return prior if exists else UNKNOWN
        if field.default is None:
            return prior if exists and is_empty(prior) else None
        config = field.default
    if field.upper:
        config = config.upper()
    return prior if exists and same(field, config, prior) else config


def _partner(field: Field, item: Any, index: int, prior: list[Any]) -> Any:
    """The prior block that a block continues: by place, in sets by its required attributes."""
    if field.type == "setblock" and not field.single and field.block is not None:
        keys = [name for name, inner in field.block.fields.items() if inner.required]
        return next((old for old in prior if all(old[k] == item[k] for k in keys)), None)
    return prior[index] if index < len(prior) else None


def _without_nulls(block: Block | None, item: dict[str, Any]) -> None:
    """In sets, the older provider kit has "" and [] for null."""
    for name, field in (block or Block()).fields.items():
        if field.block is not None:
            for inner in item[name] if isinstance(item[name], list) else []:
                _without_nulls(field.block, inner)
        elif item[name] is None and field.type in ("string", "list"):
            item[name] = "" if field.type == "string" else []


def _blocks(field: Field, config: Any, prior: Any, exists: bool) -> Any:
    if config is UNKNOWN:
        return UNKNOWN
    if not config and field.computed:
        return (prior or []) if exists else UNKNOWN
    planned = []
    for index, item in enumerate(config or []):
        old = _partner(field, item, index, prior or [])
        planned.append(planned_block(field.block, item, old))
        if field.type == "setblock":
            _without_nulls(field.block, planned[-1])
    return prior if exists and equal(field, planned, prior) else planned


def planned_block(block: Block | None, config: Any, prior: Any) -> dict[str, Any]:
    """The planned content of a block; prior is None where there was none."""
    planned = {}
    assert block is not None
    for name, field in block.fields.items():
        make = _attribute if field.block is None or not field.optional | field.required else _blocks
        planned[name] = make(field, config[name], (prior or {}).get(name), prior is not None)
    return planned


def _changes(field: Field, planned: Any, prior: Any) -> bool:
    if field.new:
        return not same(field, planned, prior)
    if field.block is None or not isinstance(planned, list) or equal(field, planned, prior):
        return False
    pairs = zip(planned, prior or [], strict=False)
    return any(
        _changes(inner, new[name], old[name])
        for new, old in pairs
        for name, inner in field.block.fields.items()
    )


def replaced_by(table: Table, planned: Any, prior: Any) -> list[str]:
    """The attributes whose change makes Terraform replace the resource."""
    fields = table.block.fields.items()
    return [name for name, field in fields if _changes(field, planned[name], prior[name])]
