"""Tables: their rows and columns with types, nulls and ranges, and the same table as Parquet.

DuckDB reads and writes memory alone: no file can be opened where a file is processed, the database
knows of two names, and takes no further setting once that is said.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import duckdb
from fsspec.spec import AbstractFileSystem  # type: ignore[import-untyped]

from contract.records import Column, Facts
from contract.records import Table as TableFacts
from processor.errors import PermanentError
from processor.kinds import Job, Outcome, Output
from processor.kinds.plain import load_encodings, text_facts
from processor.settings import Config

CSV, TSV, NDJSON = "text/csv", "text/tab-separated-values", "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"
MAX_COLUMNS = 1000
_SHOWN = 100  # characters of a smallest or largest value
_DELIMITERS = ",;\t|"
_PIECE_BYTES = 1 << 20
_ROWS = 2_000_000  # values that a row group holds at most, in all its columns
_NO_RANGE = ("BLOB", "JSON", "STRUCT", "MAP", "UNION", "[", "BIT", "GEOMETRY", "VARIANT")
_IN, _OUT = "job://in", "job://out"
# Types are told by the whole file. Nothing is guessed away: no comments, no lines left out, no
# quotes but those of RFC 4180; what a line lacks at its end is null.
_CSV = """read_csv('job://in', delim = ?, quote = '"', escape = '"', comment = '', skip = 0,
    null_padding = true, parallel = false, sample_size = -1)"""
_JSON = "read_json('job://in', format = 'newline_delimited', sample_size = -1)"


class _Full(Exception):
    """The output would be larger than it may be."""


class _File(io.BytesIO):
    """What DuckDB reads or writes, up to so many bytes; it is still there when it was closed."""

    def __init__(self, data: bytes = b"", limit: int = 0) -> None:
        super().__init__(data)
        self._limit = limit

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._limit:
            raise _Full
        return super().write(data)

    def close(self) -> None:
        pass


class _Files(AbstractFileSystem):  # type: ignore[misc]
    """The two files that there are."""

    protocol, cachable = "job", False

    def __init__(self) -> None:
        super().__init__()
        self.given, self.made = _File(), _File()

    def _named(self, path: str) -> _File:
        for name, file in (("in", self.given), ("out", self.made)):
            if path.removeprefix("job://") == name:
                return file
        raise FileNotFoundError(path)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        size = self._named(path).getbuffer().nbytes
        return {"name": path, "size": size, "type": "file"}

    def glob(self, path: str, **_: Any) -> list[str]:
        return [path] if self.exists(path) else []

    def exists(self, path: str, **_: Any) -> bool:
        return path == _IN or (path == _OUT and self.made.getbuffer().nbytes > 0)

    def modified(self, path: str) -> datetime:
        return datetime(1970, 1, 1)

    def open(self, path: str, mode: str = "rb", **_: Any) -> _File:
        file = self._named(path)
        file.seek(0)
        return file


_ready: list[tuple[Any, _Files]] = []


def preload(content_type: str, config: Config) -> None:
    """A database of one thread, and every encoding: to open either reads files."""
    if not _ready:
        load_encodings()
        settings: Any = {
            "threads": 1,
            "async_threads": 0,
            "memory_limit": "64MiB",
            "temp_directory": "",
        }
        database, files = duckdb.connect(":memory:", config=settings), _Files()
        database.register_filesystem(files)
        _ready.append((database, files))


def process(job: Job) -> Outcome:
    database, files = _ready.pop()
    try:
        return _process(job, database, files)
    except duckdb.OutOfMemoryException as error:
        raise MemoryError from error
    except duckdb.Error as error:
        raise PermanentError("corrupt_table", _reason(error, files.given, job)) from error
    finally:
        database.close()


def _process(job: Job, database: Any, files: _Files) -> Outcome:
    content_type = job.content_type or ""
    facts: Facts = {}
    files.given = _File(job.content.all(job.config.max_file_bytes).getvalue())
    if content_type != PARQUET:
        text = text_facts(_pieces(files.given))
        if text is None:
            return Outcome("application/octet-stream")
        facts["text"] = text
        if text["encoding"] not in ("utf-8", "utf-8-sig", "ascii"):
            files.given = _as_utf8(job, files.given, text["encoding"])
    files.made = _File(limit=job.room.size // 8)
    _confine(database, (job.room.size - job.size) // 2)
    source, values = _source(content_type, files.given)
    relation = database.sql(f"SELECT * FROM {source}", params=values)
    columns = dict(zip(relation.columns, map(str, relation.types), strict=True))
    _check(len(columns))
    outputs: tuple[Output, ...] = ()
    if content_type != PARQUET and _write(database, source, values, len(columns)):
        data = files.made.getvalue()
        outputs = (Output("table", "table.parquet", data, PARQUET, None, None),)
        source, values = f"read_parquet('{_OUT}')", []
    facts["table"] = _profile(database, source, values, columns)
    return Outcome(content_type, facts, outputs)


def _confine(database: Any, memory: int) -> None:
    for setting in (
        f"SET memory_limit = '{max(memory, 1 << 24) >> 10}KiB'",
        "SET preserve_insertion_order = false",  # there is one thread, which keeps it
        f"SET allowed_paths = ['{_IN}', '{_OUT}']",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        database.execute(setting)


def _source(content_type: str, given: _File) -> tuple[str, list[str]]:
    """A table function over the file that finds out its columns by all of it, and its values."""
    if content_type == PARQUET:
        return f"read_parquet('{_IN}')", []
    if content_type == NDJSON:
        return _JSON, []
    line = given.getvalue()[: 1 << 20].partition(b"\n")[0].decode(errors="replace")
    _check(max(map(line.count, _DELIMITERS)))
    delimiter = "\t" if content_type == TSV else max(_DELIMITERS, key=_unquoted(line).count)
    return _CSV, [delimiter]


def _write(database: Any, source: str, values: list[str], columns: int) -> bool:
    """Whether it could be written within its limit."""
    rows = max(2048, min(122_880, _ROWS // max(columns, 1)))
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {rows}, USE_TMP_FILE false"
    try:
        database.execute(f"COPY (SELECT * FROM {source}) TO '{_OUT}' ({options})", values)
    except duckdb.Error as error:
        if "_Full" in str(error):
            return False
        raise
    return True


def _profile(database: Any, source: str, values: list[str], columns: dict[str, str]) -> TableFacts:
    parts = ["count(*)"]
    for name, kind in columns.items():
        column = _quoted(name)
        parts.append(f"count({column})")
        has_range = not any(part in kind for part in _NO_RANGE)
        for function in ("min", "max"):
            parts.append(f"{function}({column})::VARCHAR" if has_range else "NULL")
    query = f"SELECT {', '.join(parts)} FROM {source}"
    rows, *found = database.execute(query, values).fetchone()
    described: list[Column] = []
    for at, (name, kind) in enumerate(columns.items()):
        filled, least, most = found[3 * at : 3 * at + 3]
        column_facts: Column = {
            "name": name[:_SHOWN],
            "type": kind[:_SHOWN],
            "nulls": rows - filled,
        }
        if least is not None:
            column_facts |= {"min": least[:_SHOWN], "max": most[:_SHOWN]}
        described.append(column_facts)
    return {"rows": rows, "columns": described}


def _check(columns: int) -> None:
    if columns > MAX_COLUMNS:
        raise PermanentError("too_many_columns", f"It has more than {MAX_COLUMNS} columns.")


def _pieces(file: io.BytesIO) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        yield piece


def _as_utf8(job: Job, file: _File, encoding: str) -> _File:
    """What cannot be decoded becomes U+FFFD; unknown bytes are read as Latin-1."""
    job.room.need(job.room.size if job.room.size >= 8 * job.size else 8 * job.size + (64 << 20))
    codec = "latin-1" if encoding == "unknown-8bit" else encoding
    file.seek(0)
    text = io.TextIOWrapper(file, codec, errors="replace", newline="")
    made = bytearray()
    while piece := text.read(_PIECE_BYTES):
        made += piece.encode()
    return _File(bytes(made))


def _reason(error: duckdb.Error, file: io.BytesIO, job: Job) -> str:
    """A sentence that tells nothing of what the file holds but where it breaks."""
    found = re.search(r"[Ll]ine:? (\d+)", str(error))
    if found:
        return f"Its line {found[1]} cannot be read."
    if job.content_type in (CSV, TSV):
        return _ragged(file, job.content_type) or "It cannot be read as a table."
    return f"The reader of this kind of file says: {type(error).__name__}."


def _ragged(file: io.BytesIO, content_type: str) -> str:
    """Where the first row stands that has more fields than the first one."""
    file.seek(0)
    lines = io.TextIOWrapper(io.BytesIO(file.getvalue()), "utf-8", errors="replace", newline="")
    first = _unquoted(file.readline().decode(errors="replace"))
    delimiter = "\t" if content_type == TSV else max(_DELIMITERS, key=first.count)
    fields = 0
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for row in reader:
            fields = fields or len(row)
            if len(row) > fields:
                return f"Its line {reader.line_num} has {len(row)} fields, the first has {fields}."
    except csv.Error:
        return f"Its line {reader.line_num} cannot be read."
    return ""


def _unquoted(line: str) -> str:
    return re.sub(r'"[^"]*"', "", line)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
