from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from function_fakes import (
    BRIDGE_ENV,
    PROJECT,
    QUEUE,
    RESULTS,
    FakeTasks,
    _Status,
    lane,
    load,
    push,
    resource,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.identity import Work
from runtime.logs import Log
from runtime.settings import ConfigError

VARIABLES = Path(__file__).parents[2] / "terraform/pipeline/variables.tf"


class Driven:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, logged: Any) -> None:
        self.main, self.http = load("bridge")
        self.tasks = FakeTasks()
        self.logged = logged
        self.monkeypatch = monkeypatch
        self.configure()

    def configure(self, **changes: str) -> None:
        config = self.main.Config.from_env(BRIDGE_ENV | changes)
        log = Log(config.project_id, config.hash_object_names)
        this = self.main.Bridge(config, self.tasks, log)
        self.monkeypatch.setattr(self.main, "bridge", lambda: this)

    def post(self, body: Any) -> tuple[int, str]:
        answer = self.http.post("/", json=body)
        (line,) = self.logged()
        assert line["reason"] == answer.json["reason"]
        return answer.status_code, answer.json["reason"]


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch, logged: Any) -> Driven:
    return Driven(monkeypatch, logged)


def test_every_missing_variable_is_named_at_once(bridge: Driven) -> None:
    with pytest.raises(ConfigError) as fault:
        bridge.main.Config.from_env({})
    for name in BRIDGE_ENV:
        assert f"{name} is missing" in str(fault.value)


def test_lanes_without_default_are_refused(bridge: Driven) -> None:
    with pytest.raises(ConfigError, match="no lane 'default'"):
        bridge.main.Config.from_env(BRIDGE_ENV | {"LANES": json.dumps({"big": lane()})})


def test_get_is_health(bridge: Driven) -> None:
    assert bridge.http.get("/").json == {"status": "ok"}
    assert not bridge.tasks.tasks


def test_an_upload_becomes_a_task_named_by_its_identity(bridge: Driven) -> None:
    assert bridge.post(push(resource(metadata={"a": "b"}))) == (200, "created")
    (task,) = bridge.tasks.tasks.values()
    work = Work(resource()["bucket"], "cats/tom.jpg", "1732000000000001")
    assert task["name"] == f"{QUEUE}/tasks/{work.task_id}"
    assert task["dispatch_deadline"] == {"seconds": 600}
    request = task["http_request"]
    assert request["url"] == request["oidc_token"]["audience"] == lane()["url"]
    assert request["oidc_token"]["service_account_email"] == BRIDGE_ENV["TASKS_INVOKER"]
    assert request["headers"] == {"Content-Type": "application/json"}
    sent = {
        k: v
        for k, v in resource(metadata={"a": "b"}).items()
        if k not in ("kind", "metageneration")
    }
    body = json.loads(request["body"])
    age = datetime.now(UTC) - datetime.fromisoformat(body.pop("enqueued"))
    assert timedelta(seconds=-1) < age < timedelta(minutes=1)
    assert body == {
        "object": sent,
        "run": 0,
        "lane": "default",
        "records": {
            "manifest": f"gs://{RESULTS}/manifests/cats/tom.jpg/1732000000000001.json",
            "failure": f"gs://{RESULTS}/failures/cats/tom.jpg/1732000000000001.json",
        },
    }


def test_duplicate_event_creates_one_task(bridge: Driven) -> None:
    body = push(resource())
    answers = [bridge.post(body), *(bridge.post(body | {"deliveryAttempt": n}) for n in (2, 3))]
    assert answers == [(200, "created")] + [(200, "already_exists")] * 2
    assert len(bridge.tasks.tasks) == 1


def test_the_log_line_tells_the_whole_decision(bridge: Driven) -> None:
    bridge.http.post("/", json=push(resource()))
    (line,) = bridge.logged()
    work = Work(resource()["bucket"], "cats/tom.jpg", "1732000000000001")
    assert line["logging.googleapis.com/trace"] == f"projects/{PROJECT}/traces/{work.trace}"
    assert (line["event"], line["lane"], line["delivery"]) == ("enqueued", "default", 1)
    assert (line["task"], line["message_id"]) == (work.task_id, "12345")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (push(resource(), {"eventType": "OBJECT_DELETE"}), "not_finalize"),
        (push(resource("a/b/", size="0")), "folder_marker"),
        (push(resource("gcloud/tmp/parallel_composite_uploads/x_1")), "composite_part"),
        (push(resource("a/gsutil/tmp/parallel_composite_uploads/x")), "composite_part"),
        (push(resource("logs/today.txt")), "excluded_prefix"),
        (push(resource("other/today.txt")), "not_included"),
    ],
)
def test_what_is_left_alone_is_acknowledged_by_name(
    bridge: Driven, body: dict[str, Any], reason: str
) -> None:
    bridge.configure(
        EXCLUDE_PREFIXES='["logs/"]', INCLUDE_PREFIXES='["cats/", "logs/", "a/", "gcloud/"]'
    )
    assert bridge.post(body) == (200, reason)
    assert not bridge.tasks.tasks


