"""Approvals in an applied environment: each finished file ends by a decision."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pypdfium2

from portal.names import File
from status.records import Records
from tests.permissions.tools import call, withheld
from tests.system.operating import commands, typed
from tests.system.pipeline import jpeg, until

from .conftest import APPROVER, DAY, RUNS, Approvals

HOUR = 3600


def pdf() -> bytes:
    document = pypdfium2.PdfDocument.new()
    document.new_page(200, 200)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def ended(approvals: Approvals, key: str) -> tuple[str, str]:
    until(lambda: approvals.end(key)[0], seconds=20)
    return approvals.end(key)


def waits(approvals: Approvals, key: str) -> bool:
    """Whether an execution waits for an answer about it."""
    return any(
        approvals.ask("GET", f"{RUNS}{execution['name']}/callbacks")
        for execution in approvals.executions(key)
        if execution["state"] == "ACTIVE"
    )


def callback(approvals: Approvals, execution: str) -> str:
    (one,) = approvals.ask("GET", f"{RUNS}{execution}/callbacks")["callbacks"]
    return f"{RUNS}{one['name']}"


# The stages


def test_a_photo_goes_through_at_once_and_a_pdf_waits_until_somebody_approves(
    approvals: Approvals, fresh: str
) -> None:
    photo = f"{fresh}/photo.jpg/{approvals.process(f'{fresh}/photo.jpg', jpeg())}"
    assert ended(approvals, photo) == ("published", "rules")
    (output,) = approvals.record(f"published/{photo}.json")["outputs"]
    copy = approvals.client.bucket(approvals.published).blob(output["object"])
    assert copy.download_as_bytes() == approvals.read(output["object"])
    name = f"{fresh}/contract.pdf"
    key = f"{name}/{approvals.process(name, pdf(), 'application/pdf')}"
    until(lambda: approvals.requests(key), seconds=20)
    approvals.cloud.advance(DAY)
    assert approvals.end(key) == ("", "")
    assert approvals.names(f"files/{key}/") == []
    listed = json.loads(approvals.tool("approvals", "--json", "--prefix", fresh))["requests"]
    assert [(one["key"], one["state"], one["rule"]) for one in listed] == [
        (key, "waiting", "documents")
    ]
    said = approvals.tool("approve", f"gs://{approvals.uploads}/{name}", "--because", "It is ours.")
    assert f"{key} is published: approved by you@example.com. It is ours." in said
    decision = approvals.record(f"published/{key}.json")["decision"]
    assert (decision["by"], decision["because"]) == ("person", "It is ours.")
    assert len(approvals.names(f"files/{key}/")) == len(
        json.loads(approvals.read(f"manifests/{key}.json"))["outputs"]
    )
    assert "Nobody is asked" in approvals.tool("approvals", "--prefix", fresh)


def test_what_is_rejected_is_not_published(approvals: Approvals, fresh: str) -> None:
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    assert "is rejected" in approvals.tool("reject", key, "--because", "It shows a face.")
    assert approvals.end(key) == ("rejected", "person")
    assert approvals.names(f"files/{key}/") + approvals.names(f"published/{key}") == []
    assert "it is rejected already" in approvals.tool("approve", key, code=2)


def test_what_nobody_decides_is_overdue_after_3_days_and_expired_after_7(
    approvals: Approvals, fresh: str
) -> None:
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    approvals.cloud.advance(3 * DAY - HOUR)
    assert "approvals_overdue" not in approvals.firing()
    approvals.cloud.advance(HOUR + 60)
    assert "approvals_overdue" in approvals.firing()
    approvals.cloud.advance(4 * DAY - HOUR)
    assert approvals.end(key) == ("", "")
    approvals.cloud.advance(HOUR)
    assert ended(approvals, key) == ("rejected", "clock")
    assert approvals.record(f"rejected/{key}.json")["decision"]["decision"] == "expired"
    assert approvals.names(f"files/{key}/") == []


def test_a_subscriber_hears_of_requests_and_of_both_ends(approvals: Approvals, fresh: str) -> None:
    approvals.pull()
    photo = f"{fresh}.jpg/{approvals.process(f'{fresh}.jpg', jpeg(32, 32))}"
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    approvals.tool("reject", key)
    ended(approvals, photo)
    approvals.settle()
    ((status, request), *more) = sorted(approvals.pull(), reverse=True)
    assert (status, request.startswith(f"requests/{key}/")) == ("waiting", True)
    assert more == [
        ("rejected", f"rejected/{key}.json"), ("published", f"published/{photo}.json"),
    ]  # fmt: skip


def test_the_check_rejects_asks_and_is_tried_again(approvals: Approvals, fresh: str) -> None:
    verdicts: dict[str, Any] = {
        "virus": (200, {"verdict": "reject", "detail": "A virus."}),
        "unsure": (200, {"verdict": "ask", "detail": "Maybe."}),
        "strange": (200, {"verdict": "fine"}),
        "busy": (503, {}),
    }
    approvals.check.answer = lambda asked: verdicts[asked["key"].split("/")[1].split(".")[0]]
    names = {word: f"{fresh}/{word}.jpg" for word in verdicts}
    keys = {w: f"{name}/{approvals.upload(name, jpeg(32, 32))}" for w, name in names.items()}
    assert ended(approvals, keys["virus"]) == ("rejected", "check")
    assert approvals.record(f"rejected/{keys['virus']}.json")["decision"]["because"] == "A virus."
    for word, detail in (("unsure", "Maybe."), ("strange", "unknown verdict")):
        until(lambda w=word: approvals.requests(keys[w]), seconds=20)
        assert detail in approvals.requests(keys[word])[0]["check"]
    until(lambda: any(a["key"] == keys["busy"] for a in approvals.check.asked), seconds=20)
    verdicts["busy"] = (200, {"verdict": "pass"})
    approvals.cloud.advance(600)
    assert ended(approvals, keys["busy"]) == ("published", "rules")
    assert approvals.check.asked[-1]["authorization"].startswith("Bearer ey")


# The first decision counts


def test_duplicates_of_a_completion_make_one_decision_that_an_answer_gives_to_all(
    approvals: Approvals, fresh: str
) -> None:
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    approvals.announce(key)
    until(lambda: len(approvals.requests(key)) == 2, seconds=20)
    assert json.loads(approvals.tool("approve", key, "--json"))["executions"] == 2
    until(lambda: {e["state"] for e in approvals.executions(key)} == {"SUCCEEDED"}, seconds=20)
    approvals.announce(key)  # late: finds the decision
    until(lambda: len(approvals.executions(key)) == 3, seconds=20)
    until(lambda: {e["state"] for e in approvals.executions(key)} == {"SUCCEEDED"}, seconds=20)
    assert len(approvals.names(f"decisions/{key}/")) == len(approvals.names(f"published/{key}"))
    assert len(approvals.requests(key)) == 2


def test_of_two_answers_the_first_counts_and_nonsense_is_none(
    approvals: Approvals, fresh: str
) -> None:
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    approvals.announce(key)
    until(lambda: len(approvals.requests(key)) == 2, seconds=20)
    first, second = [callback(approvals, one["name"]) for one in approvals.executions(key)]
    for nonsense in ({"decision": "perhaps"}, {}, [1], "approved"):
        approvals.ask("POST", first, nonsense)
    approvals.settle()
    assert approvals.end(key) == ("", "")
    approvals.ask("POST", first, {"decision": "rejected"})
    assert ended(approvals, key) == ("rejected", "person")
    approvals.ask("POST", second, {"decision": "approved"})
    until(lambda: {e["state"] for e in approvals.executions(key)} == {"SUCCEEDED"}, seconds=20)
    assert approvals.end(key) == ("rejected", "person")
    assert approvals.names(f"files/{key}/") == []


def test_nobody_answers_without_the_role_and_an_approver_does(
    approvals: Approvals, fresh: str
) -> None:
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    (execution,) = approvals.executions(key)
    url = callback(approvals, execution["name"])
    body = {"decision": "approved"}
    for member in (
        "user:stranger@example.com",
        f"serviceAccount:{approvals.outputs['approvals']['account']}",
    ):
        refused = call(approvals.cloud, "POST", url, member, json=body)
        assert (refused.status_code, "workflows.callbacks.send" in refused.text) == (403, True)
    assert call(approvals.cloud, "POST", url, None, json=body).status_code in (401, 403)
    approvals.settle()
    assert approvals.end(key) == ("", "")
    assert call(approvals.cloud, "POST", url, APPROVER, json=body).ok
    assert ended(approvals, key) == ("published", "person")


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
    restart = (
        "approvals",
        "--restart",
        "--min-age",
        "0",
        "--prefix",
        f"sensitive/{fresh}",
        "--json",
    )
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


# Redriven, forged, changed


def test_a_redriven_file_asks_again_only_where_its_outputs_differ(
    approvals: Approvals, fresh: str
) -> None:
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    approvals.tool("approve", key)
    manifest = json.loads(approvals.read(f"manifests/{key}.json"))
    again(approvals, f"{key}-1", manifest, 1)
    assert ended(approvals, f"{key}-1") == ("published", "person")
    assert approvals.requests(f"{key}-1") == []
    again(approvals, f"{key}-2", manifest, 2, b"another picture")
    until(lambda: approvals.requests(f"{key}-2"), seconds=20)
    assert approvals.end(f"{key}-2") == ("", "")
    approvals.tool("reject", f"{key}-2")
    assert approvals.end(f"{key}-2") == ("rejected", "person")
    assert approvals.end(key) == approvals.end(f"{key}-1") == ("published", "person")


def again(
    approvals: Approvals, key: str, manifest: dict[str, Any], run: int, data: bytes = b""
) -> None:
    """Another run's outputs and manifest, as the processor writes them."""
    bucket, outputs = approvals.client.bucket(approvals.results), []
    for output in manifest["outputs"]:
        blob = bucket.blob(f"files/{key}/{output['object'].rpartition('/')[2]}")
        blob.upload_from_string(data or approvals.read(output["object"]), output["contentType"])
        outputs.append(output | {"object": blob.name, "crc32c": blob.crc32c})
    made = manifest | {"run": run, "outputs": outputs}
    bucket.blob(f"manifests/{key}.json").upload_from_string(json.dumps(made), "application/json")
    approvals.settle()


