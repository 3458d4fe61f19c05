"""The stand-in's tables agree with the provider's own schema.

With GOOGLE_SCHEMA_JSON, the output of `terraform providers schema -json` for hashicorp/google
7.45.0, every attribute is compared. Without it, the tables are compared with their digests
(digests.json) as they were at the last such comparison; write them anew by

    GOOGLE_SCHEMA_JSON=… python -m tests.localcloud.standin.tests.test_tables
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud.standin.servicer import _type
from tests.localcloud.standin.tables import Block, load

DIGESTS = Path(__file__).with_name("digests.json")
TABLES = {f"{kind} {name}": table for (kind, name), table in load().items()}
FLAGS = ("required", "optional", "computed", "sensitive")
NESTING = {"block": "list", "setblock": "set"}


def ours(block: Block) -> dict[str, Any]:
    """A table's block, in the shape of `terraform providers schema -json`."""
    shape: dict[str, Any] = {}
    for name, field in block.fields.items():
        if field.block is not None and (field.optional or field.required):
            low = int(field.options.get("min", field.required))
            high = int(field.options.get("max", 0))
            shape[name] = [NESTING[field.type], low, high, ours(field.block)]
        else:
            shape[name] = [_type(field), sorted(flag for flag in FLAGS if getattr(field, flag))]
    return shape


def theirs(block: dict[str, Any], only: dict[str, Any]) -> dict[str, Any]:
    """The provider's block, of which only what ours has too is of interest."""
    shape: dict[str, Any] = {}
    for name, attribute in block.get("attributes", {}).items():
        if name in only:
            flags = sorted(flag for flag in FLAGS if attribute.get(flag))
            shape[name] = [attribute["type"], flags]
    for name, inner in block.get("block_types", {}).items():
        if name in only:
            low, high = inner.get("min_items", 0), inner.get("max_items", 0)
            content = theirs(inner["block"], only[name][3])
            shape[name] = [inner["nesting_mode"], low, high, content]
    return shape


def real() -> dict[str, Any]:
    document = json.loads(Path(os.environ["GOOGLE_SCHEMA_JSON"]).read_text())
    (provider,) = document["provider_schemas"].values()
    found = {f"resource {name}": value for name, value in provider["resource_schemas"].items()}
    found |= {f"data {name}": value for name, value in provider["data_source_schemas"].items()}
    return found | {"provider google": provider["provider"]}


def digest(name: str) -> str:
    table = TABLES[name]
    return hashlib.sha256(json.dumps(ours(table.block), sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", TABLES)
def test_table_agrees_with_the_provider(name: str) -> None:
    if "GOOGLE_SCHEMA_JSON" not in os.environ:
        assert digest(name) == json.loads(DIGESTS.read_text())[name], "see this module's docstring"
        return
    schema, mine = real()[name], ours(TABLES[name].block)
    assert mine == theirs(schema["block"], mine)
    assert int(TABLES[name].settings.get("version", 0)) == schema["version"]


def main() -> None:
    for name in TABLES:
        test_table_agrees_with_the_provider(name)
    DIGESTS.write_text(json.dumps({name: digest(name) for name in sorted(TABLES)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