@pytest.mark.parametrize("name", ["a/b/", "a b", "ü#?%+().jpg", "a" * 1024])
def test_odd_names_are_processed_when_they_hold_bytes(bridge: Driven, name: str) -> None:
    assert bridge.post(push(resource(name))) == (200, "created")


@pytest.mark.parametrize("name", ["empty.txt", "a"])
def test_an_empty_file_is_processed(bridge: Driven, name: str) -> None:
    assert bridge.post(push(resource(name, size="0"))) == (200, "created")


GOOD = push(resource())


def changed(**message: Any) -> dict[str, Any]:
    return GOOD | {"message": GOOD["message"] | message}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (None, "not a JSON object"),
        ([], "not a JSON object"),
        ({}, "no message"),
        ({"message": []}, "no message"),
        (changed(attributes=None), "no attributes"),
        (changed(attributes={"payloadFormat": "NONE"}), "payloadFormat"),
        (changed(data="%%%"), "not base64"),
        (changed(data=None), "not base64"),
        (changed(data="bm8="), "not JSON"),
        (changed(data=base64.b64encode(b"[]").decode()), "not a JSON object"),
        (push(resource(generation="x")), "generation"),
        (push(resource(generation=5)), "generation"),
        (push(resource(name="")), "object name is missing"),
        (push(resource(name=None)), "object name is missing"),
        (push(resource(), {"objectId": "another"}), "different objects"),
    ],
)
def test_malformed_pushes_go_back_with_their_reason(bridge: Driven, body: Any, detail: str) -> None:
    answer = bridge.http.post("/", data=json.dumps(body), content_type="application/json")
    (line,) = bridge.logged()
    assert (answer.status_code, line["reason"], line["severity"]) == (400, "malformed", "ERROR")
    assert detail in line["detail"]


def test_another_buckets_notification_goes_back(bridge: Driven) -> None:
    assert bridge.post(push(resource(bucket="elsewhere"))) == (403, "foreign_bucket")
    assert not bridge.tasks.tasks


def grpc_error(name: str) -> Exception:
    import grpc
    from google.api_core.exceptions import from_grpc_status

    return from_grpc_status(grpc.StatusCode[name], "no")


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        (grpc_error("ALREADY_EXISTS"), 200, "already_exists"),
        (grpc_error("RESOURCE_EXHAUSTED"), 503, "queue_throttled"),
        (grpc_error("UNAVAILABLE"), 503, "queue_unavailable"),
        (grpc_error("PERMISSION_DENIED"), 503, "queue_refused"),
        (grpc_error("ABORTED"), 503, "queue_unavailable"),
        (grpc_error("DEADLINE_EXCEEDED"), 503, "queue_unavailable"),
        (ConnectionError("refused"), 503, "queue_unavailable"),
        (grpc_error("NOT_FOUND"), 503, "queue_refused"),
    ],
)
def test_each_answer_of_the_queue_has_its_reason(
    bridge: Driven, fault: Exception, code: int, reason: str
) -> None:
    bridge.tasks.fault = fault
    assert bridge.post(push(resource())) == (code, reason)


def test_an_event_refused_while_the_queue_was_away_is_a_task_after_redelivery(
    bridge: Driven,
) -> None:
    bridge.tasks.fault = grpc_error("UNAVAILABLE")
    assert bridge.post(push(resource()))[0] == 503
    bridge.tasks.fault = None
    assert bridge.post(push(resource())) == (200, "created")
    assert len(bridge.tasks.tasks) == 1


