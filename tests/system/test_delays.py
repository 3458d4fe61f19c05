"""Files that are due later: on time, not before, and watched from then on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.system.pipeline import PROCESSOR, jpeg
from tests.system.watched import Watched, watching

LANES = """
    planned = {
      delays    = true
      prefixes  = ["planned/"]
      processor = { max_instances = 5 }
      queue     = { max_concurrent_dispatches = 18 }
    }
    cooling = {
      delay_seconds = 7200
      prefixes      = ["cooling/"]
      processor     = { max_instances = 5 }
      queue         = { max_concurrent_dispatches = 18 }
    }
"""


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with watching(LANES) as pipeline:
        yield pipeline


def planned(watched: Watched, name: str, due: datetime | str) -> int:
    """Uploads a photo that is to be processed then."""
    time = due if isinstance(due, str) else due.isoformat(timespec="seconds")
    return watched.upload(f"planned/{name}", jpeg(64, 64), metadata={"process-after": time})


def at(watched: Watched, when: datetime) -> None:
    """Lets time pass until then."""
    watched.cloud.advance(max(0.0, when.timestamp() - watched.now))
    watched.settle()


def now(watched: Watched) -> datetime:
    return datetime.fromtimestamp(watched.now, UTC)


def test_a_file_is_processed_at_its_time_and_not_before(watched: Watched) -> None:
    due = now(watched) + timedelta(hours=3)
    generation = planned(watched, "on-time.jpg", due)
    at(watched, due - timedelta(seconds=5))
    assert watched.attempts("planned/on-time.jpg", generation) == []
    assert watched.firing() == set()
    at(watched, due + timedelta(seconds=5))
    assert watched.manifest("planned/on-time.jpg", generation)


def test_a_lane_can_keep_each_file_for_a_while(watched: Watched) -> None:
    generation = watched.upload("cooling/a.jpg", jpeg(64, 64))
    uploaded = now(watched)
    at(watched, uploaded + timedelta(minutes=119))
    assert watched.attempts("cooling/a.jpg", generation) == []
    at(watched, uploaded + timedelta(minutes=121))
    assert watched.manifest("cooling/a.jpg", generation)


def test_making_its_task_again_moves_no_file_forward(watched: Watched) -> None:
    due = now(watched) + timedelta(hours=20)
    name = "planned/purged.jpg"
    generation = planned(watched, "purged.jpg", due)
    watched.settle()
    (task,) = watched.tasks("planned-later")
    watched.operate("reconcile", "--apply", "--min-age", "0")
    assert watched.tasks("planned-later") == [task]
    watched.call("DELETE", f"https://cloudtasks.googleapis.com/v2/{task}")
    watched.operate("reconcile", "--apply", "--min-age", "0")
    (again,) = watched.tasks("planned-later")
    assert again != task
    at(watched, due - timedelta(seconds=5))
    assert watched.attempts(name, generation) == []
    at(watched, due + timedelta(seconds=5))
    assert watched.manifest(name, generation)


@pytest.mark.parametrize("time", [timedelta(days=24), "soon"])
def test_a_time_that_cannot_be_followed_is_a_failure_at_once(
    watched: Watched, time: timedelta | str
) -> None:
    due = time if isinstance(time, str) else now(watched) + time
    generation = planned(watched, "never.jpg", due)
    watched.settle()
    record = watched.failure("planned/never.jpg", generation)
    assert record is not None
    assert (record["reason"], record["retryable"]) == ("process_after_invalid", False)


def test_three_weeks_ring_nothing_and_being_late_then_does(watched: Watched) -> None:
    due = now(watched) + timedelta(days=22)
    generation = planned(watched, "weeks.jpg", due)
    for day in (1, 8, 21):
        at(watched, due - timedelta(days=22 - day))
        assert watched.firing() == set()
    service = f"{PROCESSOR.removesuffix('default')}planned"
    watched.cloud.post("/run/down", {"service": service})
    at(watched, due + timedelta(minutes=20))
    assert "standing_queue" in watched.firing()
    watched.cloud.post("/run/up", {"service": service})
    at(watched, due + timedelta(minutes=40))
    assert watched.manifest("planned/weeks.jpg", generation)
