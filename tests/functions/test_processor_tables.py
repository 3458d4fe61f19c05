"""Tables, in processes of their own: what is learnt of them, and what they are as Parquet."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from function_fakes import PROCESSOR_ENV
from test_processor_text import JAPANESE

from processor.admission import kind_need
from processor.formats import BASE_BYTES
from processor.settings import Config

PARQUET = "application/vnd.apache.parquet"
ODD = b"\x81\xff\xfd\xfe\x80"  # of no encoding that the rest may be in


@pytest.fixture(scope="module")
def lane(of_kind: Callable[..., Any]) -> Any:
    return of_kind("tables")


@pytest.fixture
def table(lane: Any) -> Callable[..., dict[str, Any]]:
    """Processes a file, each under a name of its own; gives its record."""

    def process(data: bytes | str, content_type: str = "text/csv") -> dict[str, Any]:
        data = data.encode() if isinstance(data, str) else data
        record: dict[str, Any] = lane.recorded(data, content_type, "tables")
        return record

    return process


def made(lane: Any, record: dict[str, Any], tmp_path: Path) -> list[tuple[Any, ...]]:
    """The rows of the Parquet beside a manifest."""
    (output,) = record["outputs"]
    assert (output["name"], output["contentType"]) == ("table", PARQUET)
    path = tmp_path / "made.parquet"
    path.write_bytes(lane.cloud.results[output["object"]].data)
    rows: list[tuple[Any, ...]] = duckdb.sql(f"SELECT * FROM '{path}'").fetchall()
    return rows


def test_a_csv_is_described_and_becomes_parquet(table: Any, lane: Any, tmp_path: Path) -> None:
    record = table('day,city,value\n2026-01-02,Rom,1.5\n2026-01-01,,-2\n2026-02-01,"a""b",\n')
    assert record["detected"] == {"contentType": "text/csv", "matchesDeclared": True}
    assert record["text"] == {"encoding": "ascii", "certainty": "certain", "lines": 4}
    assert record["table"] == {
        "rows": 3,
        "columns": [
            {"name": "day", "type": "DATE", "nulls": 0, "min": "2026-01-01", "max": "2026-02-01"},
            {"name": "city", "type": "VARCHAR", "nulls": 1, "min": "Rom", "max": 'a"b'},
            {"name": "value", "type": "DOUBLE", "nulls": 1, "min": "-2.0", "max": "1.5"},
        ],
    }
    assert [row[1] for row in made(lane, record, tmp_path)] == ["Rom", None, 'a"b']


@pytest.mark.parametrize(
    ("data", "content_type", "columns", "rows"),
    [
        ("a;b\n1,5;x\n2;y\n", "text/csv", ["a", "b"], 2),
        ("a\tb\n1,5\tx;y;z\n", "text/tsv", ["a", "b"], 1),
        ("a,b\n1\n2,x\n", "text/csv", ["a", "b"], 2),
        ('a,b\n"x\ny",2\n', "text/csv", ["a", "b"], 1),
        ('"a;;",b\n1,2\n', "text/csv", ["a;;", "b"], 1),
        ("n\n" + "1\n" * 30_000 + "x\n", "text/csv", ["n"], 30_001),
        ('{"a": 1}\n' * 30_000 + '{"b": 1}\n', "application/jsonl", ["a", "b"], 30_001),
        ("only\nthis\n", "text/csv", ["only"], 1),
        ("grün,blau\n1,ß\n", "text/csv", ["grün", "blau"], 1),
        ("grün,blau\n1,ß\n".encode("utf-16"), "text/csv", ["grün", "blau"], 1),
        (("grün,blau\n" + "1,Straße nach Süden\n" * 9).encode("cp1252"), "text/csv",
         ["grün", "blau"], 9),
        ('{"a": 1, "b": {"c": [1]}}\n{"a": 2.5, "d": "x"}\n', "application/jsonl",
         ["a", "b", "d"], 2),
    ],
)  # fmt: skip
def test_tables_of_many_forms(
    table: Any, data: bytes | str, content_type: str, columns: list[str], rows: int
) -> None:
    found = table(data, content_type)["table"]
    assert ([one["name"] for one in found["columns"]], found["rows"]) == (columns, rows)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_read_where_no_codec_can_be_loaded_any_more(
    table: Any, encoding: str
) -> None:
    record = table("größe\n1\n".encode(encoding))
    assert record["text"] == {"encoding": encoding, "certainty": "certain", "lines": 2}
    assert record["table"]["columns"][0]["name"] == "größe"


def test_bytes_of_no_known_encoding_are_read_as_latin_1(
    table: Any, lane: Any, tmp_path: Path
) -> None:
    """Guessed by its first half megabyte, which the end then is not."""
    rows = [JAPANESE] * 8000 + ["end"]
    data = b"name\n" + b"".join(row.encode("cp932") + b"\n" for row in rows) + ODD + b"\n"
    record = table(data)
    assert record["text"]["encoding"] == "unknown-8bit"
    made_rows = made(lane, record, tmp_path)
    assert made_rows[-1] == (ODD.decode("latin-1"),)


def test_a_parquet_is_known_by_its_signature_and_not_made_again(table: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    duckdb.sql(f"COPY (SELECT i, [i] AS l FROM range(5000) t(i)) TO '{path}' (FORMAT parquet)")
    record = table(path.read_bytes(), "application/octet-stream")
    assert record["detected"]["contentType"] == PARQUET
    assert record["outputs"] == []
    number, listed = record["table"]["columns"]
    assert (number["min"], number["max"], listed) == (
        "0", "4999", {"name": "l", "type": "BIGINT[]", "nulls": 0}
    )  # fmt: skip


def test_a_profile_agrees_with_pythons_own_csv(table: Any, lane: Any, tmp_path: Path) -> None:
    rand = random.Random(7)
    words = ["", "x", "a,b", 'say "so"', "two\nlines", "Straße", "42"]
    rows = [[str(n), rand.choice(words), rand.choice(["", str(rand.uniform(-9, 9))])]
            for n in range(5000)]  # fmt: skip
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["n", "word", "value"], *rows])
    record = table(text.getvalue())
    _, *read = csv.reader(io.StringIO(text.getvalue(), newline=""))
    found = record["table"]
    assert found["rows"] == len(read)
    for at, column in enumerate(found["columns"]):
        filled = [row[at] for row in read if row[at]]
        assert column["nulls"] == len(read) - len(filled)
        order: Any = (str.encode, float)[column["type"] != "VARCHAR"]
        least, most = min(filled, key=order), max(filled, key=order)
        assert (order(column["min"]), order(column["max"])) == (order(least), order(most))
    back = [["" if value is None else str(value) for value in row]
            for row in made(lane, record, tmp_path)]  # fmt: skip
    assert back == read


@pytest.mark.parametrize(
    ("data", "content_type", "reason", "detail"),
    [
        ("a,b\n1\n3,4,5\n", "text/csv", "corrupt_table", "Its line 3 has 3 fields"),
        ('{"a": 1}\nnot json\n', "application/x-ndjson", "corrupt_table", "Its line"),
        (b"PAR1" + bytes(100) + b"PAR1", PARQUET, "corrupt_table", "The reader of this kind"),
        (",".join(map(str, range(100_000))) + "\n", "text/csv", "too_many_columns", "1000"),
        ("{" + ",".join(f'"k{n}": {n if n % 2 else [n]}' for n in range(1001)) + "}\n",
         "application/x-ndjson", "too_many_columns", "1000"),
        ('{"a":' * 2000 + "1" + "}" * 2000, "application/x-ndjson", "corrupt_table", ""),
        ("text", PARQUET, "type_mismatch", "Declared as"),
    ],
    ids=["ragged", "no json", "no parquet", "wide", "wide objects", "deep", "another"],
)  # fmt: skip
def test_what_is_not_a_table_is_named(
    table: Any, data: bytes | str, content_type: str, reason: str, detail: str
) -> None:
    record = table(data, content_type)
    assert record["reason"] == reason
    assert detail in record["detail"]
    assert not record["retryable"]


def test_of_names_and_values_their_beginning_is_shown(table: Any) -> None:
    (column,) = table(f"{'n' * 101}\n{'v' * 101}\n")["table"]["columns"]
    assert (column["name"], column["min"], column["max"]) == ("n" * 100, "v" * 100, "v" * 100)


def test_wide_rows_of_long_texts_stay_within_what_is_held(table: Any) -> None:
    line = ",".join(["x" * 90] * 1000)
    header = ",".join(f"c{n}" for n in range(1000))
    record = table(header + "\n" + (line + "\n") * 60)
    assert record["table"]["rows"] == 60


def test_a_table_that_is_too_large_as_parquet_is_described_all_the_same(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from processor.kinds import table

    def full(file: Any, data: Any) -> int:
        raise table._Full

    processor.configure(KIND="tables")
    monkeypatch.setattr(table._File, "write", full)
    record = processor.process(b"a,b\n1,2\n", contentType="text/csv")
    assert (record["outputs"], record["table"]["rows"]) == ([], 1)


def test_a_default_lane_describes_tables_as_it_did(processor: Any) -> None:
    record = processor.process(b"a,b\n1,2\n", contentType="text/csv")
    assert record["detected"] == {"contentType": "text/plain", "matchesDeclared": True}
    assert "table" not in record
    assert processor.process(b"x", name="p", contentType=PARQUET)["status"] == "done"


@pytest.mark.parametrize("content_type", ["text/csv", "application/x-ndjson"])
def test_a_table_takes_what_is_counted(of_kind: Callable[..., Any], content_type: str) -> None:
    """The instance has no more than that, so that nothing can have been taken beside it."""
    rows = ({"n": n, "s": f"{n * 7919 % 100_003}", "w": "word " * (n % 9)} for n in range(60_000))
    if content_type == "text/csv":
        data = "n,s,w\n" + "".join(",".join(map(str, row.values())) + "\n" for row in rows)
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows)
    config = Config.from_env(PROCESSOR_ENV)
    need = kind_need("tables", b"", len(data), config) + BASE_BYTES
    lane = of_kind("tables", MEMORY_BYTES=str(need))
    record = lane.process(data.encode(), contentType=content_type)
    assert (record["table"]["rows"], len(record["outputs"])) == (60_000, 1)
