"""`python -m tests.corpus.beside RECORDED …`: what was learnt, beside other readers.

RECORDED is what `make test-corpus … RECORD=FILE` wrote. ffprobe reads what is done as media, and
tells of what is not whether it opens it; pdftotext counts a PDF's words; Python's csv the rows,
columns and empty fields of a CSV. A reader that is not there is NOT RUN, by name.
"""
# ruff: noqa: T201

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

Told = dict[str, Any]
SECONDS = 60
DURATION = 0.05  # seconds apart, or a hundredth
WORDS = 0.05  # of them may be others'


def run(*command: str) -> str | None:
    """What it wrote; None where it failed."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def media(path: Path, told: Told) -> list[str]:
    """What is otherwise, one name for each."""
    said = run("ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(path))
    found = json.loads(said or "{}")
    if not found.get("streams"):
        return ["ffprobe opens it not"]
    own, theirs = told["streams"], found["streams"]
    wrong = [] if len(own) == len(theirs) else ["number of streams"]
    for one, other in zip(own, theirs, strict=False):
        pairs = {
            "type": (one["type"], other.get("codec_type")),
            "codec": (one["codec"], other.get("codec_name", "unknown")),
        }
        for name, theirs_ in (("width", "width"), ("height", "height"), ("channels", "channels")):
            if name in one:
                pairs[name] = (one[name], other.get(theirs_))
        if "sampleRate" in one:
            pairs["sampleRate"] = (one["sampleRate"], int(other.get("sample_rate", 0)))
        wrong += [f"{name}: {a} for {b}" for name, (a, b) in pairs.items() if a != b]
    length = float(found["format"].get("duration", 0))
    if abs(told.get("duration", 0) - length) > max(DURATION, length / 100):
        wrong.append(f"duration: {told.get('duration')} for {length}")
    return wrong


def document(path: Path, told: Told) -> list[str]:
    said = run("pdftotext", "-enc", "UTF-8", str(path), "-")
    if said is None:
        return ["pdftotext opens it not"]
    own, theirs = told.get("words", 0), len(said.split())
    return [] if abs(own - theirs) <= max(2, WORDS * theirs) else [f"words: {own} for {theirs}"]


def table(path: Path, told: Told) -> list[str]:
    """Of a CSV in UTF-8 with a header: as DuckDB took it, so far as its names are the header's."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            delimiter = max(",;\t|", key=first.count)
            file.seek(0)
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    except (UnicodeDecodeError, csv.Error):
        return ["csv opens it not"]
    names = [column["name"] for column in told["columns"]]
    has_header = bool(rows) and rows[0] == names
    if has_header:
        del rows[0]
    wrong = [] if len(rows) == told["rows"] else [f"rows: {told['rows']} for {len(rows)}"]
    width = max(map(len, rows), default=len(names))
    if len(names) != width:
        wrong.append(f"columns: {len(names)} for {width}")
    if not wrong:
        for at, column in enumerate(told["columns"]):
            empty = sum(len(row) <= at or row[at] == "" for row in rows)
            if column["nulls"] != empty:
                wrong.append(f"nulls: {column['nulls']} for {empty}")
    return wrong


READERS: dict[str, tuple[str, str, Callable[[Path, Told], list[str]]]] = {
    "media": ("ffprobe", "", media),
    "document": ("pdftotext", ".pdf", document),
    "table": ("", ".csv", table),
}


def main() -> int:
    counts, lines = Counter[tuple[str, str]](), []
    for name in sys.argv[1:]:
        for line in map(json.loads, Path(name).read_text().splitlines()):
            path, told = Path(line["path"]), line["told"]
            for fact, (tool, suffix, compare) in READERS.items():
                if fact not in told or not path.name.lower().endswith(suffix):
                    continue
                reader = tool or "Python's csv"
                if tool and not shutil.which(tool):
                    counts[reader, "NOT RUN, it is not there"] += 1
                    continue
                wrong = compare(path, told[fact])
                counts[reader, "otherwise" if wrong else "alike"] += 1
                lines += [f"  {path.name}: {'; '.join(wrong)}"] if wrong else []
            if line["end"] == "corrupt_media" and shutil.which("ffprobe"):
                opens = run("ffprobe", "-v", "error", str(path)) is not None
                counts["ffprobe", "opens what is corrupt here" if opens else "refuses it, too"] += 1
                lines += [f"  {path.name}: {told['detail']} ffprobe opens it"] if opens else []
    for (reader, what), number in sorted(counts.items()):
        print(f"{number:6} {reader}: {what}")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
