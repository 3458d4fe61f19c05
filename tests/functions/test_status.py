"""The status service: what the results bucket tells, and to whom."""

from __future__ import annotations

import json
import threading
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from portal_fakes import PUBLISHED, STATUS_ENV, Front

from portal.names import File
from status.events import Watch

ID = "0123456789abcdef0123456789abcdef"
FILE_ID = f"photos-{ID}"
PREFIX = f"photos/-/{ID}/"
KEY = f"{PREFIX}tom.jpg/1732000000000001"
OTHER = f"photos-{'f' * 32}"


def manifest(**changes: Any) -> bytes:
    return json.dumps(
        {
            "schema": 1, "status": "done", "run": 0, "attempt": 2, "version": "f", "timings": {},
            "source": {
                "bucket": "up", "name": f"{PREFIX}tom.jpg", "generation": "1732000000000001",
                "size": 1234, "contentType": "image/jpeg", "created": "2026-11-21T09:00:00.000Z",
                "metadata": {"order": "7"},
            },
            "detected": {"contentType": "image/jpeg", "matchesDeclared": True},
            "image": {"format": "JPEG", "width": 640, "height": 480},
            "outputs": [
                {"name": "thumbnail", "object": f"files/{KEY}/thumbnail.jpg", "size": 99,
                 "contentType": "image/jpeg", "width": 300, "height": 225, "crc32c": "x"},
            ],
        } | changes
    ).encode()  # fmt: skip


def failure(**changes: Any) -> bytes:
    record = {
        "schema": 1, "status": "failed", "run": 0, "attempt": 1, "trace": "0" * 32,
        "source": json.loads(manifest())["source"], "reason": "truncated_image",
        "detail": "The image ends too early.", "retryable": False,
    }  # fmt: skip
    return json.dumps(record | changes).encode()


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch) -> Front:
    front = Front(monkeypatch, "status", STATUS_ENV)
    front.signing = Signing()
    monkeypatch.setattr("status.signing._credentials", lambda client, email: front.signing)
    return front


def Signing() -> Any:
    from google.auth import credentials

    class Account(credentials.Signing):
        signer, signer_email, signed = None, "status@example.com", 0

        def sign_bytes(self, message: bytes) -> bytes:
            self.signed += 1
            return b"signature"

    return Account()


def get(status: Front, file_id: str = FILE_ID, query: str = "", **headers: str) -> Any:
    return status.http.get(f"/files/{file_id}{query}", headers=headers)


# States


def test_a_file_without_a_record_waits(status: Front) -> None:
    answer = get(status)
    assert answer.json == {"file_id": FILE_ID, "status": "waiting"}
    assert int(answer.headers["Retry-After"]) > 0


def test_a_claimed_attempt_means_processing(status: Front) -> None:
    status.cloud.results |= {f"attempts/{KEY}/1": b"{}", f"attempts/{KEY}/2": b"{}"}
    answer = get(status)
    assert (answer.json["status"], answer.json["attempt"]) == ("processing", 2)
    assert answer.json["source"] == {"name": "tom.jpg"}


def test_the_newest_attempt_tells_how_much_of_a_video_is_made(status: Front) -> None:
    marks = [f"attempts/{KEY}/1", *(f"attempts/{KEY}/1/{n}" for n in range(5, 96, 5))]
    status.cloud.results |= dict.fromkeys([*marks, f"attempts/{KEY}/2"], b"{}")
    assert "percent" not in get(status).json
    status.cloud.results |= {f"attempts/{KEY}/2/5": b"{}", f"attempts/{KEY}/2/10": b"{}"}
    told = get(status).json
    assert (told["status"], told["attempt"], told["percent"]) == ("processing", 2, 10)
    status.cloud.results |= {f"manifests/{KEY}.json": manifest()}
    assert "percent" not in get(status).json


