"""What an erasure takes, and what it waits for, without a cloud."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from contract.identity import Work
from scripts.ops import erase
from scripts.ops.erase import Erasure, Scope
from scripts.ops.problems import Problem

from .stored import GENERATION, PUBLISHED, RESULTS, UPLOADS, Stored

NAME = "cats/tom.jpg"
KEY = f"{NAME}/{GENERATION}"
WORK = Work(UPLOADS, NAME, GENERATION)
DEADLINE = 600  # seconds that an attempt may take


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Stored:
    monkeypatch.setattr(erase, "POLL_SECONDS", 0.0)
    return Stored()


def erasure(stored: Stored, *, approvals: bool = False, **scope: str) -> Erasure:
    lane = SimpleNamespace(dispatch_deadline_seconds=DEADLINE)
    there = {"published_bucket": PUBLISHED, "workflow": "projects/p/locations/l/workflows/w"}
    environment: Any = SimpleNamespace(
        uploads=UPLOADS, results=RESULTS, queues=["q"],
        outputs={"approvals": there} if approvals else {},
        config=SimpleNamespace(lanes={"default": lane}),
    )  # fmt: skip
    return Erasure(stored, environment, Scope(**scope or {"name": NAME}))  # type: ignore[arg-type]


def task(work: Work, worked_on: bool) -> Any:
    sent = SimpleNamespace(dispatch_time=datetime.now(UTC), response_time=None)
    return SimpleNamespace(name=f"q/tasks/{work.task_id}", last_attempt=sent if worked_on else None)


@pytest.mark.parametrize(
    ("result", "holds"),
    [
        (f"files/{KEY}/thumbnail.jpg", True),
        (f"files/{KEY}-1/2/thumbnail.jpg", True),
        (f"attempts/{KEY}-12/1/95", True),
        (f"manifests/{KEY}-1.json", True),
        (f"decisions/{KEY}/print_1.json", True),
        (f"requests/{KEY}-1/execution.json", True),
        (f"manifests/{NAME}/other.jpg/{GENERATION}.json", False),
        (f"files/{NAME}/2026/thumbnail.jpg", False),
        (f"attempts/{NAME}/other.jpg/{GENERATION}/1", False),
        (f"decisions/{KEY}/{GENERATION}/print.json", False),
        (f"manifests/{NAME}x/{GENERATION}.json", False),
        (f"manifests/{KEY}.json.bak", False),
    ],
)
def test_what_is_another_objects_is_left_alone(result: str, holds: bool) -> None:
    assert Scope(name=NAME).holds(result) is holds


@pytest.mark.parametrize(
    ("owner", "taken"), [("-", True), ("customer-7", True), ("*", False), ("a/b", False)]
)
def test_an_owner_is_a_label_and_no_pattern(owner: str, taken: bool) -> None:
    if taken:
        assert Scope.of(None, "", owner).glob == f"*/{owner}/*/*"  # type: ignore[arg-type]
    else:
        with pytest.raises(Problem, match="is not an owner"):
            Scope.of(None, "", owner)  # type: ignore[arg-type]


def test_every_version_goes_and_what_is_left_names_nothing(stored: Stored) -> None:
    for generation, live in ((GENERATION, False), (f"{GENERATION[:-1]}9", True)):
        stored.put(UPLOADS, NAME, generation=generation, live=live)
        stored.put(RESULTS, f"manifests/{NAME}/{generation}.json", live=False)
        stored.put(RESULTS, f"manifests/{KEY}.json", generation=generation, live=live)
    stored.vanishing.add(f"files/{KEY}/a.jpg")
    for name in (f"files/{KEY}/a.jpg", other := f"manifests/{NAME}/other.jpg/{GENERATION}.json"):
        stored.put(RESULTS, name)
    stored.put(PUBLISHED, f"published/{KEY}.json")
    stored.put(UPLOADS, f"{NAME}.bak")
    gone = erasure(stored, approvals=True).erase(60, lambda _: None)
    assert (gone["uploads"], gone["manifests"], gone["files"], gone["published"]) == (2, 4, 1, 1)
    assert (stored.names(UPLOADS), stored.names(PUBLISHED)) == ([f"{NAME}.bak"], [])
    kept, record = stored.buckets[RESULTS]
    assert kept.name == other
    assert record.name.startswith("erased/")
    assert json.loads(record.content)["files"] == 2
    assert "tom" not in record.name + record.content.decode()
    assert not any(erasure(stored).erase(60, lambda _: None).values())
    assert len(stored.buckets[RESULTS]) == 2


def test_what_is_written_while_it_is_erased_goes_too(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, late = erasure(stored), [f"failures/{KEY}.json"]
    delete = job._delete

    def deleted(blobs: list[Any]) -> None:
        delete(blobs)
        if blobs and late:
            stored.put(RESULTS, late.pop())

    monkeypatch.setattr(job, "_delete", deleted)
    stored.put(RESULTS, f"files/{KEY}/a.jpg")
    gone = job.erase(60, lambda _: None)
    assert (gone["files"], gone["failures"]) == (1, 1)
    assert [name.partition("/")[0] for name in stored.names(RESULTS)] == ["erased"]


@pytest.mark.parametrize(
    ("results", "minutes", "waits"),
    [
        ([], 14, "an upload's event is on its way"),
        ([], 16, ""),
        ([f"manifests/{KEY}.json"], 1, ""),
        ([f"failures/{KEY}.json"], 1, ""),
        ([f"attempts/{KEY}/1"], 9, "an attempt was started and has left no record"),
        ([f"attempts/{KEY}/1", f"attempts/{KEY}/1/95"], 9, "an attempt was started"),
        ([f"attempts/{KEY}/1"], 11, ""),
        ([f"attempts/{KEY}/1", f"failures/{KEY}.json"], 1, ""),
        ([f"attempts/{KEY}-1/1", f"failures/{KEY}.json"], 1, "an attempt was started"),
    ],
)
def test_what_may_still_write_is_waited_for(
    stored: Stored, results: list[str], minutes: float, waits: str
) -> None:
    stored.put(UPLOADS, NAME, minutes=minutes)
    for name in results:
        stored.put(RESULTS, name, minutes=minutes)
    job = erasure(stored)
    if not waits:
        assert job.erase(0, lambda _: None)["uploads"] == 1
        return
    with pytest.raises(Problem, match=f"work is under way: {waits}.*The uploads are gone"):
        job.erase(0, lambda _: None)
    assert (stored.names(UPLOADS), stored.names(RESULTS)) == ([], results)


def test_an_attempt_is_as_old_as_its_last_sign(stored: Stored) -> None:
    stored.put(RESULTS, f"attempts/{KEY}/2", minutes=9)
    stored.put(RESULTS, f"attempts/{KEY}/1", minutes=20)
    with pytest.raises(Problem, match="an attempt was started"):
        erasure(stored).erase(0, lambda _: None)


def test_a_task_that_waits_goes_and_one_that_is_worked_on_is_waited_for(stored: Stored) -> None:
    stored.put(UPLOADS, NAME, minutes=1)
    stored.waiting = [task(WORK, False), task(Work(UPLOADS, "other", GENERATION), False)]
    assert erasure(stored).erase(0, lambda _: None)["uploads"] == 1
    assert [one.name for one in stored.waiting] == [
        task(Work(UPLOADS, "other", GENERATION), False).name
    ]
    stored.put(UPLOADS, NAME, minutes=60)
    rerun = Work(UPLOADS, NAME, GENERATION, 1)
    stored.waiting = [task(rerun, True)]
    with pytest.raises(Problem, match=f"the task {rerun.task_id} is being worked on"):
        erasure(stored).erase(0, lambda _: None)
    assert len(stored.waiting) == 1
