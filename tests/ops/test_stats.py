"""Numbers: what a file counts as, percentiles, the page."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.ops.stats import Statistics, dollars, drawn, percentiles, summed

DAY = datetime(2026, 11, 25, 23, 0, tzinfo=UTC)
TIMINGS = {"queued": 1.0, "download": 0.1, "process": 0.5, "upload": 0.4}


def done(**more: Any) -> dict[str, Any]:
    return {"status": "done", "source": {"size": 1000}, "timings": TIMINGS, **more}


def test_files_count_by_outcome_reason_and_day() -> None:
    failed = {"status": "failed", "source": {"size": None}, "timings": {"queued": None}}
    reasons = ("bad_request", "corrupt_image", "corrupt_image")
    records = [(DAY.replace(day=26), failed | {"reason": reason}, 0) for reason in reasons]
    eastern = DAY.astimezone(timezone(timedelta(hours=5)))  # there it is the 26th
    found = summed([*records, (DAY, done(), 0), (eastern, done(), 2)])
    assert (found["files"], found["outcomes"]) == (5, {"done": 2, "failed": 3})
    assert [*found["failures"].items()] == [("corrupt_image", 2), ("bad_request", 1)]
    assert (found["bytes"], found["reruns"]) == (2000, 2)
    assert [(day, its["files"]) for day, its in found["days"].items()] == [
        ("2026-11-25", 2), ("2026-11-26", 3),
    ]  # fmt: skip
    assert found["stages"]["total"] == {"p50": 2.0, "p90": 2.0, "p99": 2.0, "max": 2.0}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1.0], (1, 1, 1, 1)),
        ([float(n) for n in range(10, 0, -1)], (5, 9, 10, 10)),
        ([float(n) for n in range(1, 101)], (50, 90, 99, 100)),
    ],
)
def test_percentiles_are_values_that_were_seen(values: list[float], told: tuple[float]) -> None:
    assert tuple(percentiles(values).values()) == told


def test_a_days_cost_grows_with_runs_and_seconds() -> None:
    one, again = (summed([(DAY, done(), runs)])["days"]["2026-11-25"] for runs in (0, 1))
    slow = summed([(DAY, done(timings=TIMINGS | {"process": 100.0}), 0)])["days"]["2026-11-25"]
    assert 0 < one["dollars"] < again["dollars"] < slow["dollars"]
    assert one["dollars"] == round(dollars(1, 1.0), 6)
    waited = summed([(DAY, done(timings=TIMINGS | {"queued": 1e6}), 0)])["days"]["2026-11-25"]
    assert waited == one


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
    assert "1 files" in drawn(summed([(DAY, done(source={}), 0)]))


def test_a_file_counts_as_its_newest_manifest_else_as_its_newest_failure() -> None:
    failed = {"status": "failed", "reason": "early"}
    records: dict[str, Any] = {
        "failures/a/1-1.json": failed | {"reason": "late"}, "failures/a/1.json": failed,
        "failures/b/1-3.json": failed,
        "failures/before/1.json": failed,
        "manifests/b/1-2.json": done(source={"size": 2}), "manifests/b/1.json": done(),
        "manifests/erased/1.json": None,
    }  # fmt: skip

    def listed(bucket: str, prefix: str, fields: str) -> Any:
        blobs = [
            SimpleNamespace(name=n, time_created=DAY - timedelta(days="before" in n))
            for n in records if n.startswith(prefix)
        ]  # fmt: skip
        return SimpleNamespace(pages=[blobs])

    def get(name: str) -> Any:
        content = json.dumps(records[name]).encode()
        return records[name] and SimpleNamespace(download_as_bytes=lambda: content)

    bucket = SimpleNamespace(get_blob=get)
    storage = SimpleNamespace(list_blobs=listed, bucket=lambda name: bucket)
    clients: Any = SimpleNamespace(storage=storage)
    environment: Any = SimpleNamespace(results="down")
    found = Statistics(clients, environment, DAY, None, "").read()
    assert (found["outcomes"], found["failures"]) == ({"done": 1, "failed": 1}, {"late": 1})
    assert (found["bytes"], found["reruns"]) == (2, 3)