def test_a_manifest_means_done(status: Front) -> None:
    status.cloud.results |= {f"attempts/{KEY}/1": b"{}", f"manifests/{KEY}.json": manifest()}
    answer = get(status)
    assert "Retry-After" not in answer.headers
    told = answer.json
    (output,) = told.pop("outputs")
    assert told == {
        "file_id": FILE_ID,
        "status": "done",
        "attempt": 2,
        "source": {
            "name": "tom.jpg", "size": 1234, "contentType": "image/jpeg",
            "created": "2026-11-21T09:00:00.000Z",
        },
        "metadata": {"order": "7"},
        "facts": {
            "detected": {"contentType": "image/jpeg", "matchesDeclared": True},
            "image": {"format": "JPEG", "width": 640, "height": 480},
        },
    }  # fmt: skip
    assert output.pop("url").startswith("https://storage.googleapis.com/")
    assert output.pop("url_expires").endswith("Z")
    assert output == {
        "name": "thumbnail", "size": 99, "contentType": "image/jpeg", "width": 300, "height": 225,
    }  # fmt: skip


def test_what_has_to_be_approved_is_done_once_it_is_published(status: Front) -> None:
    status.configure(PUBLISHED_BUCKET=PUBLISHED)
    status.cloud.results |= {f"attempts/{KEY}/2": b"{}", f"manifests/{KEY}.json": manifest()}
    answer = get(status)
    assert (answer.json["status"], answer.json["approval"]) == ("processing", "waiting")
    assert not {"outputs", "facts"} & answer.json.keys()
    assert "Retry-After" in answer.headers
    for record, said in (
        (b'{"decision": {"decision": "rejected"}}', ("rejected", "not_approved", False)),
        (b'{"decision": {"decision": "expired"}}', ("expired", "approval_expired", True)),
        (b'{"decision": "expired"}', ("rejected", "not_approved", False)),
        (b"[", ("rejected", "not_approved", False)),
    ):
        status.cloud.published[f"rejected/{KEY}.json"] = record
        told = get(status).json
        assert (told["status"], *(told[it] for it in ("approval", "reason", "retryable"))) == (
            "failed", *said,
        )  # fmt: skip
        assert not {"outputs", "facts"} & told.keys()
    status.cloud.published[f"published/{KEY}.json"] = b"{}"
    told = get(status).json
    assert (told["status"], told["approval"], len(told["outputs"])) == ("done", "published", 1)


def test_a_stream_tells_that_a_file_waits_for_its_approval_and_ends_with_it(status: Front) -> None:
    status.configure(PUBLISHED_BUCKET=PUBLISHED)
    status.cloud.results |= {f"attempts/{KEY}/2": b"{}"}
    steps = [
        lambda: status.cloud.results.update({f"manifests/{KEY}.json": manifest()}),
        lambda: status.cloud.published.update({f"published/{KEY}.json": b"{}"}),
    ]
    told = []
    watch = Watch(File.parse(FILE_ID, "-"))
    for step in (lambda: None, *steps):
        step()
        assert watch.look(status.status.records.look)
        assert watch.seen
        told.append((watch.seen.status, watch.seen.approval, watch.seen.ended))
    assert told == [
        ("processing", "", False), ("processing", "waiting", False), ("done", "published", True),
    ]  # fmt: skip


def test_what_is_published_stays_so_while_a_later_run_has_to_be_approved(status: Front) -> None:
    status.configure(PUBLISHED_BUCKET=PUBLISHED)
    status.cloud.results |= {f"manifests/{one}.json": manifest() for one in (KEY, f"{KEY}-1")}
    told = get(status).json
    assert (told["status"], told["approval"]) == ("processing", "waiting")
    status.cloud.published[f"published/{KEY}.json"] = b"{}"
    for rejected in ({}, {f"rejected/{KEY}-1.json": b"{}"}):
        status.cloud.published |= rejected
        told = get(status).json
        assert (told["status"], told["approval"]) == ("done", "published")
    status.cloud.published[f"published/{KEY}-1.json"] = b"{}"
    before = len(status.cloud.requests)
    assert get(status).json["approval"] == "published"
    read = status.cloud.requests[before:]
    assert not [one for one in read if one.endswith(f"{KEY}.json")]


