"""The sweep: what has no record gets one task, whatever became of the one it had."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from function_fakes import BRIDGE_ENV, RESULTS, UPLOADS, lane, load
from google.api_core.exceptions import ServiceUnavailable
from hypothesis import given
from hypothesis import strategies as st
from sweep_fakes import NOW, Storage, Tasks

from bridge.settings import Config
from contract.identity import Work
from runtime.logs import Log
from sweep import restore, sweeping
from sweep.cursor import Cursors
from sweep.listing import KINDS, Listings, Upload, joined
from sweep.restore import Restorer, replacement
from sweep.settings import Limits
from sweep.sweeping import Sweep, Unavailable

SWEEPS = "acme-files-sweeps"
SWEEP_ENV = {
    "CALL_SECONDS": "240", "MIN_AGE_SECONDS": "900", "REDRIVE_AFTER_SECONDS": "3600",
    "SWEEPS_BUCKET": SWEEPS, "TASKS_PER_CALL": "1000", "UPLOADS_PER_CALL": "50000",
}  # fmt: skip


class Cloud:
    def __init__(self) -> None:
        self.storage, self.tasks = Storage(), Tasks()
        self.env = dict(BRIDGE_ENV)

    def sweep(self, after: timedelta = timedelta(), **limits: str) -> dict[str, Any]:
        """What one call tells."""
        names = {name.upper(): value for name, value in limits.items()}
        return Sweep(
            Config.from_env(self.env), Limits.from_env(SWEEP_ENV | names), Log("acme", False),
            self.storage, self.tasks, NOW + after,
        ).run()  # fmt: skip

    def upload(self, name: str = "a.jpg", generation: int = 1, age: float = 3600) -> Work:
        self.storage.put(UPLOADS, name, generation, age)
        return Work(UPLOADS, name, str(generation))

    def fail(self, work: Work, age: float = 7200, retryable: bool = True) -> None:
        self.storage.put(RESULTS, work.failure, age=age, content={"retryable": retryable})

    def done(self, work: Work) -> None:
        self.storage.put(RESULTS, work.manifest)

    @property
    def ids(self) -> list[str]:
        return [name.rpartition("/")[2] for name in self.tasks.alive]


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


Logged = Callable[[], list[dict[str, Any]]]


def events(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


# What gets a task


def test_an_upload_without_a_record_gets_its_task_and_raises_the_alarm(
    cloud: Cloud, logged: Logged
) -> None:
    work = cloud.upload(age=900)
    assert cloud.sweep()["created"] == 1
    assert cloud.ids == [work.task_id]
    restored, swept = logged()
    assert (restored["event"], restored["severity"]) == ("restored", "ERROR")
    assert restored["object"] == "a.jpg"
    assert swept["event"] == "swept"


def test_what_is_recorded_young_ignored_or_handed_over_is_left_alone(cloud: Cloud) -> None:
    cloud.done(cloud.upload("done.jpg"))
    cloud.fail(cloud.upload("failed.jpg"), retryable=False)
    cloud.upload("young.jpg", age=899)
    cloud.upload("tmp/x.jpg")
    cloud.upload("raw/x.bin")
    lanes = {"default": lane(), "raw": lane(prefixes=["raw/"], records=False)}
    cloud.env |= {"EXCLUDE_PREFIXES": '["tmp/"]', "LANES": json.dumps(lanes)}
    told = cloud.sweep()
    assert cloud.ids == []
    assert (told["done"], told["failed"], told["young"], told["missing"]) == (1, 1, 1, 2)


def test_replaced_generations_count_each_for_itself(cloud: Cloud) -> None:
    old, new = cloud.upload(generation=1), cloud.upload(generation=2)
    cloud.done(new)
    cloud.sweep()
    assert cloud.ids == [old.task_id]


def test_a_live_task_is_never_doubled_nor_told_of(cloud: Cloud, logged: Logged) -> None:
    cloud.upload()
    cloud.sweep()
    logged()
    for days in range(40):
        assert cloud.sweep(timedelta(days=days, seconds=1))["alive"] == 1
    assert len(cloud.ids) == 1
    assert set(events(logged())) == {"swept"}


def test_a_live_task_takes_two_calls_however_old_it_is_and_however_many_there_are(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "PAGE", 2)
    for number in range(5):
        cloud.upload(f"{number}.jpg", age=40 * 86_400)
    cloud.sweep()
    before = cloud.tasks.calls
    assert cloud.sweep()["alive"] == 5
    assert cloud.tasks.calls - before == 2 * 5
    monkeypatch.setattr(restore, "LISTED", 4)
    assert cloud.sweep()["alive"] == 5
    assert cloud.tasks.calls - before == 4 * 5 + 5 * 32


def test_a_blocked_name_is_passed_by_and_the_new_task_never_doubled(cloud: Cloud) -> None:
    work = cloud.upload()
    cloud.sweep()
    (name,) = cloud.tasks.alive
    cloud.tasks.lose(name)
    assert cloud.sweep()["restored"] == 1
    assert cloud.ids == [replacement(work, NOW)]
    assert cloud.sweep(timedelta(minutes=15))["alive"] == 1
    cloud.tasks.blocked.clear()  # a day later the first name is free
    for most in (10**6, 0):  # however many tasks there are
        cloud.tasks.most = most
        assert cloud.sweep(timedelta(days=3))["alive"] == 1
    assert len(cloud.ids) == 1


def test_an_upload_of_unknown_age_may_have_a_task_of_any_day(cloud: Cloud) -> None:
    work = cloud.upload()
    cloud.sweep()
    (name,) = cloud.tasks.alive
    cloud.tasks.lose(name)
    cloud.sweep()
    config = Config.from_env(cloud.env)
    restorer = Restorer(cloud.tasks, config, lambda _: False, lambda: NOW + timedelta(days=30))
    notification = sweeping.Notification("OBJECT_FINALIZE", work, {})
    assert restorer.enqueue(notification, "default") == ("alive", None)


def test_a_delayed_upload_that_was_lost_raises_the_alarm_too(cloud: Cloud, logged: Logged) -> None:
    delayed = lane(later="projects/p/locations/l/queues/later", delay_seconds=10**9)
    cloud.env |= {"LANES": json.dumps({"default": delayed})}
    cloud.upload()
    assert cloud.sweep()["delayed"] == 1
    assert events(logged()) == ["restored", "swept"]


def test_a_delayed_task_that_stands_an_hour_after_its_time_is_told(
    cloud: Cloud, logged: Logged
) -> None:
    later = f"{lane()['queue']}-later"
    cloud.env |= {"LANES": json.dumps({"default": lane(later=later, delay_seconds=7200)})}
    cloud.upload()
    cloud.sweep()
    (name,) = cloud.tasks.alive
    assert name.startswith(f"{later}/")
    cloud.tasks.alive[name].schedule_time = NOW + timedelta(hours=1)
    for minutes, reason in ((60, "alive"), (119, "alive"), (121, "late")):
        logged()
        assert cloud.sweep(timedelta(minutes=minutes))[reason] == 1
        assert ("late" in events(logged())) == (reason == "late")
    assert list(cloud.tasks.alive) == [name]


def test_where_both_names_are_blocked_it_waits_for_the_next_day(cloud: Cloud) -> None:
    cloud.upload()
    for _ in range(2):
        cloud.sweep()
        (name,) = cloud.tasks.alive
        cloud.tasks.lose(name)
    assert cloud.sweep()["blocked"] == 1
    assert cloud.sweep(timedelta(days=1))["restored"] == 1


def test_what_was_recorded_while_the_sweep_looked_gets_no_task(cloud: Cloud) -> None:
    work = cloud.upload()
    cloud.sweep()
    (name,) = cloud.tasks.alive
    cloud.tasks.lose(name)
    config = Config.from_env(cloud.env)
    restorer = Restorer(cloud.tasks, config, lambda _: True, lambda: NOW)
    notification = sweeping.Notification("OBJECT_FINALIZE", work, {"timeCreated": str(NOW)})
    assert restorer.enqueue(notification, "default") == ("recorded", None)


def test_a_task_for_another_address_is_told_and_left_to_a_person(
    cloud: Cloud, logged: Logged
) -> None:
    cloud.upload()
    cloud.sweep()
    logged()
    cloud.env["LANES"] = json.dumps({"default": lane(url="https://elsewhere.example/")})
    assert cloud.sweep()["wrong_target"] == 1
    assert events(logged()) == ["left", "swept"]
    assert len(cloud.ids) == 1


# Failures


def test_a_retryable_failure_is_tried_once_more_after_an_hour(cloud: Cloud, logged: Logged) -> None:
    fresh, rested = cloud.upload("fresh.jpg"), cloud.upload("rested.jpg")
    twice = cloud.upload("twice.jpg")
    cloud.fail(fresh, age=3599)
    cloud.fail(rested, age=3600)
    cloud.fail(twice)
    cloud.fail(replace(twice, run=1))
    assert cloud.sweep()["redriven"] == 1
    again = Work(UPLOADS, "rested.jpg", "1", 1)
    assert cloud.ids == [again.task_id]
    assert events(logged()) == ["redriven", "swept"]
    cloud.tasks.alive.clear()
    cloud.fail(again, age=0)
    assert cloud.sweep(timedelta(minutes=31))["redriven"] == 1  # the fresh one has rested
    cloud.tasks.alive.clear()
    assert "redriven" not in cloud.sweep(timedelta(days=1))


def test_failures_that_an_earlier_pass_looked_at_are_not_read_again(cloud: Cloud) -> None:
    cloud.fail(cloud.upload(), age=3600, retryable=False)
    assert cloud.sweep()["permanent"] == 1
    assert "permanent" not in cloud.sweep(timedelta(minutes=15))


# Bounds


def test_a_call_goes_on_where_the_last_one_stopped(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "PAGE", 10)
    for number in range(25):
        cloud.upload("same.jpg" if number < 15 else f"x{number}.jpg", number + 1)
    hours = 0, 0.25, 72, 72.25  # what stopped for days goes on, too
    told = [cloud.sweep(timedelta(hours=h), uploads_per_call="10") for h in hours]
    assert [one["uploads"] for one in told] == [10, 10, 5, 10]
    assert [one.get("passes", 0) for one in told] == [0, 0, 1, 0]
    assert len(cloud.ids) == 25


def test_each_limit_ends_a_call(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "PAGE", 10)
    for number in range(30):
        cloud.upload(f"{number:02}.jpg")
    assert cloud.sweep(tasks_per_call="5")["uploads"] == 10
    monkeypatch.setattr(sweeping.time, "monotonic", iter(range(0, 10**6, 1000)).__next__)
    assert cloud.sweep(timedelta(minutes=15))["uploads"] == 10


def test_a_repeated_call_of_the_same_time_changes_nothing(cloud: Cloud) -> None:
    cloud.upload()
    cloud.sweep()
    before = {k: b.data for k, b in cloud.storage.bucket(SWEEPS).blobs.items()}
    cloud.sweep()
    assert {k: b.data for k, b in cloud.storage.bucket(SWEEPS).blobs.items()} == before
    assert len(cloud.ids) == 1


def test_where_cloud_tasks_is_away_the_same_uploads_come_again(
    cloud: Cloud, logged: Logged
) -> None:
    cloud.upload()
    cloud.tasks.error = ServiceUnavailable("away")
    with pytest.raises(Unavailable):
        cloud.sweep()
    assert events(logged()) == ["unavailable"]
    assert not cloud.storage.bucket(SWEEPS).keys
    cloud.tasks.error = None
    assert cloud.sweep()["created"] == 1


def test_requests_and_memory_follow_the_uploads_of_a_call_and_not_those_there_are(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "PAGE", 100)
    peaks = []
    for there in (500, 5000):
        for number in range(there):
            work = cloud.upload(f"{there}/{number:05}.jpg")
            cloud.done(work)
        cloud.storage.buckets.pop(SWEEPS, None)
        tracemalloc.start()
        told = cloud.sweep(uploads_per_call="300")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert told["uploads"] == 300
        assert told["list_requests"] <= 1 + 2 * 4
    assert peaks[1] < 1.5 * peaks[0]


def test_records_of_what_expired_cost_at_most_a_request_for_each_upload(cloud: Cloud) -> None:
    for number in range(4000):
        cloud.done(Work(UPLOADS, f"{number:05}.jpg", "1"))
    for number in range(0, 4000, 1000):
        cloud.upload(f"{number:05}.jpg")
    told = cloud.sweep()
    assert told["done"] == 4
    assert told["list_requests"] <= 1 + 4 + 1


# The listing in pieces


def test_a_run_is_recorded_where_it_or_a_later_one_of_its_generation_is(cloud: Cloud) -> None:
    work, listings = cloud.upload(), Listings(cloud.storage)

    def recorded() -> list[bool]:
        return [listings.recorded(RESULTS, replace(work, run=run)) for run in range(4)]

    for other in ("10", "2"):
        cloud.done(replace(work, generation=other))
    assert recorded() == [False] * 4
    cloud.fail(work)
    assert recorded() == [True, False, False, False]
    cloud.done(replace(work, run=2))
    assert recorded() == [True, True, True, False]


def test_the_records_under_a_prefix_are_those_of_names_that_begin_with_it(cloud: Cloud) -> None:
    for name, generation in (("a", "17"), ("a/1", "5"), ("a/1x", "5"), ("b", "1")):
        cloud.done(Work(UPLOADS, name, generation))
    found = Listings(cloud.storage).records(RESULTS, "manifests", "a/1")
    assert [record.key for record in found] == ["a/1/5", "a/1x/5"]


NAMES = st.lists(st.text("a/-!.1~ü", min_size=1, max_size=4), min_size=1, max_size=12, unique=True)


@given(NAMES, st.data())
def test_pieces_have_the_records_that_the_whole_listing_has(names: list[str], data: Any) -> None:
    from sweep import listing

    storage, kept = Storage(), listing.PAGE
    uploads = []
    for name in sorted(names, key=str.encode):
        work = Work(UPLOADS, name, "1")
        storage.put(UPLOADS, name)
        uploads.append(Upload(name, "1", NOW, {}))
        for run in data.draw(st.lists(st.integers(0, 12), max_size=3, unique=True)):
            one = Work(UPLOADS, name, "1", run)
            storage.put(RESULTS, data.draw(st.sampled_from([one.manifest, one.failure])))
        del work
    listings = Listings(storage)
    records = [listings.records(RESULTS, kind, "") for kind in KINDS]
    whole = {g.key: (g.manifests, g.failures) for g in joined(uploads, *records) if g.upload}
    size = data.draw(st.integers(1, len(uploads)))
    try:
        listing.PAGE = data.draw(st.integers(1, 5))
        pieces = [
            generation
            for at in range(0, len(uploads), size)
            for generation in listings.with_records(RESULTS, uploads[at : at + size])
        ]
    finally:
        listing.PAGE = kept
    assert {g.key: (g.manifests, g.failures) for g in pieces} == whole


# The HTTP front


def test_the_schedulers_time_is_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    main, http = load("sweep")
    cloud = Cloud()
    cloud.upload()
    this = main.Sweeper(
        Config.from_env(cloud.env), Limits.from_env(SWEEP_ENV), Log("acme", False),
        lambda: cloud.storage, lambda: cloud.tasks,
    )  # fmt: skip
    monkeypatch.setattr(main, "sweeper", lambda: this)
    assert http.get("/").json == {"status": "ok"}
    answer = http.post("/", headers={main.SCHEDULED: NOW.isoformat().replace("+00:00", "Z")})
    assert (answer.status_code, answer.json["created"]) == (200, 1)
    (key,) = cloud.storage.bucket(SWEEPS).keys
    assert key[0] == b"sweeps/2026-11-26T12:00:00Z.json"
    assert Cursors(cloud.storage, SWEEPS).newest(NOW).before == ""
    cloud.tasks.alive.clear()
    cloud.tasks.error = ServiceUnavailable("away")
    assert http.post("/").status_code == 503
    cloud.storage.list_blobs = None  # type: ignore[assignment, method-assign]
    assert http.post("/").status_code == 500
    assert main.scheduled("2026-11-26T13:00:00+01:00").isoformat() == NOW.isoformat()
    assert abs(main.scheduled(None) - datetime.now(NOW.tzinfo)) < timedelta(minutes=1)