@pytest.mark.parametrize(
    ("name", "declared", "expected"),
    [
        ("x.bin", "application/x", "default"),
        ("video/x", "application/x", "video"),
        ("video/raw/x", "application/x", "raw"),
        ("x", "video/mp4", "video"),
        ("x", "Video/MP4; codecs=x", "video"),
        ("x", "application/pdf", "raw"),
        ("video/x", "application/pdf", "video"),
        ("x", None, "default"),
    ],
)
def test_lane_is_the_longest_prefix_then_the_declared_type_then_default(
    bridge: Driven, name: str, declared: str | None, expected: str
) -> None:
    lanes = {
        "default": lane(),
        "raw": lane(prefixes=["video/raw/"], content_types=["application/pdf"], queue="q/raw"),
        "video": lane(prefixes=["video/"], content_types=["video/*"], queue="q/video"),
    }
    bridge.configure(LANES=json.dumps(lanes))
    bridge.http.post("/", json=push(resource(name, contentType=declared)))
    (task,) = bridge.tasks.tasks.values()
    assert json.loads(task["http_request"]["body"])["lane"] == expected
    assert task["name"].startswith(lanes[expected]["queue"])


def test_a_lane_without_records_is_handed_over(bridge: Driven) -> None:
    bridge.configure(LANES=json.dumps({"default": lane(records=False)}))
    assert bridge.post(push(resource())) == (200, "handed_over")
    (task,) = bridge.tasks.tasks.values()
    assert "records" not in json.loads(task["http_request"]["body"])


LATER = "projects/p/locations/l/queues/later"
# What resource() was uploaded at is 2026-11-21T09:00:00Z.
WAITS = {"later": LATER, "delay_seconds": 60, "delays": True, "max_delay_seconds": 23 * 86400}


def delivered(bridge: Driven, process_after: Any, **changes: Any) -> tuple[str, dict[str, Any]]:
    """The reason, and the task of an object with that in its metadata, on a lane that delays."""
    bridge.configure(LANES=json.dumps({"default": lane(**WAITS | changes)}))
    metadata = {} if process_after is None else {"metadata": {"process-after": process_after}}
    status, reason = bridge.post(push(resource(**metadata)))
    assert status == 200
    (task,) = bridge.tasks.tasks.values()
    return reason, task


def test_an_object_waits_until_its_time(bridge: Driven) -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    reason, task = delivered(bridge, later.isoformat(), max_delay_seconds=10**9)
    assert reason == "delayed"
    assert task["name"].startswith(f"{LATER}/tasks/")
    scheduled = datetime.fromtimestamp(task["schedule_time"]["seconds"], UTC)
    assert timedelta(0) <= scheduled - later < timedelta(seconds=1)  # never before
    assert datetime.fromisoformat(json.loads(task["http_request"]["body"])["due"]) == later


@pytest.mark.parametrize(
    ("time", "due"),
    [
        (None, "2026-11-21T09:01:00+00:00"),  # the lane's own delay
        ("2026-11-21T18:00:00+02:00", "2026-11-21T16:00:00+00:00"),
        ("2026-11-21t10:00:00.5z", "2026-11-21T10:00:00.500000+00:00"),
    ],
)
def test_what_was_due_before_its_event_came_is_done_at_once(
    bridge: Driven, time: str | None, due: str
) -> None:
    reason, task = delivered(bridge, time)
    assert reason == "created"
    assert task["name"].startswith(f"{LATER}/tasks/")  # where a second event looks for it
    assert "schedule_time" not in task
    assert json.loads(task["http_request"]["body"])["due"] == due


@pytest.mark.parametrize("changes", [{"delays": False, "delay_seconds": 0}, {"later": ""}])
def test_a_lane_that_does_not_delay_ignores_the_time(
    bridge: Driven, changes: dict[str, Any]
) -> None:
    reason, task = delivered(bridge, "2026-11-22T09:00:00Z", **changes)
    assert (reason, task["name"].startswith(f"{QUEUE}/tasks/")) == ("created", True)
    assert not {"due", "fault"} & json.loads(task["http_request"]["body"]).keys()


def test_a_time_before_the_upload_is_at_once(bridge: Driven) -> None:
    reason, task = delivered(bridge, "2020-01-01T00:00:00Z")
    assert (reason, task["name"].startswith(f"{QUEUE}/tasks/")) == ("created", True)


@pytest.mark.parametrize(
    "time",
    [
        "",
        "tomorrow",
        "1795262349",
        "2026-11-22",
        "2026-11-22T09:00:00",
        "2026-13-01T00:00:00Z",
        "٢026-11-22T09:00:00Z",
        "2026-12-14T09:00:01Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
    ],
)
def test_a_time_that_cannot_be_followed_is_recorded_at_once(bridge: Driven, time: str) -> None:
    reason, task = delivered(bridge, time)
    assert (reason, task["name"].startswith(f"{QUEUE}/tasks/")) == ("created", True)
    body = json.loads(task["http_request"]["body"])
    assert (body["fault"], "due" in body) == ("process_after_invalid", False)


