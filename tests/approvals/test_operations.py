"""What was killed is found and restarted; the doctor, bootstrap and the runbook's commands."""

from __future__ import annotations

import json
import sys

import pytest

from tests.localcloud.client.deployment import CommandFailed
from tests.permissions.tools import withheld
from tests.system.operating import commands, typed
from tests.system.pipeline import jpeg, until

from .conftest import APPROVER, HOUR, RUNS, Approvals, ended, waits

# What hangs

# Where an execution is killed: a call that fails for good before or after its effect.
POINTS = [
    ("storage.objects.get", "manifests/{}", False),
    ("storage.objects.insert", "requests/{}/*", False),
    ("storage.objects.insert", "requests/{}/*", True),
    ("storage.objects.insert", "decisions/{}*", False),
    ("storage.objects.insert", "decisions/{}*", True),
    ("storage.objects.rewrite", "files/{}/*", False),
    ("storage.objects.rewrite", "files/{}/*", True),
    ("storage.objects.insert", "published/{}*", False),
    ("storage.objects.insert", "published/{}*", True),
]


def whole(approvals: Approvals, key: str) -> bool:
    """Whether all that the record of a published file names is there."""
    outputs = approvals.record(f"published/{key}.json")["outputs"]
    return {one["object"] for one in outputs} == {*approvals.names(f"files/{key}/")}


def test_what_was_killed_at_any_step_is_found_and_ends_after_one_command(
    approvals: Approvals, fresh: str
) -> None:
    names = [f"sensitive/{fresh}/{number}.jpg" for number in range(len(POINTS))]
    account = f"*{approvals.outputs['approvals']['account']}"
    rules = [
        {"method": method, "object": where.format(f"{name}*"), "code": 400, "times": 1,
         "after": after, "member": account}
        for name, (method, where, after) in zip(names, POINTS, strict=True)
    ]  # fmt: skip
    approvals.cloud.post("/faults", {"rules": rules})
    keys = [f"{name}/{approvals.upload(name, jpeg(32, 32))}" for name in names]
    approvals.settle()
    waiting = keys[3:]  # those that were killed later than the question
    until(lambda: all(approvals.requests(key) for key in waiting), seconds=30)
    cancelled = approvals.asked(f"sensitive/{fresh}/cancelled.jpg")
    (execution,) = approvals.executions(cancelled)
    approvals.ask("POST", f"{RUNS}{execution['name']}:cancel", {})
    for key in waiting:
        approvals.tool("approve", key, "--wait", "0")
    until(lambda: [[e["state"] for e in approvals.executions(key)] for key in keys]
          == [["FAILED"]] * len(keys), seconds=20)  # fmt: skip
    assert "approvals_failed" in approvals.firing()
    for key in keys:
        assert approvals.end(key)[0] != "published" or whole(approvals, key)
    prefix = f"sensitive/{fresh}"
    restart = ("approvals", "--restart", "--min-age", "0", "--prefix", prefix, "--json")
    hung = json.loads(approvals.tool(*restart))["hung"]
    assert set(hung) == {key for key in [*keys, cancelled] if approvals.end(key) == ("", "")}
    assert len(hung) >= len(keys) - 1
    approvals.tool(*restart, "--apply")
    approvals.settle()
    for key in [*keys, cancelled]:
        until(lambda k=key: approvals.end(k)[0] or waits(approvals, k), seconds=20)
        if approvals.end(key) == ("", ""):
            assert approvals.names(f"files/{key}/") == []  # nothing without a decision
            approvals.tool("approve", key)
        assert ended(approvals, key) == ("published", "person")
        assert len(approvals.names(f"decisions/{key}/")) == 1
        assert whole(approvals, key)
    assert json.loads(approvals.tool(*restart))["hung"] == []


def test_an_hour_without_storage_is_waited_for(approvals: Approvals, fresh: str) -> None:
    account = f"*{approvals.outputs['approvals']['account']}"
    approvals.cloud.post("/faults", {"rules": [{"method": "storage.*", "member": account}]})
    key = f"{fresh}.jpg/{approvals.process(f'{fresh}.jpg', jpeg(32, 32))}"
    approvals.cloud.advance(HOUR)
    assert approvals.end(key) == ("", "")
    assert [e["state"] for e in approvals.executions(key)] == ["ACTIVE"]
    approvals.cloud.delete("/faults")
    approvals.cloud.advance(600)
    assert ended(approvals, key) == ("published", "rules")


