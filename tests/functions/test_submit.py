"""Submit: what it takes, what it keeps, publishes and starts, and what it says of it."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from batch_fakes import PLACE, SUBMIT_ENV, FakePublisher, MemoryRecords
from function_fakes import PROJECT, FakeTasks, load

KEY = "6f1f9a3e-94d1-4f77-9d0c-2b1a5b7c9e10"
TOPIC = f"projects/{PROJECT}/topics/files-dev-tasks-normal"


class Driven:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
        self.main, self.http = load("submit")
        from runtime.logs import Log
        from submit.announce import Announcer
        from submit.service import Submit
        from submit.settings import Config
        from web.access import Callers

        config = Config.from_env(SUBMIT_ENV | changes)
        self.records, self.publisher, self.tasks = MemoryRecords(), FakePublisher(), FakeTasks()
        announcer = Announcer(config, lambda: self.publisher, lambda: self.tasks)  # type: ignore[arg-type, return-value]
        service = Submit(config, self.records, announcer, Callers(config.access), Log("p", False))
        site = self.main.site(service)
        monkeypatch.setattr(self.main, "here", lambda: site)

    def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        answer = self.http.post(path, json=body, headers=headers)
        return answer.status_code, answer.json

    def get(self, path: str) -> tuple[int, Any]:
        answer = self.http.get(path)
        return answer.status_code, answer.json

    def lines(self, *tasks: Any, batch: str = "nightly") -> tuple[int, Any]:
        text = "\n".join(json.dumps(task) for task in tasks)
        answer = self.http.post(f"/tasks:batch?batch_id={batch}", data=text)
        return answer.status_code, answer.json


@pytest.fixture
def submit(monkeypatch: pytest.MonkeyPatch) -> Driven:
    return Driven(monkeypatch)


# The recipe's own calls


def test_a_file_task_is_kept_published_and_started(submit: Driven) -> None:
    sent = {"filename": "test-document.pdf", "processing_time": 3}
    status, answer = submit.post("/submit-file-task", sent)
    assert (status, answer["status"], answer["message_id"]) == (200, "submitted", "1")
    ((name, kept),) = submit.records.objects.items()
    assert name == f"tasks/-/{answer['task_id']}/request.json"
    assert kept == sent | {"task_type": "file_processing", "priority": "normal"}
    ((topic, data, attributes),) = submit.publisher.messages
    assert (topic, data) == (TOPIC, {"task_id": answer["task_id"]})
    assert attributes == {"task_id": answer["task_id"], "task_type": "file_processing"}
    (start,) = submit.tasks.tasks.values()
    request = start["http_request"]
    assert (
        request["url"] == f"https://run.googleapis.com/v2/{PLACE}/jobs/files-dev-worker-normal:run"
    )
    assert request["oauth_token"] == {
        "service_account_email": SUBMIT_ENV["STARTER"],
        "scope": "https://www.googleapis.com/auth/cloud-platform",
    }


def test_a_data_task_takes_the_recipes_words(submit: Driven) -> None:
    sent = {"dataset_size": 500, "transformation": "aggregation"}
    assert submit.post("/submit-data-task", sent)[0] == 200
    (kept,) = submit.records.objects.values()
    assert kept == sent | {
        "task_type": "data_transformation", "priority": "normal", "output_format": "csv",
    }  # fmt: skip


def test_the_recipes_defaults_are_taken(submit: Driven) -> None:
    submit.post("/submit-file-task")
    submit.post("/submit-data-task")
    file, data = submit.records.objects.values()
    assert (file["filename"], file["processing_time"]) == ("sample.txt", 2)
    assert (data["dataset_size"], data["transformation"]) == (100, "normalize")


def test_a_body_without_task_type_is_refused_in_the_recipes_words(submit: Driven) -> None:
    status, answer = submit.post("/submit-task", {"filename": "a"})
    assert (status, answer["error"]) == (400, "task_type is required")


def test_health_asks_nobody(submit: Driven) -> None:
    assert submit.get("/health") == (200, {"status": "ok"})


# What is refused, and keeps nothing


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([1], "the body must be a JSON object"),
        ({"task_type": "mining"}, "task_type must be one of data_transformation, file_processing"),
        ({"task_type": "file_processing"}, "filename is required"),
        ({"task_type": "file_processing", "filename": "a", "prefix": "b"}, "filename is required"),
        ({"task_type": "file_processing", "filename": ""}, "filename must be an object's name"),
        ({"task_type": "file_processing", "filename": "a\nb"}, "filename must have no control"),
        ({"task_type": "file_processing", "filename": "a", "speed": 9}, "speed is not a field"),
        ({"task_type": "file_processing", "filename": "a", "lane": "A/b"}, "lane must be the name"),
        (
            {"task_type": "file_processing", "filename": "a", "run": -1},
            "run must be a whole number",
        ),
        (
            {"task_type": "file_processing", "filename": "a", "processing_time": True},
            "processing_time must be a number",
        ),
        ({"task_type": "data_transformation", "transformation": "melt"}, "transformation must be"),
        ({"task_type": "data_transformation", "dataset_size": 0}, "dataset_size must be a whole"),
        ({"task_type": "data_transformation", "input": "a.xls"}, "input_format must be one of csv"),
        (
            {"task_type": "data_transformation", "transformation": "filter"},
            "where must be a list of 1 to 20",
        ),
        (
            {
                "task_type": "data_transformation",
                "transformation": "filter",
                "where": [{"column": "a", "op": "= 1; DROP", "value": 1}],
            },
            "op must be one of =, !=",
        ),
        (
            {
                "task_type": "data_transformation",
                "transformation": "aggregation",
                "aggregates": [{"op": "read_csv", "column": "a"}],
            },
            "op must be one of count, sum",
        ),
        ({"task_type": "file_processing", "filename": "a", "priority": "now"}, "priority must be"),
        (
            {"task_type": "file_processing", "filename": "a", "run_after": "18:00"},
            "run_after must be a time with its zone",
        ),
        (
            {"task_type": "file_processing", "filename": "a", "run_after": "2027-06-01T00:00:00Z"},
            "run_after must lie at most 30 days ahead",
        ),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_kept(submit: Driven, body: Any, says: str) -> None:
    status, answer = submit.post("/submit-task", body)
    assert status == 400
    assert says in answer["detail"]
    assert not submit.records.objects
    assert not submit.publisher.messages


def test_what_is_not_json_is_refused(submit: Driven) -> None:
    answer = submit.http.post("/submit-task", data=b"{")
    assert (answer.status_code, answer.json["detail"]) == (400, "it is not JSON")


# Repeating


def test_a_repeated_key_is_the_same_task(submit: Driven) -> None:
    body = {"task_type": "file_processing", "filename": "a.jpg"}
    first, again = (
        submit.post("/submit-task", body, **{"Idempotency-Key": key})[1]
        for key in (KEY, KEY.upper())
    )
    assert first["task_id"] == again["task_id"]
    assert len(submit.records.objects) == 1


@pytest.mark.parametrize("key", ["7", KEY.replace("-4f77-", "-1f77-")])
def test_a_key_that_could_be_guessed_is_refused(submit: Driven, key: str) -> None:
    status, answer = submit.post("/submit-data-task", **{"Idempotency-Key": key})
    assert (status, answer["detail"]) == (
        400, "Idempotency-Key must be a random UUID (version 4)",
    )  # fmt: skip


def test_a_key_that_was_used_for_another_task_is_refused(submit: Driven) -> None:
    headers = {"Idempotency-Key": KEY}
    body = {"task_type": "file_processing", "filename": "a.jpg"}
    submit.post("/submit-task", body, **headers)
    assert submit.post("/submit-task", body | {"filename": "b.jpg"}, **headers)[0] == 409


def test_submissions_of_one_window_start_one_execution(
    submit: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    for _ in range(3):
        submit.post("/submit-data-task")
    (start,) = submit.tasks.tasks.values()
    assert start["schedule_time"] == datetime.fromtimestamp(1_800_000_060, UTC)


def test_a_start_that_is_there_already_is_success(submit: Driven) -> None:
    """Over REST the client raises Conflict, over gRPC AlreadyExists, which is one."""
    from google.api_core.exceptions import Conflict

    submit.tasks.fault = Conflict("there")
    assert submit.post("/submit-data-task")[0] == 200


def test_a_start_lies_five_seconds_ahead_at_least() -> None:
    from submit.announce import window_after

    assert window_after(1_800_000_055.0, 60) == 1_800_000_060
    assert window_after(1_800_000_056.5, 60) == 1_800_000_120


# Later


def test_a_task_for_later_is_published_by_cloud_tasks_at_its_time(submit: Driven) -> None:
    then = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    body = {"task_type": "file_processing", "filename": "a.jpg", "run_after": then.isoformat()}
    _, answer = submit.post("/submit-task", body)
    assert answer["message_id"] is None
    assert not submit.publisher.messages
    later, start = sorted(submit.tasks.tasks.values(), key=lambda task: task["schedule_time"])
    request = later["http_request"]
    assert request["url"] == f"https://pubsub.googleapis.com/v1/{TOPIC}:publish"
    (message,) = json.loads(request["body"])["messages"]
    assert json.loads(base64.b64decode(message["data"])) == {"task_id": answer["task_id"]}
    assert later["schedule_time"] == then < start["schedule_time"]


# Batches


def test_a_batch_is_taken_line_by_line_and_repeating_it_submits_nothing(submit: Driven) -> None:
    tasks = [{"task_type": "file_processing", "filename": f"{n}.jpg", "key": str(n)} for n in "ab"]
    wrong = {"task_type": "file_processing", "key": "c"}
    status, answer = submit.lines(*tasks, wrong)
    assert status == 200
    assert (answer["submitted"], answer["already"]) == (2, 0)
    (rejected,) = answer["rejected"]
    assert (rejected["line"], rejected["detail"][:20]) == (3, "filename is required")
    _, answer = submit.lines(*tasks)
    assert (answer["submitted"], answer["already"], answer["rejected"]) == (0, 2, [])
    assert len(submit.records.objects) == 2


def test_what_was_kept_and_has_no_outcome_is_announced_again_and_what_has_is_not(
    submit: Driven,
) -> None:
    """An answer that was lost after the request was kept: its message was never published."""
    from batch.tasks import TaskId

    task = {"task_type": "file_processing", "filename": "a", "key": "a"}
    submit.lines(task)
    submit.publisher.messages.clear()
    submit.lines(task)
    assert len(submit.publisher.messages) == 1
    submit.records.conclude(TaskId.new("nightly", "a"), {"status": "done"})
    submit.lines(task)
    assert len(submit.publisher.messages) == 1


def test_a_line_without_a_key_is_rejected(submit: Driven) -> None:
    _, answer = submit.lines({"task_type": "file_processing", "filename": "a"})
    assert "key is required" in answer["rejected"][0]["detail"]


def test_a_line_has_16_kib_and_its_key_200_characters_at_most(submit: Driven) -> None:
    task = {"task_type": "file_processing", "filename": "a"}
    lines = [task | {"key": "k" * 200}, task | {"key": "k" * 201}]
    room = 16 * 1024 - len(json.dumps(task | {"key": "k", "lane": ""}))
    lines += [task | {"key": "k", "lane": "x" * more} for more in (room, room + 1)]
    _, answer = submit.lines(*lines)
    assert [(one["line"], one["detail"][:14]) for one in answer["rejected"]] == [
        (2, "key is require"), (3, "lane must be t"), (4, "the line has m"),
    ]  # fmt: skip


def test_more_than_a_thousand_lines_are_refused_whole(submit: Driven) -> None:
    task = {"task_type": "file_processing", "filename": "a"}
    status, _ = submit.lines(*(task | {"key": str(n)} for n in range(1001)))
    assert status == 413
    assert not submit.records.objects


def test_a_batch_tells_how_its_tasks_stand(submit: Driven) -> None:
    from batch.tasks import TaskId

    task = {"task_type": "file_processing", "filename": "a"}
    submit.lines(*(task | {"key": str(n)} for n in range(3)))
    submit.records.conclude(TaskId.new("nightly", "0"), {"status": "done"})
    status, answer = submit.get("/batches/nightly")
    assert status == 200
    assert answer.pop("as_of")
    assert answer == {
        "batch_id": "nightly", "total": 3, "waiting": 2, "done": 1, "failed": 0, "cancelled": 0,
    }  # fmt: skip


def test_cancelling_gives_what_waits_its_outcome_and_leaves_what_is_done(submit: Driven) -> None:
    from batch.tasks import TaskId

    task = {"task_type": "file_processing", "filename": "a"}
    submit.lines(*(task | {"key": str(n)} for n in range(40)))
    submit.records.conclude(TaskId.new("nightly", "0"), {"status": "done"})
    _, answer = submit.post("/batches/nightly:cancel")
    assert answer == {"batch_id": "nightly", "cancelled": 39, "more": False}
    _, answer = submit.get("/batches/nightly")
    assert (answer["cancelled"], answer["done"]) == (39, 1)


def test_a_cancellation_that_takes_long_says_that_there_is_more(
    submit: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("submit.service.CANCEL_SECONDS", -1.0)
    task = {"task_type": "file_processing", "filename": "a"}
    submit.lines(*(task | {"key": str(n)} for n in range(20)))
    for cancelled, more in ((16, True), (4, True), (0, False)):
        _, answer = submit.post("/batches/nightly:cancel")
        assert answer == {"batch_id": "nightly", "cancelled": cancelled, "more": more}


def test_tasks_are_listed_by_batch_and_status_page_by_page(submit: Driven) -> None:
    task = {"task_type": "file_processing", "filename": "a"}
    submit.lines(*(task | {"key": str(n)} for n in range(150)))
    _, first = submit.get("/tasks?batch_id=nightly&status=waiting")
    _, second = submit.get(f"/tasks?batch_id=nightly&page_token={first['next_page_token']}")
    assert (len(first["tasks"]), len(second["tasks"])) == (100, 50)
    assert "next_page_token" not in second
    assert submit.get("/tasks?batch_id=nightly&status=done")[1] == {"tasks": []}


def test_a_task_is_shown_with_its_request_and_outcome(submit: Driven) -> None:
    from batch.tasks import TaskId

    _, made = submit.post("/submit-data-task")
    assert submit.get(f"/tasks/{made['task_id']}")[1]["status"] == "waiting"
    outcome = {"status": "failed", "reason": "timed_out"}
    submit.records.conclude(TaskId.parse(made["task_id"]), outcome)
    _, shown = submit.get(f"/tasks/{made['task_id']}")
    assert (shown["status"], shown["reason"]) == ("failed", "timed_out")
    assert shown["request"]["transformation"] == "normalize"


@pytest.mark.parametrize(
    "path", ["/tasks/nothing", f"/tasks/{'0' * 32}", "/batches/none", "/tasks/a%0Ab"]
)
def test_what_is_not_there_is_not_found(submit: Driven, path: str) -> None:
    assert submit.get(path)[0] == 404


# Faults


def test_a_failed_publish_is_told_and_the_request_stays_for_the_sweep(submit: Driven) -> None:
    from google.api_core.exceptions import ServiceUnavailable

    submit.publisher.fault = ServiceUnavailable("away")
    status, answer = submit.post("/submit-data-task")
    assert (status, answer["reason"]) == (503, "unavailable")
    assert len(submit.records.objects) == 1


def test_nothing_is_published_that_is_not_kept(submit: Driven) -> None:
    from google.api_core.exceptions import ServiceUnavailable

    def fault(call: str) -> None:
        if call.startswith("create"):
            raise ServiceUnavailable("away")

    submit.records.fault = fault
    assert submit.post("/submit-data-task")[0] == 503
    assert not submit.publisher.messages


# Who may call


def test_under_tokens_nobody_submits_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    access = {"kind": "tokens", "issuer": "https://accounts.google.com", "audience": "me"}
    submit = Driven(monkeypatch, ACCESS=json.dumps(access))
    for call in (
        submit.post("/submit-data-task"), submit.lines({"key": "a"}), submit.get("/batches/a"),
        submit.get("/tasks"), submit.post("/batches/a:cancel"), submit.get(f"/tasks/{'0' * 32}"),
    ):  # fmt: skip
        assert call[0] == 401
    assert not submit.records.objects
