"""A table of the uploads bucket, or a sample of so many rows, normalized, aggregated, filtered or
converted with DuckDB.

The database may read one file and write one, knows no network, and takes no further setting once
that is said. Operators are enumerated, columns quoted, values bound.
"""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path
from typing import Any

import duckdb

from batch.records import DONE, Records
from batch.tasks import TaskId
from runtime.storage import cloud_storage
from worker.handlers import Failed
from worker.settings import Config

TYPES = {
    "csv": "text/csv", "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}  # fmt: skip
READERS = {
    "csv": "read_csv(?)",
    "ndjson": "read_json(?, format = 'newline_delimited')",
    "parquet": "read_parquet(?)",
}
WRITERS = {
    "csv": "FORMAT csv, HEADER", "ndjson": "FORMAT json", "parquet": "FORMAT parquet",
}  # fmt: skip
SAMPLE = """
SELECT i AS id, 'group ' || (i % 10) AS category, (i * 7919) % 1000 / 10.0 AS value
FROM range(?) AS rows(i)
"""
MAX_COLUMNS = 1000


def handle(task: TaskId, request: dict[str, Any]) -> dict[str, Any]:
    """Outcome: {rows, columns, outputs}. Raises Failed."""
    config = Config.from_env()
    client = cloud_storage(config.project_id, 4)
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "input"), Path(folder, "output")
        if "input" in request:
            _download(client, config, request["input"], given)
        most = config.file_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            rows, columns = transform(request, given, made, config.task_bytes // 2)
        except duckdb.OutOfMemoryException as error:
            raise MemoryError from error
        except duckdb.Error as error:
            if made.stat().st_size >= most:
                raise Failed("out_of_memory", _too_large("The result", most)) from error
            said = str(error).replace(folder, "").splitlines()[0][:300]
            raise Failed("unsupported_data", said) from error
        name = f"result.{request['output_format']}"
        records = Records(lambda: client, config.tasks_bucket)
        stored = records.put(task, name, str(made), TYPES[request["output_format"]])
        size = made.stat().st_size
    return {
        "status": DONE, "rows": rows, "columns": columns,
        "outputs": [{"name": name, "object": stored, "size": size}],
    }  # fmt: skip


def transform(
    request: dict[str, Any], given: Path, made: Path, memory: int
) -> tuple[int, list[str]]:
    """Writes `made`; its rows and columns. Raises duckdb.Error."""
    made.touch()
    with duckdb.connect(":memory:") as database:
        confine(database, given, made, memory)
        if "input" in request:
            source, bound = f"SELECT * FROM {READERS[request['input_format']]}", [str(given)]
        else:
            source, bound = SAMPLE, [request["dataset_size"]]
        table = database.sql(source, params=bound)
        if len(table.columns) > MAX_COLUMNS:
            raise duckdb.InvalidInputException(f"It has more than {MAX_COLUMNS} columns.")
        query, values = _QUERIES[request["transformation"]](request, table)
        query = f"WITH source AS ({source}) {query}"
        writer = WRITERS[request["output_format"]]
        # Into the file itself: a temporary one beside it is not allowed.
        copy = f"COPY ({query}) TO {_text(made)} ({writer}, USE_TMP_FILE false)"
        copied = database.execute(copy, bound + values)
        (rows,) = copied.fetchone() or (0,)
        columns = database.sql(query, params=bound + values).columns
    return int(rows), columns


def confine(database: Any, given: Path, made: Path, memory: int) -> None:
    """From here on it reads and writes these two files alone, and takes no other setting."""
    for setting in (
        f"SET memory_limit = '{memory // 1024}KiB'",
        "SET threads = 1",
        "SET temp_directory = ''",
        f"SET allowed_paths = [{_text(given)}, {_text(made)}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        database.execute(setting)


def _normalize(request: dict[str, Any], table: Any) -> tuple[str, list[Any]]:
    """Numbers scaled to 0 … 1 over their column's range; a column of one value becomes 0."""
    numeric = _numeric(table)
    wanted = request.get("columns", numeric)
    for name in wanted:
        if name not in numeric:
            raise Failed("unsupported_data", f"{name} is not a column of numbers.")
    scaled = ", ".join(
        f"CASE WHEN {c} IS NULL THEN NULL WHEN max({c}) OVER () = min({c}) OVER () THEN 0 ELSE "
        f"({c} - min({c}) OVER ()) / (max({c}) OVER () - min({c}) OVER ())::DOUBLE END AS {c}"
        for c in map(_quoted, wanted)
    )
    return f"SELECT * {'REPLACE (' + scaled + ')' if scaled else ''} FROM source", []


def _aggregation(request: dict[str, Any], table: Any) -> tuple[str, list[Any]]:
    groups = request.get("group_by", [])
    aggregates = request.get("aggregates") or [
        {"op": op, "column": name}
        for name in _numeric(table)
        if name not in groups
        for op in ("sum", "avg", "min", "max")
    ]
    _known(table, [*groups, *(one["column"] for one in aggregates)])
    parts = [_quoted(name) for name in groups] + ["count(*) AS rows"]
    parts += [
        f"{one['op']}({_quoted(one['column'])}) AS {_quoted(one['op'] + '_' + one['column'])}"
        for one in aggregates
    ]
    by = f" GROUP BY {', '.join(map(_quoted, groups))} ORDER BY ALL" if groups else ""
    return f"SELECT {', '.join(parts)} FROM source{by}", []


def _filter(request: dict[str, Any], table: Any) -> tuple[str, list[Any]]:
    _known(table, [one["column"] for one in request["where"]])
    parts, values = [], []
    for one in request["where"]:
        column = _quoted(one["column"])
        if one["op"] == "is_null":
            parts.append(f"{column} IS NULL")
            continue
        values.append(one["value"])
        parts.append(
            f"contains({column}::VARCHAR, ?::VARCHAR)" if one["op"] == "contains"
            else f"{column} {one['op']} ?"
        )  # fmt: skip
    return f"SELECT * FROM source WHERE {' AND '.join(parts)}", values


def _convert(request: dict[str, Any], table: Any) -> tuple[str, list[Any]]:
    return "SELECT * FROM source", []


_QUERIES = {
    "aggregation": _aggregation, "convert": _convert, "filter": _filter, "normalize": _normalize,
}  # fmt: skip


def _download(client: Any, config: Config, name: str, path: Path) -> None:
    from google.api_core.exceptions import NotFound

    bucket = config.uploads_bucket
    blob = client.bucket(bucket).get_blob(name)
    if blob is None:
        raise Failed("object_not_found", f"gs://{bucket}/{name} does not exist.")
    if blob.size > config.file_bytes:
        raise Failed("out_of_memory", _too_large(f"gs://{bucket}/{name}", config.file_bytes))
    try:
        blob.download_to_filename(str(path))
    except NotFound:
        raise Failed("object_not_found", f"gs://{bucket}/{name} is gone.") from None


def _too_large(what: str, most: int) -> str:
    return f"{what} has more than {most >> 20} MiB: a priority with more memory_mib takes more."


def _numeric(table: Any) -> list[str]:
    kinds = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "HUGEINT", "BIGINT")
    return [
        name for name, kind in zip(table.columns, table.types, strict=True)
        if any(part in str(kind) for part in kinds) and "[" not in str(kind)
    ]  # fmt: skip


def _known(table: Any, names: list[str]) -> None:
    for name in names:
        if name not in table.columns:
            raise Failed("unsupported_data", f"There is no column {name}.")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
