"""An apply that comes too early goes on by itself, and does no more than was planned; and what an
environment takes is compared with what the project may take.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import capacity  # isort: skip - scripts.ops makes scripts/ known
import patience
import pytest
import runner
from known import Early, Refused, known
from runner import Environment, Failed, SavedPlan

from scripts.ops import quota

DEV = Environment("dev", "demo-project", "files")
UNKNOWN = (
    "The metric referenced by the provided filter is unknown. Check the metric name and labels."
)
UNBUILT = "Could not build the function due to a missing permission on the build service account."
SLO, FUNCTION, BUCKET = "google_monitoring_slo.a", "google_cloudfunctions2_function.b", "bucket.c"


def failed(*errors: str) -> Any:
    """What an apply's errors are taken for."""
    return known(DEV, "".join(f"╷\n│ Error: {error}\n│ \n╵\n" for error in errors))


def test_each_error_that_goes_by_itself_is_known_and_told() -> None:
    assert "the new metrics yet, which takes up to 10 minutes" in str(failed(UNKNOWN))
    both = failed(f"Error creating Slo: googleapi: Error 400: {UNKNOWN}", UNBUILT)
    assert isinstance(both, Early)
    assert "new metrics" in str(both)
    assert "IAM does not know a new binding yet" in str(both)
    denied = "Permission 'iam.serviceAccounts.actAs' denied on service account x"
    assert isinstance(failed(denied), Early)


def test_one_error_more_is_no_reason_to_wait() -> None:
    assert failed(UNKNOWN, "something else") is None
    assert failed("something else") is None


