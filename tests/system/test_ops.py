"""The operator's tool against a deployed environment, as its operator runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.localcloud.client.calls import call
from tests.permissions.tools import granted, withheld
from tests.system.operating import Operator, Ran
from tests.system.pipeline import Pipeline, events, jpeg
from tests.system.roles import OPS, needs, resources

BRIDGE, PROCESSOR = "files-dev-bridge", "files-dev-processor-default"
OPERATOR = "user:operator@example.com"


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "scripts.ops", *words]


@pytest.fixture(scope="module", autouse=True)
def no_dead_letters(pipeline: Pipeline) -> None:
    """What other tests left in the dead letters does not count as a finding here."""
    pipeline.dead_letters()


def only(ran: Ran) -> dict[str, Any]:
    """The one generation that `status --json` tells of."""
    (generation,) = ran.json["generations"]
    return dict(generation)


def google(pipeline: Pipeline, verb: str, url: str, body: Any = None) -> Any:
    """A call of Google's API by the owner, behind Terraform's back."""
    answer = call(pipeline.cloud, verb, url, json=body)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def queue(pipeline: Pipeline) -> str:
    return "https://cloudtasks.googleapis.com/v2/" + str(pipeline.outputs["queues"]["default"])


@pytest.fixture
def lose(pipeline: Pipeline) -> Iterator[Callable[[str, bytes], int]]:
    """Uploads objects whose events are lost; the subscription is put right afterwards."""
    url = (
        f"https://pubsub.googleapis.com/v1/projects/{pipeline.cloud.project}/subscriptions/{BRIDGE}"
    )
    push = google(pipeline, "GET", url)["pushConfig"]

    def upload(name: str, data: bytes) -> int:
        google(pipeline, "POST", f"{url}:modifyPushConfig", {"pushConfig": {}})
        generation = pipeline.upload(name, data)
        pulled = google(pipeline, "POST", f"{url}:pull", {"maxMessages": 100})
        acks = [message["ackId"] for message in pulled["receivedMessages"]]
        google(pipeline, "POST", f"{url}:acknowledge", {"ackIds": acks})
        google(pipeline, "POST", f"{url}:modifyPushConfig", {"pushConfig": push})
        return generation

    yield upload
    google(pipeline, "POST", f"{url}:modifyPushConfig", {"pushConfig": push})


def exhausted(pipeline: Pipeline, name: str) -> int:
    """An upload whose attempts were all killed: a retryable failure."""
    rule = {"method": "storage.objects.insert", "object": f"files/{name}/*", "kill": True}
    pipeline.cloud.post("/faults", {"rules": [rule]})
    generation = pipeline.process(name, jpeg(64, 64))
    pipeline.cloud.advance(3600)
    pipeline.settle()
    pipeline.cloud.delete("/faults")
    assert pipeline.failure(name, generation)
    return generation


def object_url(pipeline: Pipeline, name: str) -> str:
    return f"gs://{pipeline.uploads}/{name}"


# status


def test_status_tells_done_with_its_run_and_attempt(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    name = f"{fresh}/tom & jerry.jpg"
    generation = pipeline.process(name, jpeg(64, 64))
    one = only(ops("status", "--json", object_url(pipeline, name)))
    assert (one["generation"], one["state"], one["run"]) == (str(generation), "done", 0)
    assert one["live"] is True
    (run,) = one["runs"]
    assert (run["state"], run["attempts"]) == ("done", 1)
    record = f"gs://{pipeline.results}/manifests/{name}/{generation}.json"
    assert run["record"] == record
    told = ops("status", object_url(pipeline, name)).out
    assert f"{generation}: run 0 is recorded in {record}\n" in told


def test_status_follows_an_upload_through_queue_and_attempts(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    name = f"{fresh}/slow.jpg"
    google(pipeline, "POST", queue(pipeline) + ":pause", {})
    pipeline.process(name, jpeg(64, 64))
    one = only(ops("status", "--json", object_url(pipeline, name)))
    assert one["state"] == "queued"
    assert one["tasks"][0]["dispatches"] == 0
    rule = {"method": "storage.objects.insert", "object": f"files/{name}/*", "kill": True}
    pipeline.cloud.post("/faults", {"rules": [rule]})
    google(pipeline, "POST", queue(pipeline) + ":resume", {})
    pipeline.settle()
    one = only(ops("status", "--json", object_url(pipeline, name)))
    assert (one["state"], one["attempt"]) == ("processing", 1)
    pipeline.cloud.delete("/faults")
    pipeline.cloud.advance(60)
    pipeline.settle()
    one = only(ops("status", "--json", object_url(pipeline, name)))
    assert (one["state"], one["runs"][0]["attempts"]) == ("done", 2)


def test_status_tells_every_generation_newest_first(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    name = f"{fresh}/twice.jpg"
    old, new = pipeline.process(name, jpeg(64, 64)), pipeline.process(name, b"\xff\xd8\xffbroken")
    told = ops("status", "--json", object_url(pipeline, name)).json["generations"]
    assert [(g["generation"], g["live"], g["state"]) for g in told] == [
        (str(new), True, "failed"),
        (str(old), False, "done"),
    ]
    assert told[0]["reason"]
    assert told[0]["retryable"] is False


def test_status_tells_what_is_ignored_and_what_was_never_there(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    pipeline.process(f"{fresh}/folder/", b"", "application/x-directory")
    one = only(ops("status", "--json", object_url(pipeline, f"{fresh}/folder/")))
    assert (one["state"], one["reason"]) == ("ignored", "folder_marker")
    never = ops("status", object_url(pipeline, f"{fresh}/never.jpg"))
    assert never.code == 1
    assert "never uploaded" in never.out


def test_status_failed_groups_by_reason_and_leaves_out_what_is_done(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    for number in range(2):
        pipeline.process(f"{fresh}/broken{number}.jpg", b"\xff\xd8\xffbroken")
    pipeline.process(f"{fresh}/fine.jpg", jpeg(64, 64))
    exhausted(pipeline, f"{fresh}/poison.jpg")
    found = ops("status", "--failed", "--prefix", f"{fresh}/", "--json").json
    assert found["failures"] == 3
    counts = {(g["reason"], g["retryable"]): g["count"] for g in found["groups"]}
    assert counts[("attempts_exhausted", True)] == 1
    assert sorted(counts.values()) == [1, 2]
    pipeline.process(f"{fresh}/broken1.jpg", jpeg(64, 64))
    told = ops("status", "--failed", "--prefix", f"{fresh}/")
    assert "attempts_exhausted" in told.out
    lines = {line.split()[0].rpartition("/")[2]: line for line in told.out.splitlines() if line}
    assert "(live)" in lines["broken0.jpg"]
    assert "(live)" not in lines["broken1.jpg"], "another was uploaded in its place"
    later = ops("status", "--failed", "--prefix", f"{fresh}/", "--until", "2020-01-01", "--json")
    assert later.json["failures"] == 0


# redrive


def test_redrive_shows_first_and_then_tries_again_as_the_next_run(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    name = f"{fresh}/poison.jpg"
    generation = exhausted(pipeline, name)
    shown = ops("redrive", "--prefix", f"{fresh}/", "--json").json
    assert [(s["object"], s["run"]) for s in shown["selected"]] == [(object_url(pipeline, name), 1)]
    assert shown["applied"] is False
    assert pipeline.dispatches(name, generation, run=1) == []
    done = ops("redrive", "--prefix", f"{fresh}/", "--apply", "--json").json
    assert done["enqueued"] == {"created": 1}
    pipeline.settle()
    manifest = pipeline.manifest(name, generation, run=1)
    assert manifest is not None
    assert manifest["run"] == 1
    one = only(ops("status", "--json", object_url(pipeline, name)))
    assert (one["state"], one["run"]) == ("done", 1)
    again = ops("redrive", "--prefix", f"{fresh}/", "--apply", "--json").json
    assert (again["selected"], again["leftOut"]) == ([], {"done_since": 1})


def test_redrive_leaves_permanent_failures_and_other_reasons_out(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    pipeline.process(f"{fresh}/broken.jpg", b"\xff\xd8\xffbroken")
    left = ops("redrive", "--prefix", f"{fresh}/", "--json").json
    assert (left["selected"], left["leftOut"]) == ([], {"permanent": 1})
    taken = ops("redrive", "--prefix", f"{fresh}/", "--permanent", "--json").json
    assert len(taken["selected"]) == 1
    other = ops("redrive", "--prefix", f"{fresh}/", "--permanent", "--reason", "x", "--json").json
    assert other["leftOut"] == {"other_reason": 1}


def test_two_redrives_at_once_make_one_task(pipeline: Pipeline, ops: Operator, fresh: str) -> None:
    name = f"{fresh}/poison.jpg"
    generation = exhausted(pipeline, name)
    google(pipeline, "POST", queue(pipeline) + ":pause", {})
    environ = pipeline.deployment.environ | pipeline.cloud.environ()
    words = command("redrive", "--prefix", f"{fresh}/", "--apply", "--json")
    folder = pipeline.deployment.checkout
    both = [
        subprocess.Popen(words, cwd=folder, env=environ, text=True, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    told = [json.loads(process.communicate()[0]) for process in both]
    assert sorted(key for one in told for key in one["enqueued"]) == ["alive", "created"]
    assert all(one["pausedLanes"] == ["default"] for one in told)
    google(pipeline, "POST", queue(pipeline) + ":resume", {})
    pipeline.settle()
    assert len(pipeline.dispatches(name, generation, run=1)) == 1
    assert pipeline.manifest(name, generation, run=1)


def test_the_cap_holds_and_says_that_there_is_more(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    for number in range(3):
        pipeline.process(f"{fresh}/broken{number}.jpg", b"\xff\xd8\xffbroken")
    words = ("redrive", "--prefix", f"{fresh}/", "--permanent", "--limit", "2", "--json")
    found = ops(*words).json
    assert len(found["selected"]) == 2
    assert found["cut"] is True


def test_a_rate_at_or_above_the_queues_is_refused(ops: Operator) -> None:
    ran = ops("redrive", "--rate", "10", "--apply")
    assert ran.code == 2
    assert "not below the 10/s of lane default" in ran.err


def test_rerender_makes_a_new_run_once_for_live_objects(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    name = f"{fresh}/twice.jpg"
    old, new = pipeline.process(name, jpeg(64, 64)), pipeline.process(name, jpeg(32, 32))
    change = pipeline.cloud.get("/clock")["now"]
    words = ("redrive", "--rerender", "--until", change, "--prefix", f"{fresh}/", "--apply")
    pipeline.cloud.advance(1)
    done = ops(*words, "--json").json
    assert done["enqueued"] == {"created": 1}
    assert done["leftOut"] == {"superseded": 1}
    pipeline.settle()
    assert pipeline.manifest(name, new, run=1)
    assert pipeline.manifest(name, old, run=1) is None
    assert ops(*words, "--json").json["enqueued"] == {}


# dead letters


def dead_lettered(pipeline: Pipeline, name: str) -> int:
    """An upload that the bridge did not take in all its deliveries."""
    pipeline.cloud.post("/run/down", {"service": BRIDGE})
    generation = pipeline.upload(name, jpeg(64, 64))
    pipeline.cloud.advance(20 * 3600)
    pipeline.cloud.post("/run/up", {"service": BRIDGE})
    pipeline.settle()
    assert pipeline.manifest(name, generation) is None
    return generation


def test_dead_letters_are_found_redriven_and_gone(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    name = f"{fresh}/dead.jpg"
    generation = dead_lettered(pipeline, name)
    assert only(ops("status", "--json", object_url(pipeline, name)))["state"] == "dead_lettered"
    sick = ops("doctor", "--json")
    assert sick.code == 1
    (finding,) = [f for f in sick.json["findings"] if f["level"] == "error"]
    assert finding["what"].startswith("1 dead letter waiting")
    assert finding["fix"].endswith('ARGS="redrive --dead-letters --apply"')
    shown = ops("redrive", "--dead-letters", "--json").json
    assert [(s["object"], s["run"]) for s in shown["selected"]] == [(object_url(pipeline, name), 0)]
    done = ops("redrive", "--dead-letters", "--apply", "--json").json
    assert done["enqueued"] == {"created": 1}
    pipeline.settle()
    assert pipeline.manifest(name, generation)
    assert ops("redrive", "--dead-letters", "--json").json["selected"] == []


def test_a_dead_letter_that_is_no_notification_stays_and_is_told(
    pipeline: Pipeline, ops: Operator
) -> None:
    topic = events(pipeline).replace("-uploads", "-dead-letters")
    url = f"https://pubsub.googleapis.com/v1/{topic}:publish"
    google(pipeline, "POST", url, {"messages": [{"data": "bm8="}]})
    for _ in range(2):
        done = ops("redrive", "--dead-letters", "--apply", "--json").json
        assert done["leftOut"] == {"malformed": 1}
    waiting = f"https://pubsub.googleapis.com/v1/{pipeline.outputs['dead_letter_subscription']}"
    pulled = google(pipeline, "POST", f"{waiting}:pull", {"maxMessages": 9})
    acks = [message["ackId"] for message in pulled["receivedMessages"]]
    assert len(acks) == 1
    google(pipeline, "POST", f"{waiting}:acknowledge", {"ackIds": acks})


# reconcile


def test_reconcile_finds_what_is_missing_and_enqueues_it_once(
    pipeline: Pipeline, ops: Operator, lose: Callable[[str, bytes], int], fresh: str
) -> None:
    for name in ("a", "a!", "a/1", "fine.jpg"):
        pipeline.process(f"{fresh}/{name}", jpeg(64, 64))
    pipeline.process(f"{fresh}/broken.jpg", b"\xff\xd8\xffbroken")
    pipeline.process(f"{fresh}/folder/", b"", "application/x-directory")
    long = f"{fresh}/" + "ü" * 480 + ".jpg"
    lost = {name: lose(name, jpeg(64, 64)) for name in (f"{fresh}/lost.jpg", long)}
    words = ("reconcile", "--prefix", f"{fresh}/", "--min-age", "0", "--json")
    before = ops(*words).json
    assert (before["uploads"], before["done"], before["failed"], before["missing"]) == (8, 4, 1, 2)
    assert before["ignored"] == {"folder_marker": 1}
    assert before["estimate"]["files"] == 2
    assert before["estimate"]["requests"] > 0
    young = ops("reconcile", "--prefix", f"{fresh}/", "--min-age", "9999d", "--json").json
    assert (young["missing"], young["recent"]) == (0, 2)
    one = ops(*words, "--apply", "--limit", "1").json
    assert one["enqueued"] == {"created": 1}
    assert one["cut"] is True
    google(pipeline, "POST", queue(pipeline) + ":pause", {})
    assert sum(ops(*words, "--apply").json["enqueued"].values()) >= 1
    again = ops(*words, "--apply").json["enqueued"]
    assert set(again) == {"alive"}
    google(pipeline, "POST", queue(pipeline) + ":resume", {})
    pipeline.settle()
    after = ops(*words).json
    assert (after["done"], after["missing"]) == (6, 0)
    assert pipeline.manifest(f"{fresh}/lost.jpg", lost[f"{fresh}/lost.jpg"])
    assert only(ops("status", "--json", object_url(pipeline, long)))["state"] == "done"


def test_a_task_deleted_by_hand_is_restored_once_and_a_live_one_is_never_doubled(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    words = ("reconcile", "--prefix", f"{fresh}/", "--min-age", "0", "--apply", "--json")
    google(pipeline, "POST", queue(pipeline) + ":pause", {})
    generation = pipeline.process(f"{fresh}/deleted.jpg", jpeg(64, 64))
    (task,) = pipeline.tasks()
    google(pipeline, "DELETE", f"https://cloudtasks.googleapis.com/v2/{task}")
    assert ops(*words).json["enqueued"] == {"restored": 1}
    assert ops(*words).json["enqueued"] == {"alive": 1}
    assert len(pipeline.tasks()) == 1
    pipeline.cloud.advance(2 * 86_400)  # the first name is free again, and not to be used
    assert ops(*words).json["enqueued"] == {"alive": 1}
    assert len(pipeline.tasks()) == 1
    google(pipeline, "POST", queue(pipeline) + ":resume", {})
    pipeline.settle()
    assert pipeline.manifest(f"{fresh}/deleted.jpg", generation)
    assert len(pipeline.attempts(f"{fresh}/deleted.jpg", generation)) == 1
    assert ops(*words).json["enqueued"] == {}


def test_a_task_for_an_address_that_the_lane_left_is_made_anew(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    google(pipeline, "POST", queue(pipeline) + ":pause", {})
    name = f"{fresh}/elsewhere.jpg"
    generation = pipeline.process(name, jpeg(64, 64))
    (task,) = pipeline.tasks()
    settings = dict(pipeline.outputs["bridge_settings"])
    lanes = json.loads(settings["LANES"])
    lanes["default"]["url"] += "/v2"  # the same function answers there
    moved = settings | {"LANES": json.dumps(lanes)}
    outputs = pipeline.cloud.folder / "moved.json"
    outputs.write_text(json.dumps(pipeline.outputs | {"bridge_settings": moved}))
    words = ("reconcile", "--prefix", f"{fresh}/", "--min-age", "0", "--apply", "--json")
    assert ops("--outputs", str(outputs), *words).json["enqueued"] == {"restored": 1}
    (anew,) = pipeline.tasks()
    assert anew != task
    google(pipeline, "POST", queue(pipeline) + ":resume", {})
    pipeline.settle()
    assert pipeline.manifest(name, generation)


def test_reconcile_counts_foreign_objects_and_records_without_upload(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    name = f"{fresh}/gone.jpg"
    generation = pipeline.process(name, jpeg(64, 64))
    pipeline.client.bucket(pipeline.uploads).blob(name, generation=generation).delete()
    for foreign in (f"manifests/{fresh}/README", f"failures/{fresh}/x/y.json"):
        pipeline.client.bucket(pipeline.results).blob(foreign).upload_from_string(b"?")
    found = ops("reconcile", "--prefix", f"{fresh}/", "--min-age", "0", "--json").json
    assert found["foreignObjects"] == 2
    assert found["recordsWithoutUpload"] == 1
    assert (found["uploads"], found["missing"]) == (0, 0)


def test_an_object_deleted_after_the_listing_ends_as_source_gone(
    pipeline: Pipeline, ops: Operator, lose: Callable[[str, bytes], int], fresh: str
) -> None:
    name = f"{fresh}/brief.jpg"
    generation = lose(name, jpeg(64, 64))
    google(pipeline, "POST", queue(pipeline) + ":pause", {})
    ops("reconcile", "--prefix", f"{fresh}/", "--min-age", "0", "--apply")
    pipeline.client.bucket(pipeline.uploads).blob(name, generation=generation).delete()
    google(pipeline, "POST", queue(pipeline) + ":resume", {})
    pipeline.settle()
    failure = pipeline.failure(name, generation)
    assert failure is not None
    assert failure["reason"] == "source_gone"


def test_reconcile_during_uploads_costs_no_file_a_second_run(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    generations = {}
    for number in range(10):
        generations[f"{fresh}/{number}.jpg"] = pipeline.upload(
            f"{fresh}/{number}.jpg", jpeg(64, 64)
        )
        if number == 5:
            ran = ops("reconcile", "--prefix", f"{fresh}/", "--min-age", "0", "--apply")
            assert ran.code == 0
    pipeline.settle()
    for name, generation in generations.items():
        assert pipeline.manifest(name, generation)
        assert len(pipeline.listing(f"manifests/{name}/")) == 1


# doctor


def findings(ran: Ran, level: str = "error") -> list[dict[str, str]]:
    return [finding for finding in ran.json["findings"] if finding["level"] == level]


def test_the_doctor_finds_nothing_wrong_and_notes_who_else_may_read(ops: Operator) -> None:
    ran = ops("doctor", "--json")
    assert ran.code == 0, ran.out
    assert ran.json["healthy"] is True
    assert {finding["level"] for finding in ran.json["findings"]} == {"ok", "note"}
    assert len(findings(ran, "note")) == 2  # uploads and results
    assert all("as each new bucket is" in finding["what"] for finding in findings(ran, "note"))


def test_the_doctor_sees_a_queue_paused_by_hand(pipeline: Pipeline, ops: Operator) -> None:
    google(pipeline, "POST", queue(pipeline) + ":pause", {})
    try:
        ran = ops("doctor", "--json")
    finally:
        google(pipeline, "POST", queue(pipeline) + ":resume", {})
    assert ran.code == 1
    (finding,) = findings(ran)
    assert "PAUSED, by hand" in finding["what"]
    assert finding["fix"].startswith("gcloud tasks queues resume files-dev-default-")


def test_the_doctor_sees_changed_queue_settings(pipeline: Pipeline, ops: Operator) -> None:
    url = queue(pipeline) + "?updateMask=rateLimits.maxDispatchesPerSecond"
    google(pipeline, "PATCH", url, {"rateLimits": {"maxDispatchesPerSecond": 3}})
    try:
        ran = ops("doctor", "--json")
    finally:
        google(pipeline, "PATCH", url, {"rateLimits": {"maxDispatchesPerSecond": 10}})
    (finding,) = findings(ran)
    assert "dispatches a second is 3, declared is 10" in finding["what"]


def test_the_doctor_sees_a_second_notification(pipeline: Pipeline, ops: Operator) -> None:
    base = f"https://storage.googleapis.com/storage/v1/b/{pipeline.uploads}/notificationConfigs"
    body = {
        "topic": f"//pubsub.googleapis.com/{events(pipeline)}",
        "event_types": ["OBJECT_FINALIZE"],
        "payload_format": "JSON_API_V1",
    }
    made = google(pipeline, "POST", base, body)
    try:
        ran = ops("doctor", "--json")
    finally:
        google(pipeline, "DELETE", f"{base}/{made['id']}")
    (finding,) = findings(ran)
    assert "announces each object 2 times to files-dev-uploads" in finding["what"]
    assert "notifications delete" in finding["fix"]


def test_the_doctor_sees_a_push_to_another_address(
    pipeline: Pipeline, ops: Operator, lose: Callable[[str, bytes], int]
) -> None:
    url = (
        f"https://pubsub.googleapis.com/v1/projects/{pipeline.cloud.project}/subscriptions/{BRIDGE}"
    )
    body = {"pushConfig": {"pushEndpoint": "https://elsewhere.example/"}}
    google(pipeline, "POST", f"{url}:modifyPushConfig", body)  # `lose` puts it right
    what = [finding["what"] for finding in findings(ops("doctor", "--json"))]
    assert any("push endpoint is https://elsewhere.example/" in line for line in what)
    assert any("audience is None" in line for line in what)


def test_the_doctor_sees_missing_and_surplus_bindings(pipeline: Pipeline, ops: Operator) -> None:
    project = pipeline.cloud.project
    domain = f"{project}.iam.gserviceaccount.com"
    invoker, build = (f"serviceAccount:files-{a}@{domain}" for a in ("dev-tasks-invoker", "build"))
    processor = f"serviceAccount:files-dev-processor@{domain}"
    service = f"projects/{project}/locations/us-central1/services/{PROCESSOR}"
    uploads, whole = f"projects/_/buckets/{pipeline.uploads}", f"projects/{project}"
    viewer, reader = "roles/storage.objectViewer", "roles/storage.legacyBucketReader"
    changes = [
        (service, "roles/run.invoker", invoker, False),
        (whole, "roles/logging.logWriter", build, False),
        (service, "roles/run.invoker", "allUsers", True),
        (uploads, reader, "allUsers", True),
        (whole, viewer, processor, True),
    ]

    def change(back: bool) -> None:
        for resource, role, member, present in changes:
            row = {"resource": resource, "role": role, "member": member}
            pipeline.cloud.post("/bindings", row | {"present": present != back})

    change(back=False)
    try:
        ran = ops("doctor", "--json")
    finally:
        change(back=True)
    told = {finding["what"]: finding["fix"] for finding in findings(ran)}
    surplus = "which Terraform did not grant"
    gone, unbuilt = f"{invoker} lacks roles/run.invoker on {service}", f"{build} lacks"
    assert told.pop(gone).startswith("make apply ENV=dev")
    assert told.pop(f"allUsers has roles/run.invoker on {service}, {surplus}")
    assert told.pop(f"allUsers has {reader} on gs://{pipeline.uploads}, {surplus}")
    ((what, fix),) = told.items()
    assert what.startswith(f"{unbuilt} roles/logging.logWriter on {project}")
    assert fix == f"make bootstrap PROJECT={project}"
    (wide,) = findings(ran, "warning")
    assert wide["what"].startswith(f"{processor} has {viewer} on {project}")


def test_the_doctor_sees_source_that_differs_from_the_checkout(
    pipeline: Pipeline, ops: Operator
) -> None:
    path = pipeline.deployment.checkout / "functions/processor/main.py"
    before = path.read_text()
    path.write_text(before + "\n# changed\n")
    try:
        ran = ops("doctor", "--json")
    finally:
        path.write_text(before)
    assert ran.code == 0
    warned = [finding["what"] for finding in findings(ran, "warning")]
    assert sum("this checkout has" in what for what in warned) == 1


# verify


def test_verify_puts_files_through_and_takes_them_away_again(
    pipeline: Pipeline, ops: Operator
) -> None:
    ran = ops("verify", "--json")
    assert ran.code == 0, ran.out
    told = {finding["check"]: finding["what"] for finding in ran.json["findings"]}
    assert "thumbnail 300 × 225" in told["a picture"]
    assert "one attempt" in told["a broken file"]
    assert "in the state" in told["resources"]
    blobs = pipeline.client.list_blobs(pipeline.uploads, prefix="verify/", versions=True)
    assert list(blobs) == []
    assert pipeline.listing("manifests/verify/") == []


def test_verify_tells_of_a_pipeline_that_does_not_answer(pipeline: Pipeline, ops: Operator) -> None:
    pipeline.cloud.post("/run/down", {"service": PROCESSOR})
    ran = ops("verify", "--timeout", "1", "--json")
    assert ran.code == 1
    checks = [finding["check"] for finding in findings(ran)]
    assert checks[:2] == ["a picture", "a broken file"]


# Misuse: one clear line, exit code 2


def one_line(ran: Ran) -> str:
    assert ran.code == 2, ran.out + ran.err
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("ops: ")
    return line


def test_a_wrong_environment_project_or_bucket_is_one_line(
    pipeline: Pipeline, ops: Operator
) -> None:
    assert "prod is not initialized" in one_line(ops("-e", "prod", "doctor"))
    never = ("-e", "prod", "--project", pipeline.cloud.project, "doctor")
    assert "prod is not applied" in one_line(ops(*never))
    assert "there is no environment qa" in one_line(ops("-e", "qa", "doctor"))
    elsewhere = one_line(ops("--project", "other-project", "reconcile"))
    assert "Make it first: make bootstrap PROJECT=other-project" in elsewhere
    url = "gs://other-bucket/tom.jpg"
    assert "not the uploads bucket of dev" in one_line(ops("status", url))
    words = ("--results-bucket", "no-such-bucket-here", "status", "--failed")
    assert "right environment" in one_line(ops(*words))


def test_a_missing_or_expired_login_is_one_line(pipeline: Pipeline, ops: Operator) -> None:
    def without_token(credentials: str) -> dict[str, str]:
        return {"GOOGLE_OAUTH_ACCESS_TOKEN": "", "GOOGLE_APPLICATION_CREDENTIALS": credentials}

    nowhere = without_token("/nowhere")
    assert "application-default login" in one_line(ops("status", "--failed", **nowhere))
    outputs = pipeline.cloud.folder / "outputs.json"
    outputs.write_text(json.dumps(pipeline.outputs))
    key = pipeline.cloud.folder / "revoked.json"
    user = {"type": "authorized_user", "client_id": "x", "client_secret": "x",
            "refresh_token": "revoked"}  # fmt: skip
    key.write_text(json.dumps(user))
    ran = ops("--outputs", str(outputs), "reconcile", **without_token(str(key)))
    assert "expired or was revoked" in one_line(ran)


# Least roles: docs/operations.md lists those of roles.py


def test_the_documented_roles_suffice_and_less_is_one_line(
    pipeline: Pipeline, ops: Operator, lose: Callable[[str, bytes], int], fresh: str
) -> None:
    name, on = f"{fresh}/lost.jpg", resources(pipeline)
    pipeline.process(f"{fresh}-broken/a.jpg", b"\xff\xd8\xffbroken")
    lose(name, jpeg(64, 64))
    every = ("--min-age", "0", "--apply", "--json")
    redrive = ("redrive", "--prefix", f"{fresh}-broken/", "--permanent", "--apply", "--json")
    pending = ("status", "status of a pending object")
    # What it needs, how much of that is another one's, which withholds it; what is run.
    runs: list[tuple[tuple[str, ...], int, tuple[str, ...]]] = [
        (pending, 0, ("status", object_url(pipeline, name))),
        (("reconcile",), 0, ("reconcile", "--prefix", f"{fresh}/", *every)),
        (("redrive",), 0, redrive),
        (("redrive", "redrive --dead-letters"), len(needs("redrive")),
         ("redrive", "--dead-letters", "--apply", "--json")),
        (("doctor",), 0, ("doctor", "--json")),
    ]  # fmt: skip
    assert {title for titles, _, _ in runs for title in titles} == set(OPS)
    for titles, before, words in runs:
        bindings = [[on[where], role, OPERATOR, None] for role, where in needs(*titles)]
        with ExitStack() as stack:
            for binding in bindings:
                stack.enter_context(granted(pipeline.cloud, binding))
            for number, binding in enumerate(bindings[before:]):
                with withheld(pipeline.cloud, binding):
                    ran = ops(*words, member=OPERATOR)
                assert ran.code == 2, f"{titles} need no {binding}: {ran.out}"
                if titles == ("doctor",) and number:  # goes on with the checks that it can do
                    assert findings(ran, "unknown"), binding
                else:
                    one_line(ran)
            ran = ops(*words, member=OPERATOR)
            assert ran.code == 0, f"{titles}: {ran.out}{ran.err}"