def test_while_a_person_is_asked_a_stream_looks_each_half_minute(status: Front) -> None:
    status.configure(PUBLISHED_BUCKET=PUBLISHED)
    status.cloud.results |= {f"manifests/{KEY}.json": manifest()}
    watch = Watch(File.parse(FILE_ID, "-"))
    pauses = []
    for _ in range(15):
        watch.look(status.status.records.look)
        pauses.append(watch.pause)
    assert (pauses[0], pauses[-1]) == (0.5, 30.0)


def test_a_failure_record_means_failed(status: Front) -> None:
    status.cloud.results |= {f"failures/{KEY}.json": failure()}
    told = get(status).json
    assert (told["status"], told["reason"]) == ("failed", "truncated_image")
    assert (told["detail"], told["retryable"]) == ("The image ends too early.", False)


def test_a_manifest_beside_a_failure_counts(status: Front) -> None:
    status.cloud.results |= {
        f"failures/{KEY}.json": failure(), f"manifests/{KEY}.json": manifest(),
    }  # fmt: skip
    assert get(status).json["status"] == "done"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({f"attempts/{KEY}-1/1": b"{}"}, ("processing", 1)),
        ({f"failures/{KEY}-1.json": failure(run=1, attempt=3)}, ("failed", 3)),
        ({f"manifests/{KEY}-1.json": manifest(run=1)}, ("done", 2)),
    ],
)
def test_a_redriven_file_is_as_its_highest_run(
    status: Front, more: dict[str, bytes], expected: tuple[str, int]
) -> None:
    status.cloud.results |= {f"failures/{KEY}.json": failure(), f"attempts/{KEY}/1": b"{}"} | more
    told = get(status).json
    assert (told["status"], told["attempt"]) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 5000,
        b'{"outputs": 7}',
        b'{"source": [], "outputs": [1, {}], "attempt": "x"}',
        b'{"source": {"metadata": {"order": 7}}, "attempt": true, "retryable": "yes"}',
    ],
)
def test_a_record_that_cannot_be_read_still_ends_the_file(status: Front, content: bytes) -> None:
    status.cloud.results[f"manifests/{KEY}.json"] = content
    told = get(status).json
    assert (told["status"], told["outputs"]) == ("done", [])
    assert (told.get("metadata", {}), "attempt" in told) == ({}, False)
    status.cloud.results = {f"failures/{KEY}.json": content}
    told = get(status).json
    assert (told["status"], told["retryable"]) == ("failed", False)


# Whose


@pytest.mark.parametrize(
    "file_id",
    [ID, "photos", f"photos-{ID[1:]}", f"photos-{ID.upper()}", f"Photos-{ID}", f"..-{ID}",
     f"photos%2F-{ID}", f"a%00-{ID}", f"a%0A-{ID}", f"photos-{ID}x"],
)  # fmt: skip
def test_what_can_be_no_file_id_is_not_found(status: Front, file_id: str) -> None:
    answer = get(status, file_id)
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
    assert status.cloud.requests == []


def test_another_owner_s_file_is_simply_not_there(status: Front) -> None:
    status.cloud.results[f"manifests/{KEY}.json"] = manifest()
    assert get(status, query="?owner=other").json == {"file_id": FILE_ID, "status": "waiting"}
    assert get(status, OTHER).json["status"] == "waiting"


def test_a_folder_s_hyphen_makes_no_other_owner(status: Front) -> None:
    """a-b-<id> is the folder a-b, and never the folder a of somebody called b."""
    status.cloud.results[f"manifests/a/b/{ID}/x.jpg/1.json"] = manifest()
    assert get(status, f"a-b-{ID}").json["status"] == "waiting"


