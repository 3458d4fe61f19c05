"""Approvals in an applied environment: each finished file ends by a decision."""

from __future__ import annotations

import json
from typing import Any

import google.auth.jwt

from portal.names import File
from status.records import Records
from tests.localcloud.client.calls import call
from tests.system.hosts import serving
from tests.system.pipeline import jpeg, pdf, until

from .conftest import APPROVER, CHECK, DAY, HOUR, PASS, Approvals, callback, ended

# The stages


def test_a_photo_goes_through_at_once_and_a_pdf_waits_until_somebody_approves(
    approvals: Approvals, fresh: str
) -> None:
    photo = f"{fresh}/photo.jpg/{approvals.process(f'{fresh}/photo.jpg', jpeg())}"
    assert ended(approvals, photo) == ("published", "rules")
    (output,) = approvals.record(f"published/{photo}.json")["outputs"]
    copy = approvals.client.bucket(approvals.published).blob(output["object"])
    assert copy.download_as_bytes() == approvals.read(output["object"])
    published = {"event": "approval_decided", "object": f"{fresh}/photo.jpg",
                 "decision": "approved", "by": "rules"}  # fmt: skip
    assert [one.items() >= published.items() for one in approvals.told_of(photo)] == [True]
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
    logged = approvals.tool("logs", "--event", "approval_decided")
    assert "decision=rejected by=person" in logged.splitlines()[-1]


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
    assert [(one["event"], one["severity"]) for one in approvals.told_of(key)] == [
        ("approval_asked", "INFO"), ("approval_overdue", "WARNING"), ("approval_decided", "INFO"),
    ]  # fmt: skip
    assert approvals.names(f"files/{key}/") == []


def test_rules_ask_about_what_they_say_and_nothing_else(approvals: Approvals, fresh: str) -> None:
    def found(content_type: str, matches: bool = True) -> dict[str, Any]:
        return {"contentType": content_type, "matchesDeclared": matches}

    zipped = {"contentType": "application/zip"}
    cases: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
        "unknown": ({}, None, ""),
        "photo": ({"contentType": "image/jpeg", "size": 9_000_000}, found("image/jpeg"), ""),
        "said.pdf": ({"contentType": "Application/PDF; version=2"}, None, "documents"),
        "seen.pdf": ({"contentType": "image/jpeg"}, found("application/pdf"), "documents"),
        "disguised": ({"contentType": "image/png"}, found("text/plain", False), "disguised"),
        "small.zip": (zipped | {"size": 4_999_999}, None, ""),
        "large.zip": (zipped | {"size": 5_000_000}, None, "archives"),
        "vague.zip": (zipped | {"size": None}, None, "archives"),
        "folder/sensitive/x": ({}, None, ""),
    }
    keys = {name: f"{fresh}/{name}/{'1' * 16}" for name in cases}
    for name, (source, detected, _) in cases.items():
        about = {"name": f"{fresh}/{name}", "generation": "1" * 16} | source
        approvals.finish(keys[name], source=about, detected=detected)
    approvals.settle()
    for name, (_, _, rule) in cases.items():
        if not rule:
            assert ended(approvals, keys[name]) == ("published", "rules"), name
        until(lambda k=keys[name]: approvals.end(k)[0] or approvals.requests(k), seconds=20)
        assert [one["rule"] for one in approvals.requests(keys[name])] == [rule] * bool(rule), name


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
        "list": (200, ["pass"]),
        "busy": (503, {}),
        "slow": (429, {}),
    }
    approvals.check.answer = lambda asked: verdicts[asked["key"].split("/")[1].split(".")[0]]
    names = {word: f"{fresh}/{word}.jpg" for word in verdicts}
    keys = {w: f"{name}/{approvals.upload(name, jpeg(32, 32))}" for w, name in names.items()}
    assert ended(approvals, keys["virus"]) == ("rejected", "check")
    assert approvals.record(f"rejected/{keys['virus']}.json")["decision"]["because"] == "A virus."
    for word, detail in (
        ("unsure", "Maybe."), ("strange", "unknown verdict"), ("list", "a JSON object"),
    ):  # fmt: skip
        until(lambda w=word: approvals.requests(keys[w]), seconds=20)
        assert detail in approvals.requests(keys[word])[0]["check"]
    until(lambda: {keys["busy"], keys["slow"]} <= {a["key"] for a in approvals.check.asked},
          seconds=20)  # fmt: skip
    approvals.cloud.advance(HOUR)
    verdicts["busy"] = verdicts["slow"] = (200, {"verdict": "pass"})
    approvals.cloud.advance(600)
    for word in ("busy", "slow"):
        assert ended(approvals, keys[word]) == ("published", "rules")
    asked = [a["authorization"] for a in approvals.check.asked if a["key"] == keys["busy"]]
    token = asked[-1].removeprefix("Bearer ")
    claims = google.auth.jwt.decode(token, verify=False)
    assert (claims["aud"], claims["email"]) == (
        f"https://{CHECK}/look", approvals.outputs["approvals"]["account"],
    )  # fmt: skip


