"""The benchmark still runs and reports. Nothing is said about times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench.plot import lines
from tests.bench.report import Goal, Sample, Section


def test_every_section_runs_and_reports(tmp_path: Path) -> None:
    own = ("batch", "portal")  # their tests have them, on deployments of their own
    only = [name for name in bench.SECTIONS if name not in own]
    assert bench.main(["--quick", "--only", *only, "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "benchmarks/results.json").read_text())
    text = (tmp_path / "benchmarks.md").read_text()
    assert {name.partition("/")[0] for name in report["figures"]} >= {
        "Bridge", "Chain", "Processor: the work alone", "Processor: the whole request",
        "Processor: many at a time", "Start", "Storage client",
    }  # fmt: skip
    assert "values" not in str(report["figures"])
    assert all(goal["what"] in text for goal in report["goals"])
    for name in ("commit", "pillow", "cpu_count"):
        assert report["machine"][name] in text


def test_sample_gives_median_and_its_deviation() -> None:
    assert str(Sample((1.0, 2.0, 30.0))) == "2.00 ± 1.00"


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal("most", 0.6, 0.6), True),
        (Goal("most", 0.61, 0.6), False),
        (Goal("least", 0.44, 0.45, least=True), False),
    ],
)
def test_goal_is_met_or_not(goal: Goal, met: bool) -> None:
    assert goal.met is met


def test_table_has_a_line_for_each_row() -> None:
    section = Section("Title")
    section.table(["a", "b"], [["x", 1], ["y", 2]])
    assert section.markdown().splitlines()[2:] == [
        "| a | b |", "| --- | ---: |", "| x | 1 |", "| y | 2 |",
    ]  # fmt: skip


def test_plot_marks_every_point() -> None:
    assert lines([(1, 0.1), (10, 1.0), (100, 9.0)], "x", "y", "z").count("<circle") == 3
