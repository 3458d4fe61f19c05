"""Completions, observers and the sweep in an applied environment."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest

from tests.localcloud.client.calls import call
from tests.permissions.tools import Watch, granted, made_by, withheld
from tests.programs.soak import stub
from tests.system.named import faults
from tests.system.operating import commands, typed
from tests.system.pipeline import BRIDGE, PROCESSOR, jpeg, until
from tests.system.receivers import PAGE, answers, deliver, free_port, port_of_certs, receiver
from tests.system.roles import TOLD, needs
from tests.system.told import Told, telling

BROKEN = b"\xff\xd8\xffbroken"
PERIOD = 900  # seconds between two sweeps
TASKS = "https://cloudtasks.googleapis.com/v2/"


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    with telling() as one:
        yield one


@pytest.fixture(autouse=True)
def clean(told: Told) -> Iterator[None]:
    yield
    told.cloud.delete("/faults")
    for hook in told.hooks.values():
        hook.answer = lambda: 204
    for service in (BRIDGE, PROCESSOR):
        told.cloud.post("/run/up", {"service": service})
    told.ask("POST", TASKS + queue(told) + ":resume", {})
    told.settle()


def queue(told: Told) -> str:
    return str(told.outputs["queues"]["default"])


# Completions and observers


def test_each_record_is_told_to_whom_it_concerns(told: Told) -> None:
    good = told.process("told/good.jpg", jpeg(32, 32))
    bad = told.process("told/bad.jpg", BROKEN)
    manifest = f"manifests/told/good.jpg/{good}.json"
    failure = f"failures/told/bad.jpg/{bad}.json"
    assert set(told.hooks["crm"].heard) == {manifest, failure}
    assert set(told.hooks["bad"].heard) == {failure}
    assert set(told.hooks["scan"].heard) == {"told/good.jpg", "told/bad.jpg"}
    pulled = told.pull(told.outputs["completions"]["subscriptions"]["app"])
    assert {(one["objectId"], one["status"]) for one in pulled} == {
        (manifest, "done"), (failure, "failed"),
    }  # fmt: skip


def test_the_token_names_the_webhooks_own_account_and_its_audience(told: Told) -> None:
    told.process("tokens/bad.jpg", BROKEN)
    for hook, audience in (("crm", "https://crm.example.com/files"), ("bad", "bad")):
        token = told.hooks[hook].messages[-1]["authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["aud"] == audience
        assert claims["email"] == told.outputs["completions"]["accounts"][hook]


def test_a_webhook_away_for_good_has_dead_letters_an_alert_and_a_redrive(told: Told) -> None:
    told.hooks["crm"].answer = told.hooks["scan"].answer = lambda: 503
    before = dict(told.hooks["bad"].heard)
    generation = told.process("away/one.jpg", jpeg(32, 32))
    record = f"manifests/away/one.jpg/{generation}.json"
    told.cloud.advance(2 * 3600)
    assert {"completions_waiting", "observers_waiting"} <= told.firing()
    told.cloud.advance(18 * 3600)
    assert {"completions_dead_letters", "observers_dead_letters"} <= told.firing()
    sick = doctor(told)
    assert sick["dead letters of completions"].startswith("taken by no webhook: 1,")
    told.hooks["crm"].answer = told.hooks["scan"].answer = lambda: 204
    shown = json.loads(told.operate("redrive", "--subscribers", "completions", "--json"))
    assert shown == {"messages": {"crm": 1}, "applied": False}
    assert record not in told.hooks["crm"].heard
    bridged = len(told.dispatches("away/one.jpg", generation))
    redriven_by_its_documented_roles_alone(told)
    told.operate("redrive", "--subscribers", "observers", "--apply")
    told.settle()
    assert told.hooks["crm"].heard[record] == 1
    assert told.hooks["scan"].heard["away/one.jpg"] == 1
    assert told.hooks["bad"].heard == before  # what is redriven for one is not told to others
    assert len(told.dispatches("away/one.jpg", generation)) == bridged
    assert told.operate("redrive", "--subscribers", "completions").strip().endswith("letters.")


def redriven_by_its_documented_roles_alone(told: Told) -> None:
    """docs/operations.md lists them: without each of them nothing is taken off."""
    member, there = "user:operator@example.com", told.outputs["completions"]
    on = {
        "the state bucket": f"projects/_/buckets/{told.cloud.project}-files-tfstate",
        "its dead-letter subscription": there["dead_letter_subscription"],
        "the topic": there["topic"],
    }
    (command,) = TOLD
    needed = [[on[where], role, member, None] for role, where in needs(command)]
    words = ("redrive", "--subscribers", "completions", "--apply", "--json")
    with ExitStack() as stack:
        for binding in needed:
            stack.enter_context(granted(told.cloud, binding))
        for binding in needed:
            with withheld(told.cloud, binding):
                ran = told.ops(*words, member=member)
                assert (ran.code, len(ran.err.splitlines())) == (2, 1), (binding, ran)
        assert told.ops(*words, member=member).json["messages"] == {"crm": 1}


def doctor(told: Told) -> dict[str, str]:
    """Check → what it found wrong."""
    findings = told.ops("doctor", "--json").json["findings"]
    return {f["check"]: f["what"] for f in findings if f["level"] not in ("ok", "note")}


def test_the_doctor_finds_nothing_wrong(told: Told) -> None:
    assert doctor(told) == {}


def test_the_doctor_sees_a_schedule_paused_by_hand(told: Told) -> None:
    with paused(told):
        assert "is PAUSED, declared is ENABLED" in doctor(told)["schedule of the sweep"]


def test_alerts_and_dashboards_name_nothing_that_is_not_in_the_list(told: Told) -> None:
    titles = {board["displayName"].partition(": ")[2] for board in told.dashboards}
    assert titles == {"from upload to result", "completions", "observers", "sweep"}
    assert faults(told) == {}


def test_another_plan_changes_nothing(told: Told) -> None:
    assert "No changes." in told.deployment.make("plan", "ENV=dev").stdout


def test_the_runbooks_commands_run(told: Told) -> None:
    env = {"ENV": "dev", "PROJECT": told.cloud.project}
    for command in commands("sh told"):
        code, output = typed(told.deployment, command, **env)
        assert code == 0, (command, output)


def test_logs_are_found_by_file_id_and_by_task(told: Told) -> None:
    name = f"photos/somebody/{'7' * 32}/tom.jpg"
    generation = told.process(name, jpeg(32, 32))
    task = told.task_id(name, generation)
    for target in f"photos-{'7' * 32}", task:
        until(lambda t=target: "manifest written" in told.ops("logs", t).out, seconds=30)


# The receivers of docs/applications.md


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_the_pages_receivers_take_what_is_pubsubs_and_nothing_else(
    told: Told, language: str, tmp_path: Path
) -> None:
    if language == "javascript" and not shutil.which("node"):
        pytest.skip("node is not here: the receiver in JavaScript did not run")
    crm, port = told.outputs["completions"]["accounts"]["crm"], free_port()
    audience = "https://crm.example.com/files"
    environ = told.deployment.environ | {
        "AUDIENCE": audience, "CALLER": crm, "PORT": str(port),
        "CERTS": f"http://127.0.0.1:{port_of_certs(told)}/",
    }  # fmt: skip
    program = subprocess.Popen(receiver(language, tmp_path), env=environ, text=True,
                               stdout=subprocess.PIPE)  # fmt: skip
    try:
        until(lambda: answers(port), seconds=30)
        told.cloud.post("/hosts", {"host": "receiver.example.com", "port": port})
        name = f"photos/somebody/{'5' * 32}/{language}.jpg"
        other = told.outputs["completions"]["accounts"]["bad"]
        for email, aud, status in (
            (crm, audience, 204), (other, audience, 401), (crm, "https://elsewhere.example/", 401),
        ):  # fmt: skip
            token = told.cloud.post("/oidc", {"email": email, "audience": aud})["token"]
            assert deliver(port, token, f"failures/{name}/7.json", "failed") == status
        good = told.cloud.post("/oidc", {"email": crm, "audience": audience})["token"]
        assert deliver(port, "nonsense", f"manifests/{name}/7.json", "done") == 401
        forged = ".".join([*good.split(".")[:2], "AAAA"])
        assert deliver(port, forged, f"manifests/{name}/7.json", "done") == 401
        for record, status in (
            (f"failures/{name}/7.json", "failed"),  # a duplicate
            (f"manifests/{name}/7-1.json", "done"),
            (f"failures/{name}/7.json", "failed"),  # late
            ("manifests/plain.jpg/9.json", "done"),
        ):
            assert deliver(port, good, record, status) == 204
    finally:
        program.terminate()
    heard = [json.loads(line) for line in program.communicate()[0].splitlines()]
    file = [name, "7", f"photos-{'5' * 32}"]
    assert heard == [
        {"file": file, "status": "failed"},
        {"file": file, "status": "done"},
        {"file": ["plain.jpg", "9", None], "status": "done"},
    ]


def test_the_pages_newest_is_the_manifest_of_the_highest_run(told: Told) -> None:
    (code,) = [
        text
        for text in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
        if "def newest" in text
    ]
    names: dict[str, Any] = {"json": json}
    exec(code, names)
    results = told.client.bucket(told.results)
    for kind, run, at in (("failures", "", 0), ("manifests", "-1", 1), ("manifests", "-10", 10)):
        assert (names["newest"](results, "newest.jpg", 5) or {}).get("run") != at
        blob = results.blob(f"{kind}/newest.jpg/5{run}.json")
        blob.upload_from_string(json.dumps({"run": at}))
        assert names["newest"](results, "newest.jpg", 5) == {"run": at}
    results.blob("manifests/newest.jpg/55.json").upload_from_string('{"run": 99}')
    assert names["newest"](results, "newest.jpg", 5) == {"run": 10}


# The sweep


@contextmanager
def paused(told: Told) -> Iterator[None]:
    """The schedule rests: days pass without hundreds of calls."""
    place = f"projects/{told.cloud.project}/locations/us-central1/jobs/files-dev-sweep"
    url = f"https://cloudscheduler.googleapis.com/v1/{place}"
    told.ask("POST", f"{url}:pause", {})
    try:
        yield
    finally:
        told.ask("POST", f"{url}:resume", {})


def restored(told: Told, name: str) -> list[dict[str, Any]]:
    """Lines that say that the sweep gave an object its task back."""
    lines = [line["payload"] for line in told.cloud.journal("log")]
    return [x for x in lines if isinstance(x, dict) and x.get("event") == "restored"
            and x["object"] == name]  # fmt: skip


def within_two_periods(told: Told) -> None:
    told.cloud.advance(2 * PERIOD + 60)
    told.settle()


def swept_once(told: Told, name: str, generation: int) -> None:
    """Found, alerted once, processed once; and not touched again."""
    for _ in range(6):
        told.cloud.advance(PERIOD / 3 + 10)
        told.settle()
        if told.manifest(name, generation):
            break
    until(lambda: restored(told, name))
    assert "swept_files" in told.firing()
    assert told.manifest(name, generation)
    assert len(told.attempts(name, generation)) == 1
    within_two_periods(told)
    assert len(restored(told, name)) == 1
    assert len(told.attempts(name, generation)) == 1


def test_a_task_deleted_by_hand_is_found(told: Told) -> None:
    told.ask("POST", TASKS + queue(told) + ":pause", {})
    generation = told.process("swept/deleted.jpg", jpeg(32, 32))
    (task,) = told.tasks()
    told.ask("DELETE", TASKS + task)
    told.ask("POST", TASKS + queue(told) + ":resume", {})
    swept_once(told, "swept/deleted.jpg", generation)


def test_a_purged_queue_is_found(told: Told) -> None:
    told.ask("POST", TASKS + queue(told) + ":pause", {})
    generation = told.process("swept/purged.jpg", jpeg(32, 32))
    told.ask("POST", TASKS + queue(told) + ":purge", {})
    told.ask("POST", TASKS + queue(told) + ":resume", {})
    swept_once(told, "swept/purged.jpg", generation)


def test_a_task_that_was_given_up_is_found(told: Told) -> None:
    config = told.ask("GET", TASKS + queue(told))["retryConfig"]
    mask = f"{TASKS}{queue(told)}?updateMask=retryConfig"
    told.ask("PATCH", mask, {"retryConfig": config | {"maxRetryDuration": "60s"}})
    try:
        told.cloud.post("/run/down", {"service": PROCESSOR})
        generation = told.process("swept/given-up.jpg", jpeg(32, 32))
        told.cloud.advance(600)
        assert told.tasks() == []
        told.cloud.post("/run/up", {"service": PROCESSOR})
    finally:
        told.ask("PATCH", mask, {"retryConfig": config})
    swept_once(told, "swept/given-up.jpg", generation)


def test_what_the_bridge_acknowledged_and_lost_is_found(told: Told) -> None:
    with stub(told, BRIDGE):
        generation = told.process("swept/lost.jpg", jpeg(32, 32))
    swept_once(told, "swept/lost.jpg", generation)


def test_a_live_task_is_never_doubled(told: Told) -> None:
    told.ask("POST", TASKS + queue(told) + ":pause", {})
    generation = told.process("swept/live.jpg", jpeg(32, 32))
    for _ in range(3):
        within_two_periods(told)
    with paused(told):
        told.cloud.advance(2 * 86_400)
    within_two_periods(told)
    assert len(told.tasks()) == 1
    told.ask("POST", TASKS + queue(told) + ":resume", {})
    told.settle()
    assert len(told.dispatches("swept/live.jpg", generation)) == 1
    assert restored(told, "swept/live.jpg") == []


def test_a_retryable_failure_is_tried_once_more_after_an_hour(told: Told) -> None:
    name = "swept/poison.jpg"
    rule = {"method": "storage.objects.insert", "object": f"files/{name}/*", "kill": True}
    told.cloud.post("/faults", {"rules": [rule]})
    generation = told.process(name, jpeg(32, 32))
    told.cloud.advance(1200)
    told.settle()
    assert told.failure(name, generation)
    told.cloud.advance(3600 + 2 * PERIOD)
    told.settle()
    told.cloud.advance(1200)
    told.settle()
    assert told.failure(name, generation, run=1)
    told.cloud.delete("/faults")
    told.cloud.advance(3600 + 2 * PERIOD)
    told.settle()
    assert told.dispatches(name, generation, run=2) == []
    assert told.manifest(name, generation, run=1) is None


def planned(told: Told, hours: float) -> dict[str, Any]:
    """The metadata of a file that is due then."""
    due = datetime.fromtimestamp(told.now, UTC) + timedelta(hours=hours)
    return {"metadata": {"process-after": due.isoformat(timespec="seconds")}}


def test_a_delayed_file_rings_nothing_until_it_is_late(told: Told) -> None:
    later = told.outputs["queues"]["default-later"]
    told.ask("POST", f"{TASKS}{later}:pause", {})
    with paused(told):
        told.cloud.advance(3 * 3600)  # what rang before is over
    generation = told.process("swept/late.jpg", jpeg(32, 32), **planned(told, 4))
    for hours, rings in ((3.5, False), (1.2, False), (0.8, True)):
        told.cloud.advance(hours * 3600)
        told.settle()
        assert ("swept_late" in told.firing()) == rings, hours
        assert {"standing_queue", "swept_files"} & told.firing() == set()
    assert restored(told, "swept/late.jpg") == []
    told.operate("resume")
    told.cloud.advance(60)
    told.settle()
    assert told.manifest("swept/late.jpg", generation)
    assert len(told.dispatches("swept/late.jpg", generation)) == 1


def test_no_redrive_moves_a_delayed_file_forward(told: Told) -> None:
    name, later = "swept/planned.jpg", "default-later"
    with stub(told, BRIDGE, status=503), paused(told):
        generation = told.process(name, jpeg(32, 32), **planned(told, 24))
        told.cloud.advance(18 * 3600)
    told.operate("redrive", "--dead-letters", "--apply")
    (task,) = told.tasks(later)
    assert told.dead_letters() == []
    told.ask("DELETE", TASKS + task)
    within_two_periods(told)
    assert len(restored(told, name)) == 1
    told.cloud.advance(6 * 3600 - 2 * PERIOD - 120)
    assert told.attempts(name, generation) == []
    told.cloud.advance(120)
    told.settle()
    assert told.manifest(name, generation)
    assert len(told.attempts(name, generation)) == 1


def test_expiry_makes_the_sweep_process_nothing_again(told: Told) -> None:
    kept = told.process("swept/kept.jpg", jpeg(32, 32))
    gone = told.process("swept/gone.jpg", jpeg(32, 32))
    told.client.bucket(told.uploads).blob("swept/gone.jpg", generation=gone).delete()
    files = {"swept/kept.jpg": kept, "swept/gone.jpg": gone}
    for days in (10, 100):  # expired, and then gone for good
        with paused(told):
            told.cloud.advance(days * 86_400)
        live = [blob.name for blob in told.client.list_blobs(told.uploads, prefix="swept/")]
        held = told.client.list_blobs(told.uploads, prefix="swept/", versions=True)
        assert live == []
        assert (("swept/kept.jpg", kept) in {(it.name, it.generation) for it in held}) == (
            days == 10
        )
        within_two_periods(told)
        for name, generation in files.items():
            assert told.listing(f"files/{name}/") == []
            assert told.manifest(name, generation)
            assert len(told.dispatches(name, generation)) == 1
            assert restored(told, name) == []
    assert told.attempts("swept/kept.jpg", kept) == []


# Every binding is needed


def bound(told: Told, resource: str, role: str, member: str) -> list[Any]:
    """The binding, which is there. resource: how it ends."""
    (binding,) = [
        row
        for row in told.cloud.get("/bindings")
        if row[0].endswith(resource) and row[1:3] == [role, member]
    ]
    return list(binding)


def agents(told: Told) -> tuple[str, str]:
    """Cloud Storage's and Pub/Sub's, as IAM members."""
    storage = f"serviceAccount:{told.client.get_service_account_email()}"
    return storage, storage.replace("@gs-project-accounts.", "@gcp-sa-pubsub.")


def test_without_its_binding_a_record_is_announced_late_and_not_lost(told: Told) -> None:
    binding = bound(told, "/files-dev-completions", "roles/pubsub.publisher", agents(told)[0])
    watch = Watch(told.cloud)
    with withheld(told.cloud, binding):
        generation = told.process("needed/announced.jpg", jpeg(32, 32))
        told.cloud.advance(600)
        assert watch.lines(kind="storage.unpublished", says="pubsub.topics.publish")
        record = f"manifests/needed/announced.jpg/{generation}.json"
        assert record not in told.hooks["crm"].heard
    told.cloud.advance(600)
    told.settle()
    assert told.hooks["crm"].heard[record]


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("roles/pubsub.publisher", ("completions-dead-letters", "observers-dead-letters")),
        ("roles/pubsub.subscriber", ("completions-gone", "observers-scan")),
    ],
)
def test_without_its_binding_a_dead_letter_is_kept_until_it_is_there(
    told: Told, role: str, names: tuple[str, str]
) -> None:
    told.hooks["gone"].answer = told.hooks["scan"].answer = lambda: 503
    watch, agent = Watch(told.cloud), agents(told)[1]
    with ExitStack() as stack, paused(told):
        for name in names:
            binding = bound(told, f"/files-dev-{name}", role, agent)
            stack.enter_context(withheld(told.cloud, binding))
        told.process(f"needed/{role.rpartition('.')[2]}.jpg", BROKEN)
        told.cloud.advance(18 * 3600)
        refused = watch.lines(kind="pubsub.dead_letter_refused")
        subscriptions = {"files-dev-completions-gone", "files-dev-observers-scan"}
        assert {line["subscription"] for line in refused} == subscriptions
        assert watch.lines(kind="pubsub.dead_letter") == []
    told.cloud.advance(1200)
    letters = watch.lines(kind="pubsub.dead_letter")
    assert {line["subscription"] for line in letters} == subscriptions
    told.hooks["gone"].answer = told.hooks["scan"].answer = lambda: 204
    for it in ("completions", "observers"):
        told.operate("redrive", "--subscribers", it, "--apply")


def test_a_consumer_takes_and_reads_by_its_two_bindings_alone(told: Told) -> None:
    member = f"serviceAccount:files-dev-app@{told.cloud.project}.iam.gserviceaccount.com"
    generation = told.process("needed/read.jpg", jpeg(32, 32))
    record = quote(f"manifests/needed/read.jpg/{generation}.json", safe="")
    pull = f"https://pubsub.googleapis.com/v1/{told.outputs['completions']['subscriptions']['app']}"
    read = f"https://storage.googleapis.com/storage/v1/b/{told.results}/o/{record}"
    calls = {
        "roles/pubsub.subscriber": ("/files-dev-completions-app", ("POST", f"{pull}:pull")),
        "roles/storage.objectViewer": (told.results, ("GET", read)),
    }
    for role, (resource, (verb, url)) in calls.items():
        body = {"maxMessages": 1, "returnImmediately": True} if verb == "POST" else None
        with withheld(told.cloud, bound(told, resource, role, member)):
            assert call(told.cloud, verb, url, member, json=body).status_code == 403
        assert call(told.cloud, verb, url, member, json=body).status_code == 200


def test_nothing_else_is_granted(told: Told) -> None:
    domain = f"{told.cloud.project}.iam.gserviceaccount.com"
    storage, pubsub = agents(told)
    app = f"serviceAccount:files-dev-app@{domain}"

    def made(module: str) -> set[tuple[str, str, str]]:
        return {
            (on, role.partition("/")[2], member)
            for on, role, member in made_by(told.deployment, "dev", module)
        }

    assert made("observers") == {
        ("files-dev-observers-dead-letters", "pubsub.publisher", pubsub),
        ("files-dev-observers-scan", "pubsub.subscriber", pubsub),
    }
    assert made("completions") == {
        ("files-dev-completions", "pubsub.publisher", storage),
        ("files-dev-completions-dead-letters", "pubsub.publisher", pubsub),
        *((f"files-dev-completions-{it}", "pubsub.subscriber", pubsub)
          for it in ("bad", "crm", "gone")),
        ("files-dev-completions-app", "pubsub.subscriber", app),
        (told.results, "storage.objectViewer", app),
    }  # fmt: skip
    assert {role for _, role, _ in made("sweep")} == {
        role.partition("/")[2] for _, role in BINDINGS
    }
    assert len(made("sweep")) == len(BINDINGS)


BINDINGS = [
    ("uploads", "roles/storage.objectViewer"),
    ("results", "roles/storage.objectViewer"),
    ("sweeps", "roles/storage.objectViewer"),
    ("sweeps", "roles/storage.objectCreator"),
    ("queue", "roles/cloudtasks.enqueuer"),
    ("queue", "roles/cloudtasks.viewer"),
    ("later", "roles/cloudtasks.enqueuer"),
    ("later", "roles/cloudtasks.viewer"),
    ("tasks-invoker", "roles/iam.serviceAccountUser"),
    ("function", "roles/run.invoker"),
]


@pytest.mark.parametrize(("where", "role"), BINDINGS)
def test_without_a_binding_the_sweep_fails(told: Told, where: str, role: str) -> None:
    project = told.cloud.project
    domain = f"{project}.iam.gserviceaccount.com"
    resource = {
        "uploads": f"projects/_/buckets/{told.uploads}",
        "results": f"projects/_/buckets/{told.results}",
        "sweeps": f"projects/_/buckets/{project}-files-dev-sweeps",
        "queue": queue(told),
        "later": told.outputs["queues"]["default-later"],
        "tasks-invoker": f"projects/{project}/serviceAccounts/files-dev-tasks-invoker@{domain}",
        "function": f"projects/{project}/locations/us-central1/services/files-dev-sweep",
    }[where]
    account = "files-dev-sweep-invoker" if where == "function" else "files-dev-sweep"
    row = {"resource": resource, "role": role, "member": f"serviceAccount:{account}@{domain}"}
    assert [resource, role, row["member"], None] in told.cloud.get("/bindings")
    name = f"needed/{where}-{role.rpartition('.')[2]}.jpg"
    due = planned(told, 1) if where == "later" else {}
    told.cloud.post("/bindings", row | {"present": False})
    try:
        with stub(told, BRIDGE):  # something to do
            generation = told.process(name, jpeg(32, 32), **due)
        before = len(told.cloud.journal("scheduler.attempt"))
        within_two_periods(told)
        statuses = [one["status"] for one in told.cloud.journal("scheduler.attempt")[before:]]
        assert statuses[-1] not in (None, 200)
    finally:
        told.cloud.post("/bindings", row | {"present": True})
    for _ in range(2 if due else 1):
        within_two_periods(told)
    assert told.manifest(name, generation)