def test_under_tokens_another_s_file_is_not_found(status: Front) -> None:
    from web.access import digest

    tokens = {"kind": "tokens", "issuer": "https://accounts.google.com", "audience": "me"}
    status.configure(lambda token: {"iss": "i", "sub": token}, ACCESS=json.dumps(tokens))
    key = f"photos/{digest('i', 'ann')}/{ID}/tom.jpg/1"
    status.cloud.results[f"manifests/{key}.json"] = manifest()
    assert get(status, Authorization="Bearer ann").json["status"] == "done"
    assert get(status, Authorization="Bearer bob").json["status"] == "waiting"
    assert get(status).status_code == 401
    assert get(status, query="?owner=ann", Authorization="Bearer bob").status_code == 400
    assert status.http.get(f"/events?file_id={FILE_ID}").status_code == 401


def test_an_unverified_authorization_is_no_identity_under_iam(status: Front) -> None:
    status.cloud.results[f"manifests/{KEY}.json"] = manifest()
    assert get(status, Authorization="Bearer e30.e30.x").json["status"] == "done"


# Outputs


def signed(status: Front, **output: Any) -> dict[str, str]:
    made = {"name": "x", "object": f"files/{KEY}/x", "contentType": "image/png"} | output
    status.cloud.results[f"manifests/{KEY}.json"] = manifest(outputs=[made])
    (told,) = get(status).json["outputs"]
    return dict(parse_qsl(urlsplit(told["url"]).query))


@pytest.mark.parametrize(
    "shown", ["image/png", "IMAGE/JPEG", "video/mp4", "audio/ogg", "image/webp"]
)
def test_pictures_sound_and_video_are_shown_in_place(status: Front, shown: str) -> None:
    query = signed(status, contentType=shown)
    assert query["response-content-disposition"].startswith("inline")
    assert query["response-content-type"] == shown.lower()
    assert query["X-Goog-Expires"] == "900"


@pytest.mark.parametrize(
    "saved",
    ["image/svg+xml", "text/html", "text/html; x=image/png", "application/pdf", "text/plain", ""],
)
def test_everything_else_is_saved(status: Front, saved: str) -> None:
    query = signed(status, contentType=saved)
    assert query["response-content-disposition"].startswith("attachment")
    assert query["response-content-type"] == "application/octet-stream"


def test_a_file_s_name_cannot_end_the_header(status: Front) -> None:
    query = signed(status, object=f'files/{PREFIX}tom.jpg/1/a\r\nX: 1"; b.png')
    disposition = query["response-content-disposition"]
    assert disposition == "inline; filename*=UTF-8''a%0D%0AX%3A%201%22%3B%20b.png"


@pytest.mark.parametrize(
    "place", [f"files/photos/-/{'f' * 32}/x", "manifests/x", f"files/{PREFIX[:-1]}x/y", "", 7]
)
def test_a_record_cannot_have_others_files_signed(status: Front, place: Any) -> None:
    outputs = [{"name": "x", "object": place, "contentType": "image/png"}]
    status.cloud.results[f"manifests/{KEY}.json"] = manifest(outputs=outputs)
    assert get(status).json["outputs"] == []


# Asking again


