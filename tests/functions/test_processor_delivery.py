"""Attempts, records and answers, whatever kind of file it is."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from function_fakes import PROCESSOR_ENV, PROJECT, UPLOADS, checksum, load, resource, task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_processor_images import encode, quarters

from contract.identity import Work
from processor.formats import BASE_BYTES
from processor.headers import HEAD_BYTES
from runtime.settings import ConfigError

TEXT = b"one\ntwo\n"
WORK = Work(UPLOADS, "cats/tom.jpg", "1732000000000001")
PLAIN = {"contentType": "text/plain"}


def test_every_missing_variable_is_named_at_once(processor: Any) -> None:
    with pytest.raises(ConfigError) as fault:
        processor.main.Config.from_env({})
    for field in fields(processor.main.Config):
        assert f"{field.name.upper()} is missing" in str(fault.value)


@pytest.mark.parametrize(
    "row",
    [
        {"width": 300},
        {"width": 300, "height": 0},
        {"width": 300, "height": 300, "fit": "stretch"},
        {"width": 300, "height": 300, "format": "gif"},
        {"width": 300, "height": 300, "qualty": 1},
    ],
)
def test_a_wrong_rendition_is_refused(processor: Any, row: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="RENDITIONS"):
        processor.configure(RENDITIONS=json.dumps({"x": row}))


def test_get_is_health(processor: Any) -> None:
    assert processor.http.get("/").json == {"status": "ok", "version": "f" * 64}
    assert processor.cloud.requests == []


def test_done_is_a_manifest_written_last(processor: Any) -> None:
    record = processor.process(TEXT, **PLAIN)
    assert list(processor.cloud.results) == [WORK.attempt(1), WORK.manifest]
    assert json.loads(processor.cloud.results[WORK.manifest].data) == record
    assert (record["status"], record["attempt"], record["run"]) == ("done", 1, 0)
    assert record["detected"] == {"contentType": "text/plain", "matchesDeclared": True}
    assert set(record["timings"]) == {"queued", "download", "process", "upload"}


def test_the_uploaders_metadata_is_in_the_record(processor: Any) -> None:
    marked = processor.process(TEXT, metadata={"order": "7", "odd": 7}, **PLAIN)
    assert marked["source"]["metadata"] == {"order": "7"}
    assert "metadata" not in processor.process(TEXT, name="bare", **PLAIN)["source"]


def test_the_story_is_told_under_one_trace(processor: Any) -> None:
    processor.process(TEXT, **PLAIN)
    lines = processor.logged()
    assert [line["event"] for line in lines] == ["started", "done"]
    for line in lines:
        assert line["logging.googleapis.com/trace"] == f"projects/{PROJECT}/traces/{WORK.trace}"
        assert (line["attempt"], line["task"]) == (1, WORK.task_id)
    assert lines[-1]["seconds"] >= 0
    assert lines[-1]["age_seconds"] > 0


@pytest.mark.parametrize("code", [412, 403])
def test_a_second_delivery_changes_nothing_and_is_success(processor: Any, code: int) -> None:
    processor.cloud.refuse_overwrite = code
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    _, first = processor.post(uploaded)
    kept = dict(processor.cloud.results)
    status, second = processor.post(uploaded)
    assert status == 200
    assert {k: v for k, v in processor.cloud.results.items() if k in kept} == kept
    differ = {"attempt", "timings"}
    assert {k: v for k, v in first.items() if k not in differ} == {
        k: v for k, v in second.items() if k not in differ
    }
    assert [line["event"] for line in processor.logged()][-1] == "duplicate"


def test_a_new_run_has_records_of_its_own(processor: Any) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.post(uploaded)
    assert processor.post(uploaded, run=1)[1]["run"] == 1
    rerun = Work(WORK.bucket, WORK.name, WORK.generation, 1)
    assert {WORK.manifest, rerun.manifest} <= set(processor.cloud.results)


def test_exactly_that_generation_is_read(processor: Any) -> None:
    old = processor.cloud.put(b"old", **PLAIN)
    processor.cloud.put(b"new\nnew\n", generation="1732000000000002", **PLAIN)
    assert processor.post(old)[1]["text"]["lines"] == 1


def test_a_generation_that_is_gone_is_recorded_without_an_attempt(processor: Any) -> None:
    status, record = processor.post(resource())
    assert (status, record["reason"], record["retryable"]) == (200, "source_gone", False)
    assert (record["attempt"], record["trace"]) == (0, WORK.trace)
    assert list(processor.cloud.results) == [WORK.failure]


@pytest.mark.parametrize("code", [401, 403, 429, 500, 503])
def test_a_source_that_cannot_be_read_spends_no_attempt(processor: Any, code: int) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = lambda request: code if request.startswith("GET") else None
    for _ in range(5):
        status, answer = processor.post(uploaded)
        assert (status, answer["reason"]) == (503, "storage_unavailable")
    assert not processor.cloud.results
    processor.cloud.fault = lambda request: None
    assert processor.post(uploaded)[1]["attempt"] == 1


@pytest.mark.parametrize("code", [400, 410, 412, 451])
def test_an_answer_that_stays_ends_in_a_record_after_the_budget(processor: Any, code: int) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = lambda request: code if request.startswith("GET") else None
    assert [processor.post(uploaded)[0] for _ in range(2)] == [500, 500]
    status, record = processor.post(uploaded)
    assert (status, record["reason"], record["attempt"]) == (200, "source_unreadable", 3)
    assert (str(code) in record["detail"], record["retryable"]) == (True, True)
    assert WORK.failure in processor.cloud.results


@pytest.mark.parametrize(
    ("days", "ends"), [(-1, False), (0, False), (6.2, False), (6.4, True), (400, True)]
)
@pytest.mark.parametrize("code", [401, 403, 429, 500, 503])
def test_what_fails_until_the_task_ends_is_recorded_before_it_does(
    processor: Any, code: int, days: float, ends: bool
) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = lambda request: code if request.startswith("GET") else None
    enqueued = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    answer = processor.http.post("/", json=task(uploaded) | {"enqueued": enqueued})
    assert (answer.status_code, answer.json["reason"]) == (
        200 if ends else 503,
        "storage_unavailable",
    )
    assert (WORK.failure in processor.cloud.results) == ends
    if ends:
        assert (answer.json["attempt"], answer.json["retryable"]) == (0, True)


def test_the_last_chance_is_still_a_chance(processor: Any) -> None:
    body = task(processor.cloud.put(TEXT, **PLAIN)) | {"enqueued": "2020-01-01T00:00:00+00:00"}
    assert processor.http.post("/", json=body).json["status"] == "done"


@pytest.mark.parametrize("enqueued", [None, "", 7, "yesterday", "9999-99-99", "2020-01-01"])
def test_a_task_that_does_not_tell_its_age_is_tried_on(processor: Any, enqueued: Any) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = lambda request: 403 if request.startswith("GET") else None
    answer = processor.http.post("/", json=task(uploaded) | {"enqueued": enqueued})
    assert answer.status_code == 503


@pytest.mark.parametrize("code", [401, 403, 429, 503])
def test_an_attempt_that_cannot_be_claimed_is_not_worked_on(processor: Any, code: int) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = lambda request: code if request.startswith("POST") else None
    assert processor.post(uploaded)[0] == 503
    assert not processor.cloud.results


def kill(request: str) -> None:
    if "manifests" in request:
        raise SystemExit  # what a killed instance looks like from outside: no answer, no record


def test_a_kill_before_the_manifest_is_finished_by_the_next_attempt(processor: Any) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = kill
    with pytest.raises(SystemExit):
        processor.post(uploaded)
    processor.cloud.fault = lambda request: None
    assert processor.post(uploaded)[1]["attempt"] == 2


def test_a_file_that_always_kills_ends_as_one_record_after_its_budget(processor: Any) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = kill
    for _ in range(3):
        with pytest.raises(SystemExit):
            processor.post(uploaded)
    status, record = processor.post(uploaded)
    assert (status, record["reason"], record["attempt"]) == (200, "attempts_exhausted", 3)
    assert record["retryable"]
    assert sum(name.startswith("attempts/") for name in processor.cloud.results) == 3


def test_a_larger_budget_lets_waiting_tasks_go_on(processor: Any) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = kill
    for _ in range(3):
        with pytest.raises(SystemExit):
            processor.post(uploaded)
    processor.cloud.fault = lambda request: None
    processor.configure(MAX_ATTEMPTS="4")
    assert processor.post(uploaded)[1]["attempt"] == 4


def test_a_smaller_budget_ends_in_a_record(processor: Any) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = kill
    for _ in range(2):
        with pytest.raises(SystemExit):
            processor.post(uploaded)
    processor.configure(MAX_ATTEMPTS="1")
    assert processor.post(uploaded)[1]["reason"] == "attempts_exhausted"


def test_a_transient_error_is_recorded_on_the_last_attempt_only(processor: Any) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = lambda request: 503 if "manifests" in request else None
    assert [processor.post(uploaded)[0] for _ in range(2)] == [503, 503]
    status, record = processor.post(uploaded)
    assert (status, record["status"], record["attempt"]) == (200, "failed", 3)
    assert (record["reason"], record["retryable"]) == ("storage_unavailable", True)


def test_no_2xx_without_a_record(processor: Any) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = lambda request: (
        503 if "manifests" in request or "failures" in request else None
    )
    assert [processor.post(uploaded)[0] for _ in range(5)] == [503] * 5
    processor.cloud.fault = lambda request: None
    assert processor.post(uploaded)[1]["reason"] == "attempts_exhausted"


def test_an_unexpected_error_is_tried_again_and_then_recorded(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from processor.kinds import plain

    monkeypatch.setattr(plain, "text_facts", lambda pieces: 1 / 0)
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    assert [processor.post(uploaded)[0] for _ in range(2)] == [500, 500]
    assert "ZeroDivisionError" in processor.logged()[1]["stack_trace"]
    assert processor.post(uploaded)[1]["reason"] == "internal_error"


def test_an_error_before_the_claim_ends_in_a_record_too(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from processor import delivery

    monkeypatch.setattr(delivery, "sniff", lambda head: 1 / 0)
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    assert [processor.post(uploaded)[0] for _ in range(2)] == [500, 500]
    assert processor.post(uploaded)[1]["reason"] == "internal_error"


def test_nothing_is_written_after_the_deadline(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from processor import delivery
    from processor.kinds import plain

    def slow(pieces: object) -> dict[str, object]:
        clock = delivery.time.monotonic()
        monkeypatch.setattr(delivery.time, "monotonic", lambda: clock + 500)
        return {}

    monkeypatch.setattr(plain, "text_facts", slow)
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    status, answer = processor.post(uploaded)
    assert (status, answer["reason"]) == (500, "deadline_exceeded")
    assert WORK.manifest not in processor.cloud.results


@pytest.mark.parametrize("data", [TEXT, b"\x89PNG\r\n\x1a\n" + bytes(90)], ids=["read", "refused"])
def test_damaged_bytes_are_not_taken_for_the_file(processor: Any, data: bytes) -> None:
    uploaded = processor.cloud.put(data, crc32c="AAAAAA==", **PLAIN)
    assert processor.post(uploaded)[1]["reason"] == "download_corrupted"
    assert WORK.manifest not in processor.cloud.results


@pytest.mark.parametrize("name", ["a b", "ü#?%+:().jpg", "x" * 1024, "a/b/", "é" * 512])
def test_odd_names_keep_their_record(processor: Any, name: str) -> None:
    record = processor.process(TEXT, name=name, **PLAIN)
    assert record["status"] == "done"
    assert record["source"]["name"] == name


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"object": []}', b"\xff", b"[" * 100_000,
        json.dumps(task(resource(generation="x"))).encode(),
        json.dumps(task(resource(name=7))).encode(),
        json.dumps(task(resource(), run=-1)).encode(),
        json.dumps(task(resource(), run=True)).encode(),
    ],
)  # fmt: skip
def test_malformed_tasks_are_named_and_not_retried(processor: Any, body: bytes) -> None:
    answer = processor.http.post("/", data=body)
    (line,) = processor.logged()
    assert (answer.status_code, answer.json["reason"]) == (200, "malformed")
    assert (line["event"], line["severity"]) == ("rejected", "ERROR")
    assert line["detail"]


@pytest.mark.parametrize("field", ["contentType", "crc32c", "timeCreated"])
def test_half_a_character_in_a_task_ends_in_a_record(processor: Any, field: str) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN) | {field: "\ud800"}
    answers = [processor.post(uploaded) for _ in range(3)]
    assert answers[-1][0] == 200
    assert {WORK.manifest, WORK.failure} & set(processor.cloud.results)


@pytest.mark.parametrize("size", ["0", "100", None])
@pytest.mark.parametrize(
    "data",
    [encode(Image.effect_noise((900, 900), 90)), b"one\ntwo\n" * 50_000],
    ids=["image", "text"],
)
def test_a_task_that_errs_about_the_size_is_read_to_the_end(
    processor: Any, data: bytes, size: str | None
) -> None:
    assert len(data) > HEAD_BYTES
    uploaded = processor.cloud.put(data, contentType=None)
    right = processor.post(uploaded)[1]
    wrong = processor.post(uploaded | {"size": size}, run=1)[1]
    assert wrong["status"] == "done"
    assert [wrong.get(part) for part in ("image", "text")] == [
        right.get(part) for part in ("image", "text")
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "garbage;;=\xff"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Encoding": "gzip"},
        {"X-CloudTasks-TaskRetryCount": "-1e99"},
        {"X-Cloud-Trace-Context": "///;;o"},
    ],
)
def test_headers_change_nothing(processor: Any, headers: dict[str, str]) -> None:
    body = json.dumps(task(processor.cloud.put(TEXT, **PLAIN)))
    assert processor.http.post("/", data=body, headers=headers).json["status"] == "done"


def test_another_buckets_object_is_refused(processor: Any) -> None:
    assert processor.post(resource(bucket="elsewhere"))[1]["reason"] == "foreign_bucket"
    assert not processor.cloud.requests


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    changes=st.dictionaries(st.sampled_from(sorted(resource())), JSON, max_size=4),
    run=JSON,
)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_task_is_too_odd(processor: Any, changes: dict[str, Any], run: Any) -> None:
    processor.cloud.results.clear()
    uploaded = processor.cloud.put(TEXT)
    answer = processor.http.post("/", data=json.dumps(task(uploaded | changes, run)).encode())
    assert answer.json["status"] in ("rejected", "done", "failed", "retry")
    if answer.json["status"] == "retry":
        assert answer.json["reason"] == "download_corrupted"  # the only field it may rest on
        assert "crc32c" in changes
    else:
        assert answer.status_code == 200


def test_a_time_that_cannot_be_followed_ends_in_a_record(processor: Any) -> None:
    body = task(processor.cloud.put(TEXT, **PLAIN)) | {"fault": "process_after_invalid"}
    record = processor.http.post("/", json=body).json
    assert (record["reason"], record["retryable"]) == ("process_after_invalid", False)
    assert (record["attempt"], list(processor.cloud.results)) == (0, [WORK.failure])


@pytest.mark.parametrize("fault", ["", "attempts_exhausted", 7, ["x"]])
def test_another_fault_in_a_task_is_ignored(processor: Any, fault: Any) -> None:
    body = task(processor.cloud.put(TEXT, **PLAIN)) | {"fault": fault}
    assert processor.http.post("/", json=body).json["status"] == "done"


def test_ages_count_from_the_upload(processor: Any) -> None:
    created = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    record = processor.process(TEXT, timeCreated=created, **PLAIN)
    assert 7199 < record["timings"]["queued"] < 7300
    assert 7199 < processor.logged()[-1]["age_seconds"] < 7300
    processor.process(b"GIF89a", name="broken.gif", timeCreated=created)
    assert 7199 < processor.logged()[-1]["age_seconds"] < 7300
    record = processor.process(TEXT, name="unknown", timeCreated=None, **PLAIN)
    assert record["timings"]["queued"] is None


def test_ages_count_from_when_a_file_was_due(processor: Any) -> None:
    due = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    record = processor.http.post("/", json=task(processor.cloud.put(TEXT, **PLAIN)) | {"due": due})
    assert 3599 < record.json["timings"]["queued"] < 3700
    assert 3599 < processor.logged()[-1]["age_seconds"] < 3700


def test_a_task_that_waited_until_it_was_due_is_tried_on(processor: Any) -> None:
    uploaded = processor.cloud.put(TEXT, **PLAIN)
    processor.cloud.fault = lambda request: 503 if request.startswith("GET") else None
    now = datetime.now(UTC)
    told = {"enqueued": (now - timedelta(days=23)).isoformat(), "due": now.isoformat()}
    assert processor.http.post("/", json=task(uploaded) | told).status_code == 503
    told["due"] = (now - timedelta(days=6.4)).isoformat()
    assert processor.http.post("/", json=task(uploaded) | told).status_code == 200


def test_an_output_is_nobody_elses_to_keep(processor: Any) -> None:
    (output,) = processor.process(encode(quarters(60, 40)))["outputs"]
    kept = processor.cloud.results[output["object"]].resource
    assert kept["cacheControl"] == "private, max-age=31536000, immutable"


def test_what_is_stored_as_gzip_is_checked_as_it_is_stored(processor: Any) -> None:
    fields = {"contentType": "text/plain", "contentEncoding": "gzip"}
    assert processor.process(gzip.compress(TEXT), name="right", **fields)["status"] == "done"
    uploaded = processor.cloud.put(gzip.compress(TEXT), crc32c=checksum(TEXT), **fields)
    status, answer = processor.post(uploaded)
    assert (status, answer["reason"]) == (500, "download_corrupted")


@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("zipped", [False, True])
def test_the_limit_of_bytes_is_the_last_that_is_taken(
    processor: Any, zipped: bool, beyond: int
) -> None:
    """Of what a task says nothing about, and of what is known once it is decompressed."""
    text = b"0123456789abcde\n" * 40_000
    processor.configure(MAX_FILE_BYTES=str(len(text) - beyond))
    fields = {"contentType": "text/plain"}
    if zipped:
        fields |= {"contentEncoding": "gzip"}
    record = processor.process(gzip.compress(text) if zipped else text, size=None, **fields)
    assert record.get("reason") == ("file_too_large" if beyond else None)


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_header_beyond_the_limit_of_pixels_takes_no_room(processor: Any, beyond: int) -> None:
    processor.configure(MAX_PIXELS=str(300 * 200 - beyond))
    record = processor.process(encode(quarters(300, 200)))
    assert (record.get("reason"), record["attempt"]) == (
        ("too_many_pixels", 0) if beyond else (None, 1)
    )


def test_the_worker_is_made_of_its_settings(monkeypatch: pytest.MonkeyPatch, logged: Any) -> None:
    changes = {"HASH_OBJECT_NAMES": "true", "MEMORY_BYTES": str(1 << 30)}
    for name, value in (PROCESSOR_ENV | changes).items():
        monkeypatch.setenv(name, value)
    main, _ = load("processor")
    made = main.worker()
    assert made is main.worker()
    assert made.gate.capacity == (1 << 30) - BASE_BYTES
    made.log.about(Work(UPLOADS, "secret.jpg", "1")).write("INFO", "done", "x")
    (line,) = logged()
    assert line["object"] == hashlib.sha256(b"secret.jpg").hexdigest()[:16]
