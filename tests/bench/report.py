"""What came out: samples, tables, goals; as Markdown for people, as JSON for tools."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyperf

from tests.bench.subject import ROOT, Step

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one thing, in one unit; shown as median ± median absolute deviation."""

    values: tuple[float, ...]
    unit: str = "ms"

    @classmethod
    def of(cls, values: Iterable[float], unit: str = "ms", scale: float = 1.0) -> Sample:
        return cls(tuple(value * scale for value in values), unit)

    @property
    def median(self) -> float:
        return self._pyperf().median()

    @property
    def spread(self) -> float:
        return self._pyperf().median_abs_dev() if len(self.values) > 1 else 0.0

    def __str__(self) -> str:
        return f"{short(self.median)} ± {short(self.spread)}"

    def _pyperf(self, name: str = "x") -> pyperf.Benchmark:
        metadata = {"name": name, "value_unit": self.unit}
        # pyperf takes no zero: a clock with nanoseconds never gives one over real work.
        values = [max(value, 1e-9) for value in self.values]
        return pyperf.Benchmark([pyperf.Run(values, metadata=metadata, collect_metadata=False)])


def cpu(steps: Sequence[Step]) -> Sample:
    return Sample.of((step.cpu for step in steps), scale=1e3)


def wall(steps: Sequence[Step]) -> Sample:
    return Sample.of((step.wall for step in steps), scale=1e3)


def short(value: float) -> str:
    """Three figures, and no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that must be true, and whether it is; `limit` is a most, or a least."""

    what: str
    value: float
    limit: float
    unit: str = "×"
    least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.least else self.value <= self.limit


@dataclass
class Section:
    """One question and its answer."""

    title: str
    text: str = ""
    tables: list[tuple[list[str], list[list[Any]]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    samples: dict[str, Sample] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)  # for the JSON report, besides
    pictures: list[str] = field(default_factory=list)

    def keep(self, name: str, sample: Sample) -> Sample:
        """Remembers it for the JSON report."""
        self.samples[name] = sample
        return sample

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.tables.append((list(head), [list(row) for row in rows]))

    def markdown(self) -> str:
        parts = [f"## {self.title}"]
        if self.text:
            parts.append(self.text)
        for head, rows in self.tables:
            lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
            parts.append("\n".join(lines + [_line(row) for row in rows]))
        parts += self.notes
        parts += [f"![{self.title}]({picture})" for picture in self.pictures]
        return "\n\n".join(parts)


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def ratio(value: float) -> str:
    return f"{value:.2f}×"


def machine(interpreter: str) -> dict[str, str]:
    """What it ran on, as pyperf sees it, and the versions that matter."""
    seen = pyperf.Run([1.0], collect_metadata=True).get_metadata()
    names = ("cpu_model_name", "cpu_count", "mem_total", "platform", "load_avg_1min")
    facts = {name: str(seen[name]) for name in names if name in seen}
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    packages = ("pillow", "google-cloud-storage", "google-cloud-tasks", "functions-framework",
                "gunicorn", "grpcio", "urllib3", "pyperf")  # fmt: skip
    return {
        "commit": commit or "unknown",
        "Python of the services": interpreter,
        "Python of the benchmark": sys.version.split()[0],
        **facts,
        **{name: version(name) for name in packages},
    }


def markdown(facts: dict[str, str], sections: Sequence[Section], quick: bool, noise: str) -> str:
    goals = [goal for section in sections for goal in section.goals]
    rows = [
        [
            goal.what,
            f"{short(goal.value)}{_unit(goal.unit)}",
            f"{'≥' if goal.least else '≤'} {goal.limit:g}{_unit(goal.unit)}",
            "yes" if goal.met else "**no**",
        ]
        for goal in goals
    ]
    head = Section("Goals")
    if rows:
        head.table(["What must be true", "Measured", "Goal", "Met"], rows)
    about = Section("Where it ran")
    about.table(["", ""], [[name, f"`{value}`"] for name, value in facts.items()])
    kind = (
        "A quick run: too few steps to be quoted."
        if quick
        else "Each figure is a median ± median absolute deviation; subjects of one table took "
        "turns (A B A B), so that whatever disturbed the machine met all of them."
    )
    opening = f"# Benchmarks\n\nMade by `make bench`. {kind}"
    if noise:
        opening += (
            f"\n\n**The machine was busy with other work: {noise}.** CPU times are inflated by "
        )
        opening += "it, wall clock and throughput more so; ratios within a table suffer least."
    return "\n\n".join([opening, *(s.markdown() for s in (head, *sections, about))]) + "\n"


def _unit(unit: str) -> str:
    return unit if unit == "×" else f" {unit}"


def save_json(path: Path, facts: dict[str, str], sections: Sequence[Section]) -> None:
    """The goals, and of each sample what the page shows."""
    goals = [
        {"what": g.what, "value": _three(g.value), "limit": g.limit, "unit": g.unit,
         "least": g.least, "met": g.met}
        for section in sections for g in section.goals
    ]  # fmt: skip
    figures = {
        f"{section.title}/{name}": {
            "median": _three(sample.median), "spread": _three(sample.spread), "unit": sample.unit,
        }
        for section in sections for name, sample in section.samples.items()
    } | {
        f"{section.title}/{name}": _three(value)
        for section in sections for name, value in section.figures.items()
    }  # fmt: skip
    report = {"machine": facts, "goals": goals, "figures": figures}
    lines = json.dumps(report, indent=1, ensure_ascii=False)
    path.write_text(re.sub(r"\{\s+([^{}]*?)\s+\}", _joined, lines) + "\n")


def _three(value: float) -> float:
    return float(f"{value:.3g}")


def _joined(found: re.Match[str]) -> str:
    """An object in one line, where that is short."""
    line = "{" + re.sub(r"\s*\n\s*", " ", found[1]) + "}"
    return line if len(line) < 160 else found[0]
