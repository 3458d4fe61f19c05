"""The published schemas and the page of reasons agree with the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from function_fakes import load, resource, task
from test_processor_images import encode, quarters
from test_processor_kinds import pdf

from processor.errors import REASONS

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
    assert list(documented("| Reason of a failure record")) == list(REASONS)


def test_the_bridges_reasons_are_all_documented() -> None:
    main, _ = load("bridge")
    table = documented("| Reason | Event | Answer")
    assert {name: (cells[0], int(cells[1])) for name, cells in table.items()} == {
        name: (decision.event, decision.status) for name, decision in main.TABLE.items()
    }


def test_the_processors_events_are_all_documented() -> None:
    source = (DOCS.parent / "functions/processor").rglob("*.py")
    text = "".join(path.read_text() for path in source)
    for event in documented("## Processor"):
        assert f'"{event}"' in text


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


@pytest.mark.parametrize("name", ["task", "manifest", "failure"])
def test_readers_accept_added_fields(name: str) -> None:
    assert "additionalProperties" not in schema(name)