class Google:
    """Terraform, whose plans change `plans` in turn, and whose applies end as `applies` say."""

    def __init__(self, plans: list[dict[str, tuple[str, ...]]], applies: list[object]) -> None:
        self.plans, self.applies = plans, applies
        self.said: list[tuple[str, ...]] = []

    def terraform(self, _: Environment, verb: str, *words: str, quiet: bool = False) -> str:
        self.said.append((verb, *words))
        if verb == "apply" and (end := self.applies.pop(0)):
            raise end  # type: ignore[misc]
        if verb == "plan":
            self.plans.pop(0)
        changes = self.plans[0] if self.plans else {}
        return json.dumps({"resource_changes": [
            {"address": address, "change": {"actions": list(actions)}}
            for address, actions in changes.items()
        ]})  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [0.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(patience.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    return now  # type: ignore[return-value]


def applied(monkeypatch: pytest.MonkeyPatch, google: Google, *options: str) -> None:
    for module in (patience, runner):
        monkeypatch.setattr(module, "terraform", google.terraform)
    patience.apply(SavedPlan(DEV, Path("x.tfplan")), *options)


CREATE, UPDATE, NOTHING, AGAIN = ("create",), ("update",), ("no-op",), ("delete", "create")


def test_what_came_too_early_is_planned_and_applied_again_until_it_works(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    first = {SLO: CREATE, FUNCTION: CREATE, BUCKET: UPDATE}
    # The function is half made, so it is made anew; the bucket is done.
    later = {SLO: CREATE, FUNCTION: AGAIN, BUCKET: NOTHING}
    google = Google([first, later, {SLO: CREATE}], [Early("not yet"), Early("not yet"), None])
    applied(monkeypatch, google, "-lock-timeout=1s")
    assert [words[0] for words in google.said if words[0] != "show"] == [
        "apply", "plan", "apply", "plan", "apply"
    ]  # fmt: skip
    assert all("-lock-timeout=1s" in words for words in google.said if words[0] == "plan")
    assert capsys.readouterr().out.count("deploy: not yet") == 2
    assert clock[0] == 2 * patience.LOOKS_EVERY


@pytest.mark.parametrize(
    "later", [{BUCKET: UPDATE}, {SLO: AGAIN, BUCKET: ("delete",)}, {FUNCTION: AGAIN}]
)
def test_nothing_is_done_that_was_not_planned(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], later: dict[str, tuple[str, ...]]
) -> None:
    google = Google([{SLO: CREATE, FUNCTION: UPDATE}, later], [Early("not yet")])
    with pytest.raises(Refused, match="changed, which the plan did not say"):
        applied(monkeypatch, google)
    assert google.applies == []


def test_the_wait_has_an_end_and_another_failure_ends_it(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    with pytest.raises(Early):
        applied(monkeypatch, Google([{SLO: CREATE}] * 99, [Early("not yet")] * 99))
    assert patience.LOOKS_FOR <= clock[0] <= patience.LOOKS_FOR + 2 * patience.LOOKS_EVERY
    with pytest.raises(Failed):
        applied(monkeypatch, Google([{SLO: CREATE}] * 3, [Early("not yet"), Failed(1)]))


# What an environment takes


def planned(**counts: int) -> dict[str, Any]:
    def function(name: str, count: int) -> dict[str, Any]:
        service = {"available_cpu": "2", "available_memory": "2Gi", "max_instance_count": count}
        values = {"name": name, "location": "us-central1", "service_config": [service]}
        return {"type": "google_cloudfunctions2_function", "values": values}

    limits = {"cpu": "500m", "memory": "512Mi"}
    container = {"resources": [{"limits": limits}]}
    job = {"parallelism": 4, "template": [{"containers": [container]}]}
    worker = {"name": "worker", "location": "us-central1", "template": [job]}
    module = {"resources": [function(name, count) for name, count in counts.items()]}
    jobs = {"resources": [{"type": "google_cloud_run_v2_job", "values": worker}]}
    return {"planned_values": {"root_module": {"child_modules": [module, jobs]}}}


def test_what_all_instances_take_is_told_functions_and_jobs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def terraform(*words: Any, **_: Any) -> str:
        asked.append(words[1])
        return json.dumps(planned(bridge=1, processor=8))

    monkeypatch.setattr(runner, "terraform", terraform)
    plan = SavedPlan(DEV, Path("x"))
    found = capacity.tell(plan)
    capacity.tell(plan)
    assert asked == ["show"]
    assert {need.name: (need.cpu, need.memory) for need in found} == {
        "bridge": (2, 2), "processor": (16, 16), "worker": (2, 2)
    }  # fmt: skip
    told = capsys.readouterr().out
    assert "take 20 vCPU and 20 GiB; processor alone 16 vCPU and 16 GiB" in told


@pytest.mark.parametrize(
    ("allowed", "refused", "told"),
    [
        ({"cpu": 15.9, "memory": 40}, "processor takes 16 vCPU with all its instances", ""),
        ({"cpu": 20, "memory": 15.9}, "processor takes 16 GiB with all its instances", ""),
        ({"cpu": 19, "memory": 40}, "", "together they would take 20 vCPU"),
        ({"cpu": 20, "memory": 20}, "", ""),
        ({}, "", ""),
    ],
)
def test_it_is_compared_with_what_the_project_may_take(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    allowed: dict[str, float],
    refused: str,
    told: str,
) -> None:
    monkeypatch.setattr(capacity, "_quota", lambda *_: allowed)
    found = list(capacity.needs(planned(bridge=1, processor=8)))
    if refused:
        with pytest.raises(Refused, match=refused) as raised:
            capacity.compare("demo-project", found, sys.executable)
        assert "ask for more" in str(raised.value)
        assert "PerProjectRegion: https://console.cloud.google.com/" in str(raised.value)
    else:
        capacity.compare("demo-project", found, sys.executable)
        said = capsys.readouterr().out
        assert told in said if told else said == ""


def test_the_region_s_own_quota_counts_and_none_is_unlimited() -> None:
    def bucket(limit: str, **dimensions: str) -> dict[str, Any]:
        return {"effectiveLimit": limit, "dimensions": dimensions}

    class Clients:
        project = "p"

        def pages(self, url: str, items: str) -> list[dict[str, Any]]:
            cpu = [bucket("100000"), bucket("20000", region="us-central1")]
            memory = [bucket("-1"), bucket("7", region="europe-west1")]
            return [
                {"metric": f"run.googleapis.com/{name}_allocation",
                 "consumerQuotaLimits": [{"quotaBuckets": buckets}]}
                for name, buckets in {"cpu": cpu, "mem": memory, "gpu": cpu}.items()
            ]  # fmt: skip

    google: Any = Clients()
    assert quota.allowed(google, "us-central1") == {"cpu": 20}
    assert quota.allowed(google, "us-east1") == {"cpu": 100}
