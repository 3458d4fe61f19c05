"""Numbers: what a file counts as, percentiles, the page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scripts.ops.stats import drawn, percentiles, summed

DAY = datetime(2026, 11, 25, 23, 0, tzinfo=UTC)
TIMINGS = {"queued": 1.0, "download": 0.1, "process": 0.5, "upload": 0.4}


def done(**more: Any) -> dict[str, Any]:
    return {"status": "done", "source": {"size": 1000}, "timings": TIMINGS, **more}


def test_files_count_by_outcome_reason_and_day() -> None:
    failed = {"status": "failed", "reason": "corrupt_image", "source": {"size": None}}
    found = summed([(DAY, done(), 0), (DAY, done(), 2), (DAY.replace(day=26), failed, 0)])
    assert (found["files"], found["outcomes"]) == (3, {"done": 2, "failed": 1})
    assert (found["failures"], found["bytes"], found["reruns"]) == ({"corrupt_image": 1}, 2000, 2)
    assert {day: its["files"] for day, its in found["days"].items()} == {
        "2026-11-25": 2, "2026-11-26": 1,
    }  # fmt: skip
    assert found["stages"]["total"] == {"p50": 2.0, "p90": 2.0, "p99": 2.0, "max": 2.0}


@pytest.mark.parametrize(
    ("values", "told"),
    [([1.0], (1, 1, 1, 1)), ([float(n) for n in range(1, 101)], (50, 90, 99, 100))],
)
def test_percentiles_are_values_that_were_seen(values: list[float], told: tuple[float]) -> None:
    assert tuple(percentiles(values).values()) == told


def test_a_days_cost_grows_with_runs_and_seconds() -> None:
    one, again = (summed([(DAY, done(), runs)])["days"]["2026-11-25"] for runs in (0, 1))
    slow = summed([(DAY, done(timings=TIMINGS | {"process": 100.0}), 0)])["days"]["2026-11-25"]
    assert 0 < one["dollars"] < again["dollars"] < slow["dollars"]


def test_the_page_holds_the_numbers_and_nothing_foreign() -> None:
    evil = {"status": "failed", "reason": "<script>", "source": {}}
    page = drawn(summed([(DAY, done(), 0), (DAY, evil, 0)], DAY))
    assert "2 files since 2026-11-25T23:00:00+00:00" in page
    assert "<script>" not in page
    assert "http" not in page


def test_nothing_recorded_is_told_as_such() -> None:
    found = summed([])
    assert (found["files"], found["stages"], found["days"]) == (0, {}, {})
    assert "0 files" in drawn(found)