def test_a_manifest_publishes_nothing_of_another_file_and_nothing_that_changed(
    approvals: Approvals, fresh: str
) -> None:
    secret = approvals.asked(f"sensitive/{fresh}.jpg")
    (foreign,) = json.loads(approvals.read(f"manifests/{secret}.json"))["outputs"]
    bucket = approvals.client.bucket(approvals.results)
    source = {"bucket": approvals.uploads, "name": f"{fresh}/forged.jpg", "generation": "1" * 16}
    for number, outputs in enumerate(([foreign], [{"name": "x"}], ["x"], "x", None), 1):
        key = f"{fresh}/forged.jpg/{'1' * 15}{number}"
        made = {"source": source, "outputs": outputs}
        bucket.blob(f"manifests/{key}.json").upload_from_string(
            json.dumps(made), "application/json"
        )
        assert ended(approvals, key) == ("rejected", "workflow")
    bucket.blob(foreign["object"]).upload_from_string(b"something else", "image/jpeg")
    assert "An output is not what the manifest says" in approvals.tool("approve", secret, code=1)
    assert approvals.end(secret) == ("rejected", "workflow")
    assert approvals.names(f"files/{secret}/") == []


def test_the_portals_status_tells_waiting_published_and_rejected(
    approvals: Approvals, fresh: str
) -> None:
    """Its records, over the buckets as they are here; the portal itself is not deployed."""
    records = Records(lambda: approvals.client, approvals.results, approvals.published)
    folder = f"sensitive/-/{fresh.removeprefix('t').rjust(32, '0')}"
    file = File.parse(f"sensitive-{folder[-32:]}", "-")
    first = approvals.asked(f"{folder}/a.jpg")
    seen = records.look(file)
    assert (seen.status, seen.approval, seen.key, seen.ended) == (
        "processing", "waiting", first, False,
    )  # fmt: skip
    approvals.tool("approve", first)
    seen = records.look(file, seen)
    assert (seen.status, seen.approval, seen.ended) == ("done", "published", True)
    folder = folder[:-32] + folder[-32:].replace("0", "f", 1)
    second = approvals.asked(f"{folder}/b.jpg")
    approvals.tool("reject", second)
    seen = records.look(File.parse(f"sensitive-{folder[-32:]}", "-"))
    assert (seen.status, seen.approval) == ("failed", "rejected")
    assert (seen.record or {})["reason"] == "not_approved"