def test_the_last_moment_that_a_task_lives_for_is_followed(bridge: Driven) -> None:
    _, task = delivered(bridge, "2026-12-14T09:00:00Z")
    assert json.loads(task["http_request"]["body"])["due"] == "2026-12-14T09:00:00+00:00"


class Account:
    """Credentials that would keep their token; each refresh gives the next one."""

    number = 1

    def before_request(self, request: Any, method: str, url: str, headers: dict[str, str]) -> None:
        headers["authorization"] = f"Bearer {self.number}"

    def refresh(self, request: Any) -> None:
        self.number += 1


class Refusing(FakeTasks):
    """Cloud Tasks, for which these tokens are no longer good."""

    def __init__(self, *refused: int) -> None:
        super().__init__()
        self._refused = [("authorization", f"Bearer {number}") for number in refused]
        self.calls = 0

    def create_task(self, request: Any, *, timeout: float, metadata: Any = ()) -> object:
        from google.api_core.exceptions import Unauthenticated

        self.calls += 1
        if set(self._refused) & set(metadata):
            raise Unauthenticated("expired", errors=[_Status("UNAUTHENTICATED")])
        return super().create_task(request, timeout=timeout)


@pytest.mark.parametrize(
    ("refused", "answer", "calls"),
    [((), (200, "created"), 1), ((1,), (200, "created"), 2), ((1, 2), (503, "queue_refused"), 2)],
)
def test_a_token_refused_before_its_end_costs_no_event(
    bridge: Driven,
    monkeypatch: pytest.MonkeyPatch,
    refused: tuple[int, ...],
    answer: tuple[int, str],
    calls: int,
) -> None:
    monkeypatch.setattr("google.auth.default", lambda scopes: (Account(), None))
    tasks = sys.modules[bridge.main.enqueue.__module__].cloud_tasks()
    tasks._client = Refusing(*refused)
    bridge.tasks = tasks
    bridge.configure()
    assert bridge.post(push(resource())) == answer
    assert tasks._client.calls == calls


def test_a_call_ends_before_the_function_does_even_if_made_twice(
    bridge: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = re.search(r"bridge.timeout_seconds >= (\d+)", VARIABLES.read_text())
    assert least
    seen: list[float] = []
    monkeypatch.setattr(bridge.tasks, "create_task", lambda request, timeout: seen.append(timeout))
    assert bridge.post(push(resource())) == (200, "created")
    assert 2 * seen[0] < int(least[1])


def test_the_library_is_told_how_long_a_call_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("google.auth.default", lambda scopes: (Account(), None))
    load("bridge")
    tasks, seen = sys.modules["bridge.enqueue"].cloud_tasks(), []
    tasks._client = SimpleNamespace(
        create_task=lambda request, timeout, metadata: seen.append(timeout)
    )
    tasks.create_task({}, timeout=7.0)
    assert seen == [7.0]


def test_the_bridge_is_made_of_its_settings(monkeypatch: pytest.MonkeyPatch, logged: Any) -> None:
    for name, value in (BRIDGE_ENV | {"HASH_OBJECT_NAMES": "true"}).items():
        monkeypatch.setenv(name, value)
    main, http = load("bridge")
    tasks = FakeTasks()
    monkeypatch.setattr(main, "cloud_tasks", lambda: tasks)
    assert http.post("/", json=push(resource("secret.jpg"))).status_code == 200
    assert len(tasks.tasks) == 1
    (line,) = logged()
    assert line["object"] == hashlib.sha256(b"secret.jpg").hexdigest()[:16]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    body=st.binary(max_size=64)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda values: json.dumps(push(resource(**values))).encode(),
        st.dictionaries(st.sampled_from(sorted(resource())), JSON, max_size=3),
    )
    | st.builds(
        lambda values: json.dumps(changed(**values)).encode(),
        st.dictionaries(st.sampled_from(sorted(GOOD["message"])), JSON, max_size=2),
    )
    | st.just(b"[" * 100_000)
)
@settings(max_examples=300, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
def test_no_body_is_too_odd(bridge: Driven, body: bytes) -> None:
    answer = bridge.http.post("/", data=body)
    assert answer.status_code in (200, 400, 403)
    assert answer.json["reason"] in bridge.main.TABLE