def test_lost_answers_and_403_for_what_is_there_are_no_failures(
    approvals: Approvals, fresh: str
) -> None:
    account = f"*{approvals.outputs['approvals']['account']}"
    rule = {"method": "storage.objects.*", "member": account, "after": True, "rate": 0.4}
    approvals.cloud.post(
        "/faults",
        {"seed": 7, "rules": [rule],
         "rates": {"storage.create_only_403": 1.0, "pubsub.duplicate": 0.5}},
    )  # fmt: skip
    names = [f"{fresh}/{number}.jpg" for number in range(6)]
    keys = [f"{name}/{approvals.upload(name, jpeg(32, 32))}" for name in names]
    approvals.settle()
    approvals.cloud.advance(HOUR)
    for key in keys:
        assert ended(approvals, key) == ("published", "rules")
        until(
            lambda k=key: {e["state"] for e in approvals.executions(k)} == {"SUCCEEDED"}, seconds=20
        )


# Everyday work


def findings(approvals: Approvals, code: int = 0) -> dict[str, str]:
    """Check of the doctor → what it found wrong."""
    command = ["-m", "scripts.ops", "-e", "dev", "doctor", "--json"]
    done = approvals.deployment.run(sys.executable, *command, check=False)
    assert done.returncode == code, done.stdout
    found = json.loads(done.stdout[done.stdout.index("{") :])["findings"]
    return {one["check"]: one["what"] for one in found if one["level"] not in ("ok", "note")}


def test_the_doctor_finds_nothing_wrong_and_sees_what_was_changed_by_hand(
    approvals: Approvals, fresh: str
) -> None:
    assert findings(approvals) == {}
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    (execution,) = approvals.executions(key)
    approvals.ask("POST", f"{RUNS}{execution['name']}:cancel", {})
    flows = "https://workflows.googleapis.com/v1/"
    there = approvals.ask("GET", flows + approvals.workflow)
    mask = f"{flows}{approvals.workflow}?updateMask=sourceContents"
    approvals.ask("PATCH", mask, {"sourceContents": "- end: {return: 1}"})
    starter = (
        f"serviceAccount:files-approvals-starter@{approvals.cloud.project}.iam.gserviceaccount.com"
    )
    (binding,) = (row for row in approvals.cloud.get("/bindings") if row[2] == starter)
    with withheld(approvals.cloud, binding):
        found = findings(approvals, 1)
    approvals.ask("PATCH", mask, {"sourceContents": there["sourceContents"]})
    assert key in found["executions of approvals"]
    assert "runs another source" in found["workflow of approvals"]
    assert "no approval begins" in found["starter of approvals"]
    assert "hung" in approvals.tool("approvals", "--prefix", key, code=1)
    approvals.tool("approvals", "--restart", "--min-age", "0", "--prefix", key, "--apply")
    until(lambda: waits(approvals, key), seconds=20)
    assert "waiting" in approvals.tool("approvals", "--prefix", key)


def test_status_tells_what_was_decided(approvals: Approvals, fresh: str) -> None:
    name = f"sensitive/{fresh}.jpg"
    key = approvals.asked(name)
    url = f"gs://{approvals.outputs['uploads_bucket']}/{name}"
    number = key.rpartition("/")[2]
    assert f"\n{number}: neither published nor rejected yet" in approvals.tool("status", url)
    approvals.tool("reject", key, "--because", "It is a draft.")
    said = approvals.tool("status", url)
    assert f"\n{number}: rejected by you@example.com. It is a draft.\n" in said
    (told,) = json.loads(approvals.tool("status", url, "--json"))["generations"]
    assert (told["state"], told["approval"]) == ("done", approvals.record(f"rejected/{key}.json"))


def test_another_plan_changes_nothing(approvals: Approvals) -> None:
    planned = approvals.deployment.make("plan", "ENV=dev").stdout
    assert "No changes." in planned, planned


def test_bootstrap_keeps_capabilities_and_approvers_that_it_is_not_given(
    approvals: Approvals,
) -> None:
    verify = approvals.deployment.make("verify", "ENV=bootstrap").stdout
    assert f"approvers {APPROVER}; capabilities approvals completions; region" in verify
    with pytest.raises(CommandFailed) as told:
        approvals.deployment.make("verify", "ENV=bootstrap", "APPROVERS=")
    assert f'google_project_iam_member.approvals["approver {APPROVER}"] will be destroyed' in str(
        told.value
    )
    assert "0 to add, 0 to change, 1 to destroy" in str(told.value)


def test_the_runbooks_commands_run(approvals: Approvals) -> None:
    env = {"ENV": "dev", "PROJECT": approvals.cloud.project}
    for command in commands("sh approvals"):
        code, output = typed(approvals.deployment, command, **env)
        assert code == 0, (command, output)
