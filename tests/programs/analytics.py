"""The queries of docs/analytics.md over the log lines of a local run.

SQLGlot translates them from BigQuery's dialect to DuckDB's, which has no JSON with fields of its
own: the payload is a struct of JSON values here, as `json_payload.event` reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import duckdb
import sqlglot

from tests.localcloud.client import ROOT
from tests.localcloud.services.observability.service import entry

PAGE = (ROOT / "docs/analytics.md").read_text()
TABLE = "`my-project.global._Default._AllLogs`"
FIELDS = ("age_seconds", "bytes", "event", "reason", "run")


def results(lines: Iterable[dict[str, Any]], project: str) -> dict[str, list[tuple[Any, ...]]]:
    """Rows by the heading of their query. lines: the journal's, of the kind log."""
    entries = (entry(line, project) for line in lines)
    rows = [
        (made["timestamp"], made.get("trace"), *(_json(made["jsonPayload"], f) for f in FIELDS))
        for made in entries
        if "jsonPayload" in made
    ]
    with duckdb.connect() as base:
        columns = ", ".join(f"{field} JSON" for field in FIELDS)
        base.execute(
            "CREATE TABLE lines"
            f" (timestamp TIMESTAMPTZ, trace VARCHAR, json_payload STRUCT({columns}))"
        )
        packed = ", ".join(f"{field} := ?" for field in FIELDS)
        base.executemany(f"INSERT INTO lines VALUES (?, ?, struct_pack({packed}))", rows)
        return {heading: base.execute(_translated(sql)).fetchall() for heading, sql in _queries()}


def _json(payload: dict[str, Any], field: str) -> str | None:
    return json.dumps(payload[field]) if field in payload else None


def _queries() -> list[tuple[str, str]]:
    found = re.findall(r"^## (.+?)\n\n```sql\n(.*?)^```$", PAGE, re.M | re.S)
    assert len(found) == PAGE.count("```sql")
    return found


def _translated(sql: str) -> str:
    assert TABLE in sql
    (statement,) = sqlglot.transpile(sql.replace(TABLE, "lines"), read="bigquery", write="duckdb")
    return statement
