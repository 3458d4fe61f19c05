"""The published schemas and the page of reasons agree with the code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NotRequired,
    Required,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import jsonschema
import pytest
from function_fakes import load, resource, task
from test_processor_images import encode, quarters
from test_processor_kinds import pdf

from contract.reasons import PERMANENT, REASONS
from contract.records import Failure, Manifest
from contract.task import TaskBody

DOCS = Path(__file__).parents[2] / "docs"
SCHEMAS = DOCS.parent / "functions/contract/schemas"
PAGE = (DOCS / "reasons.md").read_text()


def schema(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(read)
    return read


def documented(after: str) -> dict[str, list[str]]:
    """First cell → other cells, of the table that begins after that text."""
    table = PAGE.partition(after)[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.M)
    return {name: [cell.strip(" `") for cell in cells.split("|")] for name, cells in rows}


def test_the_processors_reasons_are_all_documented() -> None:
    table = documented("| Reason of a failure record")
    assert [(name, cells[0]) for name, cells in table.items()] == [
        (name, "no" if name in PERMANENT else "yes") for name in REASONS
    ]


def test_the_bridges_reasons_are_all_documented() -> None:
    main, _ = load("bridge")
    table = documented("| Reason | Event | Answer")
    assert {name: (cells[0], int(cells[1])) for name, cells in table.items()} == {
        name: (decision.event, decision.status) for name, decision in main.TABLE.items()
    }


def events(path: Path) -> Iterator[str]:
    """What is logged as an event: what write() and _tell() are given, or the name `event`."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        given: list[ast.expr] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".write", "._tell")):
            given = node.args[1:2]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "(event, message)":
            pairs = [part for part in ast.walk(node.value) if isinstance(part, ast.Tuple)]
            given = [pair.elts[0] for pair in pairs]
        for one in given:
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                yield one.value


def test_the_processors_events_are_those_that_are_documented() -> None:
    sources = (DOCS.parent / "functions/processor").rglob("*.py")
    assert {event for path in sources for event in events(path)} == {
        *documented("## Processor\n\n| Event")
    }


@pytest.mark.parametrize(
    "data", [encode(quarters(600, 400)), pdf(), b"text\n", b"", b"PK\3\4" + bytes(50)]
)
def test_manifests_keep_to_their_schema(processor: Any, data: bytes) -> None:
    record = processor.process(data, contentType=None)
    jsonschema.validate(record, schema("manifest"))


def test_failure_records_keep_to_their_schema(processor: Any) -> None:
    jsonschema.validate(processor.process(b"x", contentType="image/png"), schema("failure"))
    jsonschema.validate(processor.post(resource("gone"))[1], schema("failure"))


def test_tasks_keep_to_their_schema() -> None:
    jsonschema.validate(task(resource(metadata={"a": "b"})), schema("task"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(task(resource(generation=1)), schema("task"))


NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
TYPES = {"task": TaskBody, "manifest": Manifest, "failure": Failure}


def typed(hint: Any) -> Any:
    """A type as the part of a JSON Schema that says the same."""
    if is_typeddict(hint):
        hints = get_type_hints(hint, include_extras=True)
        inner = {
            name: typed(get_args(one)[0] if get_origin(one) in (NotRequired, Required) else one)
            for name, one in hints.items()
        }
        return {"type": "object", "required": hint.__required_keys__, "properties": inner}
    if get_origin(hint) is Literal:
        values = get_args(hint)
        return {"const": values[0]} if len(values) == 1 else {"enum": list(values)}
    if get_origin(hint) is list:
        return {"type": "array", "items": typed(get_args(hint)[0])}
    if get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": typed(get_args(hint)[1])}
    if isinstance(hint, UnionType):
        return {"type": {NAMES[one] for one in get_args(hint)}}
    return {"type": NAMES[hint]}


def published(part: dict[str, Any]) -> Any:
    """A part of a schema without what no type says: descriptions, patterns, bounds."""
    made = {name: part[name] for name in ("type", "const", "enum") if name in part}
    if isinstance(made.get("type"), list):
        made["type"] = set(made["type"])
    for name in ("items", "additionalProperties"):
        if name in part:
            made[name] = published(part[name])
    if "properties" in part:
        made["required"] = frozenset(part.get("required", ()))
        made["properties"] = {name: published(one) for name, one in part["properties"].items()}
    return made


@pytest.mark.parametrize("name", TYPES)
def test_a_schema_and_its_type_have_the_same_fields(name: str) -> None:
    assert published(schema(name)) == typed(TYPES[name])


@pytest.mark.parametrize("name", TYPES)
def test_readers_accept_added_fields(name: str) -> None:
    assert "additionalProperties" not in schema(name)
