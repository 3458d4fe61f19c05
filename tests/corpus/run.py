"""Hands the files to the child, sees what becomes of each, and counts."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.corpus.child import ROOT

SECONDS = 60.0  # for one file, on a busy machine
# What is not a file's own fault, so that no file may end so.
NOT_ITS_OWN = frozenset(
    {"internal_error", "deadline_exceeded", "no_room", "storage_unavailable", "attempts_exhausted"}
)


@dataclass(frozen=True, slots=True)
class End:
    """What became of one file; peak in MiB. fault says what must not be, told what was learnt."""

    path: Path
    end: str
    peak: int
    fault: str | None
    told: dict[str, Any] = field(default_factory=dict)


class Child:
    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, path: Path) -> End:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.corpus.child"],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True,
            )  # fmt: skip
        process = self._process
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        line = process.stdout.readline() if ready else ""
        if not line:
            if not ready:
                process.kill()
            said = process.communicate()[1].strip()[-300:]
            self._process = None
            what = f"crash ({process.returncode}): {said}" if ready else "hang"
            return End(path, what.partition(":")[0], 0, what)
        found: dict[str, Any] = json.loads(line)
        fault = None
        if found["status"] not in ("done", "failed") or found["reason"] in NOT_ITS_OWN:
            fault = f"{found['status']} {found['reason']}: {found['detail']} {found['log'][-2000:]}"
        elif found["peak"] > found["memory"]:
            fault = f"took {found['peak']} MiB of {found['memory']}"
        told = found["facts"] | {"kind": found["kind"], "detail": found["detail"]}
        return End(path, found["reason"] or found["status"], found["peak"], fault, told)

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()


def run(paths: Iterable[Path]) -> Iterator[End]:
    with contextlib.closing(Child()) as child:
        for path in paths:
            yield child.run(path)


def table(ends: Iterable[End]) -> str:
    """Per suffix: how many were done, and how many failed for which reason. Rare ones together."""
    ends = list(ends)
    suffixes = Counter(one.path.suffix.lower() for one in ends)
    counts: dict[str, Counter[str]] = {}
    peaks: dict[str, int] = {}
    for one in ends:
        suffix = one.path.suffix.lower()
        suffix = suffix.lstrip(".") if suffixes[suffix] >= 5 and suffix else "others"
        counts.setdefault(suffix, Counter())[one.end] += 1
        peaks[suffix] = max(peaks.get(suffix, 0), one.peak)
    lines = [f"{'suffix':8} {'files':>5} {'done':>5} {'peak MiB':>8}  failed by reason"]
    for suffix, count in sorted(counts.items(), key=lambda item: -item[1].total()):
        failed = ", ".join(f"{reason} {n}" for reason, n in count.most_common() if reason != "done")
        lines.append(
            f"{suffix:8} {count.total():5} {count['done']:5} {peaks[suffix]:8}  {failed or '-'}"
        )
    every = sum(counts.values(), Counter())
    lines.append(
        f"{'all':8} {every.total():5} {every['done']:5} {max(peaks.values(), default=0):8}"
    )
    return "\n".join(lines)


def recorded(ends: Iterable[End]) -> str:
    """A line of JSON for each file, for `changes` to compare another run with."""
    lines = ({"path": str(one.path), "end": one.end, "told": one.told} for one in ends)
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)


def changes(before: str, ends: Iterable[End]) -> str:
    """How many files went from which outcome to which, and a line for each that changed."""
    was = {line["path"]: line for line in map(json.loads, before.splitlines())}
    moves: Counter[tuple[str, str]] = Counter()
    lines = []
    for one in ends:
        old = was.get(str(one.path))
        if old is None or (old["end"] == one.end and _facts(old["told"]) == _facts(one.told)):
            continue
        moves[old["end"], one.end] += 1
        lines.append(f"  {one.path.name}: {_said(old['end'], old['told'])} -> "
                     f"{_said(one.end, one.told)}")  # fmt: skip
    counts = [f"{n:5} {a} -> {b}" for (a, b), n in moves.most_common()]
    return "\n".join(["changed:", *counts, *sorted(lines)])


def _facts(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name != "detail"}


def _said(end: str, told: dict[str, Any]) -> str:
    return f"{end} {json.dumps(_facts(told) if end == 'done' else told.get('detail'))}"