def test_a_check_that_nobody_reaches_is_tried_again(approvals: Approvals, fresh: str) -> None:
    with serving(approvals.cloud, CHECK, lambda body, headers: (500, b"")):
        pass  # it is the host's now, and nobody listens any more
    key = f"{fresh}/a.jpg/{approvals.process(f'{fresh}/a.jpg', jpeg(32, 32))}"
    (execution,) = approvals.executions(key)
    assert execution["state"] == "ACTIVE"
    approvals.cloud.post("/hosts", {"host": CHECK, "port": approvals.check.port})
    approvals.cloud.advance(600)
    assert ended(approvals, key) == ("published", "rules")


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
    assert [one["event"] for one in approvals.told_of(key)] == ["approval_asked"] * 2
    approvals.ask("POST", first, {"decision": "rejected"})
    assert ended(approvals, key) == ("rejected", "person")
    late = call(approvals.cloud, "POST", first, json={"decision": "approved"})
    assert late.status_code == 404
    approvals.ask("POST", second, {"decision": "approved"})
    until(lambda: {e["state"] for e in approvals.executions(key)} == {"SUCCEEDED"}, seconds=20)
    assert approvals.end(key) == ("rejected", "person")
    assert approvals.names(f"files/{key}/") == []


def test_an_execution_that_asks_after_the_answer_asks_nobody(
    approvals: Approvals, fresh: str
) -> None:
    """The first answer comes while the second execution is at its check."""
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    (first,) = approvals.executions(key)

    def answered(asked: dict[str, Any]) -> tuple[int, Any]:
        url = callback(approvals, first["name"])
        approvals.ask("POST", url, {"decision": "approved"})
        ended(approvals, key)
        return PASS

    approvals.check.answer = answered
    approvals.announce(key)
    until(lambda: [e["state"] for e in approvals.executions(key)] == ["SUCCEEDED"] * 2, seconds=20)
    assert approvals.end(key) == ("published", "person")


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
    approvals.finish(key, **(manifest | {"run": run, "outputs": outputs}))
    approvals.settle()


def test_a_manifest_publishes_nothing_of_another_file_and_nothing_that_changed(
    approvals: Approvals, fresh: str
) -> None:
    secret = approvals.asked(f"sensitive/{fresh}.jpg")
    (foreign,) = json.loads(approvals.read(f"manifests/{secret}.json"))["outputs"]
    unsure = {"name": "x", "object": f"files/{fresh}/forged.jpg/{'1' * 15}4/x"}  # what it holds
    cases: list[Any] = [[foreign], ["x"], "x", [unsure], None]
    forged = [{"outputs": outputs} for outputs in cases] + [{"source": {}}]
    for number, facts in enumerate(forged, 1):
        key = f"{fresh}/forged.jpg/{'1' * 15}{number}"
        approvals.finish(key, **facts)
        assert ended(approvals, key) == ("rejected", "workflow")
    output = approvals.client.bucket(approvals.results).blob(foreign["object"])
    output.upload_from_string(b"something else", "image/jpeg")
    assert "An output is not what the manifest says" in approvals.tool("approve", secret, code=1)
    assert approvals.end(secret) == ("rejected", "workflow")
    assert approvals.names(f"files/{secret}/") == []


def test_an_output_that_changes_while_it_is_copied_is_published_as_it_was_decided_about(
    approvals: Approvals, fresh: str
) -> None:
    account = f"*{approvals.outputs['approvals']['account']}"
    rule = {"method": "storage.objects.rewrite", "object": f"files/{fresh}*", "member": account}
    approvals.cloud.post("/faults", {"rules": [rule]})
    key = f"{fresh}.jpg/{approvals.process(f'{fresh}.jpg', jpeg(32, 32))}"
    (output,) = json.loads(approvals.read(f"manifests/{key}.json"))["outputs"]
    until(lambda: approvals.names(f"decisions/{key}/"), seconds=20)
    approvals.settle()  # it has looked, and tries to copy
    decided = approvals.read(output["object"])
    there = approvals.client.bucket(approvals.results).blob(output["object"])
    there.upload_from_string(b"something else", "image/jpeg")
    approvals.cloud.delete("/faults")
    approvals.cloud.advance(600)
    assert ended(approvals, key) == ("published", "rules")
    copy = approvals.client.bucket(approvals.published).blob(output["object"])
    assert copy.download_as_bytes() == decided


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
    approvals.announce(key)  # late
    states = ["SUCCEEDED", "CANCELLED"]
    until(lambda: [one["state"] for one in approvals.executions(key)] == states, seconds=20)
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


def test_no_name_is_logged_where_names_are_hashed(approvals: Approvals, fresh: str) -> None:
    flow = f"https://workflows.googleapis.com/v1/{approvals.workflow}"
    held = approvals.ask("GET", flow)["userEnvVars"]
    mask = f"{flow}?updateMask=userEnvVars"
    approvals.ask("PATCH", mask, {"userEnvVars": held | {"HASH_OBJECT_NAMES": "true"}})
    key = f"{fresh}.zip/{'2' * 16}"
    approvals.finish(key)
    ended(approvals, key)
    approvals.ask("PATCH", mask, {"userEnvVars": held})
    (line,) = approvals.told_of(key)
    assert "object" not in line