def test_what_is_erased_is_gone_from_what_is_published_too_and_nobody_is_asked(
    approvals: Approvals, fresh: str
) -> None:
    photo, name = f"{fresh}/photo.jpg", f"sensitive/{fresh}.jpg"
    ended(approvals, f"{photo}/{approvals.process(photo, jpeg(32, 32))}")
    key = approvals.asked(name)
    for one in (photo, name):
        target = f"gs://{approvals.uploads}/{one}"
        gone = json.loads(approvals.tool("erase", target, "--apply", "--json"))["objects"]
        asked, published = (0, 1) if one == photo else (1, 0)
        assert (gone["requests"], gone["published"]) == (asked, published)
    assert [one["state"] for one in approvals.executions(key)] == ["CANCELLED"]
    left = approvals.client.list_blobs(approvals.published, versions=True)
    assert [blob.name for blob in left if fresh in blob.name] == []


# Who may what


def test_the_workflows_account_reads_no_upload_and_forges_no_manifest(
    approvals: Approvals, fresh: str
) -> None:
    approvals.process(f"{fresh}.jpg", jpeg(32, 32))
    member = f"serviceAccount:{approvals.outputs['approvals']['account']}"
    base = "https://storage.googleapis.com"
    for url in (
        f"{base}/storage/v1/b/{approvals.uploads}/o/{fresh}.jpg?alt=media",
        f"{base}/storage/v1/b/{approvals.uploads}/o",
    ):
        assert call(approvals.cloud, "GET", url, member).status_code == 403
    for bucket, status in (
        (approvals.results, 403),
        (approvals.uploads, 403),
        (approvals.published, 200),
    ):
        url = f"{base}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=manifests/{fresh}.json"
        assert call(approvals.cloud, "POST", url, member, data=b"{}").status_code == status
    # What is published stays as it is.
    assert call(approvals.cloud, "POST", url, member, data=b"{}").status_code == 403


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


def test_another_plan_changes_nothing(approvals: Approvals) -> None:
    planned = approvals.deployment.make("plan", "ENV=dev").stdout
    assert "No changes." in planned, planned


def test_the_runbooks_commands_run(approvals: Approvals) -> None:
    env = {"ENV": "dev", "PROJECT": approvals.cloud.project}
    for command in commands("sh approvals"):
        code, output = typed(approvals.deployment, command, **env)
        assert code == 0, (command, output)