def test_what_has_not_changed_is_not_sent_again(status: Front) -> None:
    status.cloud.results[f"manifests/{KEY}.json"] = manifest()
    first = get(status)
    assert first.headers["Cache-Control"] == "private, no-cache"
    again = get(status, **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    status.cloud.results = {f"failures/{KEY}.json": failure()}
    assert get(status, **{"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_a_signature_is_used_for_minutes(status: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("status.signing.time.time", lambda: now)
    status.cloud.results[f"manifests/{KEY}.json"] = manifest()
    expires = [get(status).json["outputs"][0]["url_expires"] for _ in range(2)]
    assert status.signing.signed == 1
    now += 301
    expires.append(get(status).json["outputs"][0]["url_expires"])
    assert expires[0] == expires[1] < expires[2]


def test_no_more_addresses_are_kept_than_a_limit(
    status: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("status.signing.MAX_KEPT", 2)
    for number in range(5):
        status.status.signer.url(f"files/{PREFIX}{number}", "image/png")
        assert 1 <= len(status.status.signer._kept) <= 2


# Events


class Stream:
    """Reads the events of a stream whose time is driven."""

    def __init__(self, status: Front, *file_ids: str, seconds: float = 300) -> None:
        from portal.names import File
        from status.events import stream

        self.now, self.slept = 0.0, 0.0
        self.at: dict[float, Any] = {}
        files = [File.parse(file_id, "-") for file_id in file_ids]
        service = status.status
        self.events = stream(
            files, service.records.look, service._told, seconds, lambda: self.now, self._sleep
        )

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        for time in [t for t in self.at if t <= self.now]:
            self.at.pop(time)()

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(e[6:]) for e in self.events if e.startswith("data: ")]


def states(told: list[dict[str, Any]]) -> list[str]:
    return [one["status"] for one in told]


def test_a_stream_tells_each_change_once_and_ends(status: Front) -> None:
    stream, results = Stream(status, FILE_ID), status.cloud.results
    stream.at = {
        2.0: lambda: results.update({f"attempts/{KEY}/1": b"{}"}),
        4.0: lambda: results.update({f"attempts/{KEY}/2": b"{}"}),
        6.0: lambda: results.update({f"manifests/{KEY}.json": manifest()}),
    }
    told = stream.told()
    assert states(told) == ["waiting", "processing", "processing", "done"]
    assert [one.get("attempt") for one in told] == [None, 1, 2, 2]
    assert stream.now < 8


def test_a_stream_tells_each_step_of_a_video(status: Front) -> None:
    stream, results = Stream(status, FILE_ID), status.cloud.results
    results[f"attempts/{KEY}/1"] = b"{}"
    for time, mark in ((2.0, "1/5"), (4.0, "1/10"), (4.1, "1/15"), (6.0, "2"), (7.0, "2/5")):
        stream.at[time] = lambda mark=mark: results.update({f"attempts/{KEY}/{mark}": b"{}"})
    stream.at[9.0] = lambda: results.update({f"manifests/{KEY}.json": manifest()})
    assert [one.get("percent") for one in stream.told()] == [None, 5, 15, None, 5, None]


def test_once_the_generation_is_known_nothing_is_listed(status: Front) -> None:
    status.cloud.results[f"attempts/{KEY}/1"] = b"{}"
    stream = Stream(status, FILE_ID)
    stream.at = {30.0: lambda: status.cloud.results.update({f"failures/{KEY}.json": failure()})}
    assert states(stream.told()) == ["processing", "failed"]
    lists = [request for request in status.cloud.requests if request.endswith(PREFIX)]
    assert len(lists) == 3
    assert all(
        "/" + KEY in r or "/" + KEY.replace("/", "%2F") in r
        for r in status.cloud.requests
        if r not in lists
    )


def test_pauses_grow_from_half_a_second_to_five(status: Front) -> None:
    stream = Stream(status, FILE_ID, seconds=120)
    times: list[float] = []
    status.cloud.fault = lambda request: times.append(stream.now)
    assert states(stream.told()) == ["waiting"]
    looks = sorted(set(times))
    pauses = [b - a for a, b in pairwise(looks)]
    assert pauses[0] == 0.5
    assert max(pauses) == pytest.approx(5.0)
    assert [round(pause, 6) for pause in pauses] == sorted(round(pause, 6) for pause in pauses)


@pytest.mark.parametrize(
    ("begun", "done", "by_stream", "by_asking"),
    [(1.0, 1.6, (5, 5), (7, 5)), (5.0, 10.0, (8, 21), (31, 21))],
)
def test_a_watched_file_takes_as_many_listings_and_reads_as_decision_20_says(
    status: Front, begun: float, done: float, by_stream: Any, by_asking: Any
) -> None:
    def counted() -> tuple[int, int]:
        made = list(status.cloud.requests)
        status.cloud.requests.clear()
        listings = sum(request.endswith(PREFIX) for request in made)
        return listings, len(made) - listings

    happens = {begun: {f"attempts/{KEY}/1": b"{}"}, done: {f"manifests/{KEY}.json": manifest()}}
    stream = Stream(status, FILE_ID)
    for time, results in happens.items():
        stream.at[time] = lambda results=results: status.cloud.results.update(results)
    assert states(stream.told())[-1] == "done"
    assert counted() == by_stream
    status.cloud.results.clear()
    for second in range(60):
        for time, results in happens.items():
            status.cloud.results |= results if time <= second else {}
        if get(status).json["status"] == "done":
            break
    assert counted() == by_asking


def test_a_quiet_stream_shows_that_it_lives_and_ends_in_time(status: Front) -> None:
    stream = Stream(status, FILE_ID)
    text = list(stream.events)
    assert stream.now == pytest.approx(300, abs=6)
    assert text[0].startswith("retry: ")
    assert sum(event.startswith(":") for event in text) >= 20
    assert sum(event.startswith("data: ") for event in text) == 1


def test_a_stream_that_reconnects_goes_on(status: Front) -> None:
    assert states(Stream(status, FILE_ID).told()) == ["waiting"]
    status.cloud.results[f"manifests/{KEY}.json"] = manifest()
    assert states(Stream(status, FILE_ID).told()) == ["done"]


def test_fifty_files_share_a_stream(status: Front) -> None:
    ids = [f"photos-{number:032x}" for number in range(50)]
    for one in ids:
        name = f"photos/-/{one[-32:]}/tom.jpg/1"
        status.cloud.results[f"manifests/{name}.json"] = manifest(outputs=[])
    told = Stream(status, *ids).told()
    assert {one["file_id"] for one in told} == set(ids)


def test_an_outage_during_a_stream_delays_and_loses_nothing(status: Front) -> None:
    stream = Stream(status, FILE_ID)
    status.cloud.results[f"manifests/{KEY}.json"] = manifest()
    status.cloud.fault = lambda request: 503 if stream.now < 20 else None
    assert states(stream.told()) == ["done"]
    assert stream.now < 30
    assert len(status.cloud.requests) < 20  # 0.5 s, 1 s, 2 s … between its tries


def test_what_could_not_be_signed_is_told_later(
    status: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, sign = Stream(status, FILE_ID), status.signing.sign_bytes

    def away(message: bytes) -> bytes:
        if stream.now < 3:
            raise ConnectionError
        return bytes(sign(message))

    monkeypatch.setattr(status.signing, "sign_bytes", away)
    status.cloud.results[f"manifests/{KEY}.json"] = manifest()
    assert states(stream.told()) == ["done"]
    assert 3 <= stream.now < 8


def test_a_stream_finds_what_ended_without_an_attempt(status: Front) -> None:
    stream = Stream(status, FILE_ID)
    stream.at = {2.0: lambda: status.cloud.results.update({f"failures/{KEY}.json": failure()})}
    assert states(stream.told()) == ["waiting", "failed"]
    assert stream.now < 10


def test_events_come_as_event_stream_with_the_first_at_once(status: Front) -> None:
    status.cloud.results[f"manifests/{KEY}.json"] = manifest()
    answer = status.http.get(f"/events?file_id={FILE_ID}")
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"].startswith("no-store")
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    first, second, _ = answer.text.split("\n\n")
    assert first == "retry: 1000"
    assert json.loads(second.removeprefix("data: "))["status"] == "done"


def test_the_look_before_the_answer_is_the_first_files_and_the_first_alone(
    status: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("status.events.FIRST_PAUSE", 0.01)
    status.configure(STREAM_SECONDS="30")
    status.cloud.results[f"failures/{KEY.replace(ID, 'f' * 32)}.json"] = failure()
    query = "&".join(f"file_id={one}" for one in (FILE_ID, OTHER, OTHER, FILE_ID))
    answer = status.http.get(f"/events?{query}", buffered=False)
    status.cloud.results[f"manifests/{KEY}.json"] = manifest()
    told = [json.loads(e[6:]) for e in answer.text.split("\n\n") if e.startswith("data: ")]
    assert [(one["file_id"], one["status"]) for one in told] == [
        (FILE_ID, "waiting"), (OTHER, "failed"), (FILE_ID, "done"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?file_id=",
        "?file_id=x",
        "&".join(["?a=b"] + [f"file_id=photos-{n:032x}" for n in range(51)]),
    ],
)
def test_streams_of_no_file_or_too_many_are_refused(status: Front, query: str) -> None:
    answer = status.http.get(f"/events{query}")
    assert answer.mimetype == "application/problem+json"
    assert answer.status_code in (400, 404)


def test_beyond_its_streams_an_instance_sends_clients_away(status: Front) -> None:
    path = f"/events?file_id={FILE_ID}"
    held = [status.http.get(path, buffered=False) for _ in range(2)]
    refused = status.http.get(path)
    assert refused.status_code == 503
    assert refused.json["reason"] == "too_many_streams"
    assert int(refused.headers["Retry-After"]) > 0
    held[0].close()
    again = status.http.get(path, buffered=False)
    assert again.status_code == 200
    again.close()
    held[1].close()
    releases = [status.places.take() for _ in range(2)]
    assert len(releases) == 2


def test_a_stream_that_never_began_gives_its_place_back(status: Front) -> None:
    status.cloud.fault = lambda request: 503
    for _ in range(5):
        assert status.http.get(f"/events?file_id={FILE_ID}").status_code == 503
        assert status.places._free._value == 2


# Faults


@pytest.mark.parametrize(("fault", "expected"), [(429, 503), (503, 503), (403, 502), (401, 502)])
@pytest.mark.parametrize(
    "call",
    [
        f"manifests/{PREFIX}",
        f"failures/{PREFIX}",
        f"attempts/{PREFIX}",
        f"manifests/{KEY}.json",
        f"attempts/{KEY}/2",
    ],
)
def test_every_call_that_fails_is_told_with_when_to_come_again(
    status: Front, fault: int, expected: int, call: str, logged: Any
) -> None:
    status.cloud.results[f"attempts/{KEY}/1"] = b"{}"
    hit = threading.Event()

    def failing(request: str) -> int | None:
        if request.endswith(" " + call):
            hit.set()
            return fault
        return None

    status.cloud.fault = failing
    answer = get(status)
    assert hit.is_set()
    assert (answer.status_code, answer.mimetype) == (expected, "application/problem+json")
    assert int(answer.headers["Retry-After"]) > 0
    assert [line["event"] for line in logged()] == ["status_failed"]


def test_a_signature_that_cannot_be_had_is_told(
    status: Front, monkeypatch: Any, logged: Any
) -> None:
    from google.auth.exceptions import TransportError

    def refuse(client: Any, email: str) -> Any:
        raise TransportError("https://storage.googleapis.com/secret-url")

    monkeypatch.setattr("status.signing._credentials", refuse)
    status.cloud.results[f"manifests/{KEY}.json"] = manifest()
    answer = get(status)
    assert answer.status_code == 503
    assert "secret-url" not in answer.text + str(logged())


def test_logs_hold_no_signed_address(status: Front, logged: Any) -> None:
    status.cloud.results[f"manifests/{KEY}.json"] = manifest()
    assert "Signature" in get(status).text
    assert "Signature" not in str(logged())


# Around it


def test_any_page_may_ask_since_no_cookie_is_read(status: Front) -> None:
    answer = status.http.options(
        f"/files/{FILE_ID}",
        headers={"Origin": "https://x.example", "Access-Control-Request-Method": "GET"},
    )
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    answer = get(status, Origin="https://x.example")
    assert {"ETag", "Retry-After"} <= set(
        answer.headers["Access-Control-Expose-Headers"].split(", ")
    )


def test_health(status: Front) -> None:
    assert status.http.get("/health").json == {"status": "ok"}


def test_nothing_can_be_written(status: Front) -> None:
    for method in ("post", "put", "delete", "patch"):
        answer = getattr(status.http, method)(f"/files/{FILE_ID}", data=b"x" * 100_000)
        assert answer.status_code == 405
    assert status.cloud.requests == []
