"""Approvals as the operator sees them, without a cloud."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from scripts.ops.approvals import RUNS, Approvals, approvals
from scripts.ops.filters import Filter
from scripts.ops.problems import Problem

from .stored import GENERATION, PUBLISHED, RESULTS, UPLOADS, Stored

WORKFLOW = "projects/p/locations/l/workflows/w"
KEY = f"cats/tom.jpg/{GENERATION}"


class Asked(Stored):
    """states: of executions, by their names. gone: callbacks that nobody waits at any more."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, str] = {}
        self.gone: set[str] = set()
        self.sent: list[tuple[str, Any]] = []

    def ask(self, key: str, execution: str, state: str = "ACTIVE") -> None:
        self.put(PUBLISHED, f"requests/{key}/{execution}.json", {"asked": execution})
        self.states[execution] = state

    def rest(self, verb: str, url: str, body: Any = None) -> dict[str, Any] | None:
        name = url.partition("/executions/")[2].partition("/")[0].partition(":")[0]
        if verb == "POST":
            self.sent.append((url.removeprefix(f"{RUNS}/{WORKFLOW}/executions"), body))
            return None if name in self.gone else {}
        if url.endswith("/callbacks"):
            one = {"method": "POST", "name": f"{WORKFLOW}/executions/{name}/callbacks/1"}
            return {"callbacks": [one]}
        if name:
            return {"state": self.states[name]} if name in self.states else None
        return {"email": "you@example.com"}


@pytest.fixture
def cloud() -> Asked:
    return Asked()


@pytest.fixture
def job(cloud: Asked) -> Approvals:
    def object_name(url: str) -> str:
        return url.removeprefix(f"gs://{UPLOADS}/")

    there = {"published_bucket": PUBLISHED, "workflow": WORKFLOW}
    environment: Any = SimpleNamespace(
        name="dev", uploads=UPLOADS, results=RESULTS, object_name=object_name,
        outputs={"approvals": there},
    )  # fmt: skip
    return Approvals(cloud, environment)  # type: ignore[arg-type]


def test_who_is_asked_is_told_once_and_what_has_ended_is_not(cloud: Asked, job: Approvals) -> None:
    for name in ("waits", "queues", "hangs", "published", "rejected"):
        cloud.ask(f"{name}/{GENERATION}", f"{name}-1", "FAILED" if name == "hangs" else "ACTIVE")
    cloud.states["queues-1"] = "QUEUED"
    cloud.ask(f"waits/{GENERATION}", "waits-2", "CANCELLED")
    for end in ("published", "rejected"):
        cloud.put(PUBLISHED, f"{end}/{end}/{GENERATION}.json")
    found = {(one.key.partition("/")[0], one.execution, one.state) for one in job.requests()}
    assert found == {
        ("waits", "waits-1", "waiting"), ("queues", "queues-1", "waiting"),
        ("hangs", "hangs-1", "hung"),
    }  # fmt: skip


def test_a_request_that_is_erased_meanwhile_is_left_out(
    cloud: Asked, job: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.ask(KEY, "one")
    monkeypatch.setattr(Approvals, "_read", lambda *_: None)
    assert job.requests() == []


def test_what_hangs_is_older_than_the_least_age_and_nobody_waits_for_it(
    cloud: Asked, job: Approvals
) -> None:
    ages = {"old": 16, "young": 14, "ahead": -1, "asked": 16, "ended": 16}  # by Google's clock
    for name, minutes in ages.items():
        cloud.put(RESULTS, f"manifests/{name}/{GENERATION}.json", minutes=minutes)
    cloud.ask(f"asked/{GENERATION}", "one")
    cloud.put(PUBLISHED, f"published/ended/{GENERATION}.json")
    for least, expected in ((15, ["old"]), (0, ["old", "young", "ahead"])):
        hung = job.hung(Filter(), timedelta(minutes=least))
        assert list(hung) == [f"{name}/{GENERATION}" for name in expected]


def test_a_person_names_a_key_or_an_object_that_waits_once(cloud: Asked, job: Approvals) -> None:
    assert job.named(KEY) == KEY
    for target in ("gs://up/cats/tom.jpg", "gs://up/cats"):
        with pytest.raises(Problem, match="nobody is asked about"):
            job.named(target)
    cloud.ask(KEY, "one")
    assert job.named("gs://up/cats/tom.jpg") == KEY
    with pytest.raises(Problem, match="nobody is asked about"):
        job.named("gs://up/cats")
    cloud.ask(f"reports/2026/{GENERATION}", "year")
    assert job.named("gs://up/reports/2026") == f"reports/2026/{GENERATION}"
    for target in ("reports/2026", "tom.jpg"):
        with pytest.raises(Problem, match=f"{target} names no file: give its key"):
            job.named(target)
    cloud.ask(f"{KEY}-1", "two")
    with pytest.raises(Problem, match=f"waits more than once: name one of {KEY}, {KEY}-1"):
        job.named("gs://up/cats/tom.jpg")


def test_every_execution_that_waits_hears_the_answer(cloud: Asked, job: Approvals) -> None:
    for execution, state in (("a", "ACTIVE"), ("b", "ACTIVE"), ("c", "FAILED")):
        cloud.ask(KEY, execution, state)
    cloud.ask(f"{KEY}-1", "other")
    cloud.gone = {"b"}
    assert job.answer(KEY, "approved", "ours") == 1
    body = {"decision": "approved", "claimed_by": "you@example.com", "because": "ours"}
    assert cloud.sent == [("/a/callbacks/1", body), ("/b/callbacks/1", body)]
    cloud.gone = {"a", "b"}
    with pytest.raises(Problem, match="no execution waits for"):
        job.answer(KEY, "approved", "")
    cloud.put(PUBLISHED, f"rejected/{KEY}.json", {"status": "rejected"})
    with pytest.raises(Problem, match="does not wait: it is rejected already"):
        job.answer(KEY, "approved", "")
    with pytest.raises(Problem, match="does not wait: nobody is asked about it"):
        job.answer(f"{KEY}-7", "approved", "")


def test_only_an_execution_that_goes_on_is_cancelled(cloud: Asked, job: Approvals) -> None:
    cloud.ask(KEY, "on")
    cloud.ask(KEY, "over", "SUCCEEDED")
    for execution in ("on", "over", "unknown"):
        job.cancel(execution)
    assert cloud.sent == [("/on:cancel", {})]


def test_who_was_asked_first_comes_first(cloud: Asked, job: Approvals) -> None:
    for name, asked in (("a", "2026-11-27"), ("b", "2026-11-26"), ("c", "2026-11-28")):
        cloud.ask(f"{name}/{GENERATION}", asked)
    session = SimpleNamespace(clients=cloud, environment=job._environment)
    told = CliRunner().invoke(approvals, ["--json"], obj=session)
    assert [one["key"][0] for one in json.loads(told.output)["requests"]] == ["b", "a", "c"]


def test_a_restart_says_what_the_completion_said(cloud: Asked, job: Approvals) -> None:
    job.start(KEY)
    ((path, body),) = cloud.sent
    assert (path, f'"objectId": "manifests/{KEY}.json"' in body["argument"]) == ("", True)
