"""The upload service: what is accepted, what is refused, and what a log never tells."""

from __future__ import annotations

import hashlib
import io
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from function_fakes import RESULTS, lane
from portal_fakes import PAGE, SESSION, STATUS_URL, UPLOAD_ENV, Front

DOCS = Path(__file__).resolve().parents[2] / "docs/portal-api.md"
KEY = str(uuid.UUID("5a1c9f52-3f0e-4b7a-9d0c-1f2e3d4c5b6a"))


@pytest.fixture
def upload(monkeypatch: pytest.MonkeyPatch) -> Front:
    return Front(monkeypatch, "upload", UPLOAD_ENV)


def refusal(answer: Any) -> tuple[int, str]:
    """Status and reason of a problem document."""
    assert answer.mimetype == "application/problem+json", answer.data
    assert answer.json["status"] == answer.status_code
    assert answer.json["title"]
    assert answer.json["detail"].endswith(".")
    return answer.status_code, answer.json["reason"]


# POST /files


def test_a_file_is_accepted_with_a_session_for_its_bytes(upload: Front) -> None:
    answer = upload.offer(metadata={"order": "7"})
    assert answer.status_code == 201
    body = answer.json
    file_id = body["file_id"]
    assert re.fullmatch(r"photos-[0-9a-f]{32}", file_id)
    place = f"photos/-/{file_id.removeprefix('photos-')}/"
    assert body["status"] == "accepted"
    assert body["results"] == f"gs://{RESULTS}/files/{place}"
    assert (body["upload"]["method"], body["upload"]["url"]) == ("PUT", SESSION)
    left = datetime.fromisoformat(body["upload"]["expires"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
    assert body["links"] == {
        "status": f"{STATUS_URL}/files/{file_id}",
        "events": f"{STATUS_URL}/events?file_id={file_id}",
    }
    ((name, begun),) = upload.cloud.uploads.items()
    assert name == place + "tom.jpg"
    assert begun["metadata"] == {"order": "7"}
    headers = begun["headers"]
    assert headers["x-upload-content-type"] == "image/jpeg"
    assert headers["x-upload-content-length"] == "10"
    assert "origin" not in headers


def test_ids_are_random_without_a_key(upload: Front) -> None:
    ids = {upload.offer().json["file_id"] for _ in range(5)}
    assert len(ids) == 5


def test_a_repeated_request_names_the_same_file(upload: Front) -> None:
    answers = [upload.offer({"Idempotency-Key": KEY}) for _ in range(2)]
    assert answers[0].json["file_id"] == answers[1].json["file_id"]
    assert len(upload.cloud.uploads) == 1
    parts = ["-", KEY, "photos", "tom.jpg", 10, "image/jpeg", None]
    text = json.dumps(parts, separators=(",", ":"))
    expected = hashlib.sha256(text.encode()).hexdigest()[:32]
    assert answers[0].json["file_id"] == f"photos-{expected}"


@pytest.mark.parametrize("status", [412, 403])
def test_a_repeated_request_for_a_file_that_is_there_says_so(upload: Front, status: int) -> None:
    first = upload.offer({"Idempotency-Key": KEY}).json
    upload.cloud.fault = lambda request: status
    upload.cloud.says = "this account does not have storage.objects.delete access"
    answer = upload.offer({"Idempotency-Key": KEY})
    assert answer.status_code == 200
    assert answer.json["upload"] is None
    assert answer.json["file_id"] == first["file_id"]
    assert answer.json["links"] == first["links"]


@pytest.mark.parametrize(
    "other",
    [{"name": "kim.jpg"}, {"size": 11}, {"contentType": "image/png"}, {"owner": "shop"}],
)
def test_a_key_with_other_fields_is_another_file(upload: Front, other: dict[str, Any]) -> None:
    first = upload.offer({"Idempotency-Key": KEY})
    assert upload.offer({"Idempotency-Key": KEY}, **other).json["file_id"] != first.json["file_id"]


@pytest.mark.parametrize(
    "key", ["1", "a" * 36, "5a1c9f52-3f0e-1b7a-9d0c-1f2e3d4c5b6a", KEY.replace("-", ""), " " + KEY]
)
def test_a_key_that_could_be_guessed_is_refused(upload: Front, key: str) -> None:
    answer = upload.http.post("/files", json={}, environ_base={"HTTP_IDEMPOTENCY_KEY": key})
    assert answer.status_code == 400
    answer = upload.offer(
        {"Idempotency-Key": key.strip()} if key.strip() != KEY else {"Idempotency-Key": "x"}
    )
    assert refusal(answer) == (400, "bad_idempotency_key")


BAD = [
    ({"name": ""}, 400, "name"),
    ({"name": None}, 400, "name"),
    ({"name": 7}, 400, "name"),
    ({"name": "../../etc/passwd"}, 400, "name"),
    ({"name": "a/b.jpg"}, 400, "name"),
    ({"name": ".."}, 400, "name"),
    ({"name": "."}, 400, "name"),
    ({"name": "a\r\nX-Injected: 1"}, 400, "name"),
    ({"name": "a\0.jpg"}, 400, "name"),
    ({"name": "a\u2028b"}, 400, "name"),
    ({"name": "\ud800.jpg"}, 400, "name"),
    ({"name": "é" * 101}, 400, "name"),
    ({"size": -1}, 400, "size"),
    ({"size": "10"}, 400, "size"),
    ({"size": True}, 400, "size"),
    ({"size": 1.5}, 400, "size"),
    ({"size": None}, 400, "size"),
    ({"size": 1001}, 413, None),
    ({"size": 10**30}, 413, None),
    ({"contentType": "text/html"}, 415, None),
    ({"contentType": "image"}, 400, "contentType"),
    ({"contentType": "image/jpeg\r\nX: 1"}, 400, "contentType"),
    ({"contentType": "image/" + "x" * 300}, 400, "contentType"),
    ({"contentType": ["image/jpeg"]}, 400, "contentType"),
    ({"folder": "secrets"}, 400, "folder"),
    ({"folder": "../photos"}, 400, "folder"),
    ({"folder": None}, 400, "folder"),
    ({"folder": ["photos"]}, 400, "folder"),
    ({"metadata": []}, 400, "metadata"),
    ({"metadata": {"a": 1}}, 400, "metadata"),
    ({"metadata": {"a b": "1"}}, 400, "metadata"),
    ({"metadata": {"": "1"}}, 400, "metadata"),
    ({"metadata": {"a": "x\ny"}}, 400, "metadata"),
    ({"metadata": {"a": "\ud800"}}, 400, "metadata"),
    ({"metadata": {"Process-After": "2026"}}, 400, "metadata"),
    ({"metadata": {str(n): "" for n in range(21)}}, 400, "metadata"),
    ({"metadata": {"a": "x" * 2048}}, 400, "metadata"),
    ({"metadata": {"a": "é" * 1024}}, 400, "metadata"),
    ({"processAfter": "tomorrow"}, 400, "processAfter"),
    ({"processAfter": "2026-13-01T00:00:00Z"}, 400, "processAfter"),
    ({"processAfter": "2026-12-01"}, 400, "processAfter"),
    ({"processAfter": 1}, 400, "processAfter"),
    ({"processAfter": "9999-12-31T23:59:59-23:59"}, 400, "processAfter"),
    ({"owner": "a/b"}, 400, "owner"),
    ({"owner": ""}, 400, "owner"),
    ({"owner": 1}, 400, "owner"),
    ({"owner": ".."}, 400, "owner"),
    ({"origin": "https://evil.example"}, 400, "origin"),
    ({"origin": 1}, 400, "origin"),
    ({"content_type": "image/jpeg"}, 400, "content_type"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "status", "field"), BAD, ids=[str(b[0])[:50] for b in BAD])
def test_what_a_rule_refuses_is_refused_before_a_byte(
    upload: Front, fields: dict[str, Any], status: int, field: str | None
) -> None:
    answer = upload.offer(**fields)
    assert refusal(answer)[0] == status
    assert answer.json.get("field") == field
    assert upload.cloud.requests == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"[" * 10000, b'{"name": NaN}', b"\xff", b'"x"']
)
def test_bodies_that_are_not_an_object_are_refused(upload: Front, body: bytes) -> None:
    answer = upload.http.post("/files", data=body, content_type="application/json")
    assert refusal(answer)[0] == 400


def test_a_body_that_is_not_declared_as_json_is_refused(upload: Front) -> None:
    answer = upload.http.post("/files", data="{}", content_type="text/plain")
    assert refusal(answer) == (415, "not_json")


def test_a_long_body_is_refused(upload: Front) -> None:
    answer = upload.http.post("/files", data=b" " * 70_000 + b"{}", content_type="application/json")
    assert refusal(answer) == (413, "body_too_large")


@pytest.mark.parametrize(("length", "status"), [(255, 201), (256, 400)])
def test_a_type_has_at_most_255_characters(upload: Front, length: int, status: int) -> None:
    declared = "image/jpeg" + (";a=" + "x" * 58) * 3
    declared += ";a=" + "x" * (length - len(declared) - 3)
    assert len(declared) == length
    assert upload.offer(contentType=declared).status_code == status


def test_the_limit_and_the_types_stand_in_the_refusal(upload: Front) -> None:
    assert upload.offer(size=1001).json["limit"] == 1000
    assert upload.offer(contentType="text/plain").json["accepts"] == ["image/*"]
    assert upload.offer(size=1000, contentType="IMAGE/JPEG;a=b").status_code == 201


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>.jpg", "日本 🙂.jpg", '"; rm -rf ~;".jpg']
)
def test_a_name_that_is_only_strange_is_kept_as_it_is(upload: Front, name: str) -> None:
    upload.offer(name=name)
    (stored,) = upload.cloud.uploads
    assert stored.rpartition("/")[2] == name


def test_what_the_bridge_would_ignore_is_refused(upload: Front) -> None:
    answer = upload.offer(folder="any", owner="drafts")
    assert refusal(answer) == (400, "not_processed")
    assert answer.json["rule"] == "excluded_prefix"
    assert upload.cloud.requests == []


def test_what_would_end_without_a_record_is_refused(upload: Front) -> None:
    assert refusal(upload.offer(folder="any", owner="quiet")) == (415, "no_records")


def test_a_delay_needs_a_lane_that_takes_delays(upload: Front) -> None:
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    answer = upload.offer(processAfter=soon)
    assert refusal(answer)[0] == 400
    assert answer.json["field"] == "processAfter"


def patient(upload: Front) -> None:
    later = {"delays": True, "later": "projects/p/locations/l/queues/later"}
    lanes = {"default": lane(**later, max_delay_seconds=23 * 86400)}
    upload.configure(LANES=json.dumps(lanes))


def test_a_delay_beyond_what_the_lane_takes_is_refused(upload: Front) -> None:
    patient(upload)
    late = datetime.now(UTC) + timedelta(days=23, minutes=1)
    answer = upload.offer(processAfter=late.isoformat())
    assert refusal(answer)[0] == 400
    assert "23 days" in answer.json["detail"]
    assert upload.offer(processAfter=(late - timedelta(minutes=2)).isoformat()).status_code == 201


def test_a_delay_is_written_on_the_object_as_the_bridge_reads_it(upload: Front) -> None:
    patient(upload)
    soon = datetime.now(UTC) + timedelta(days=1)
    for written in (soon.isoformat(), soon.strftime("%Y-%m-%dt%H:%M:%Sz")):
        answer = upload.offer(processAfter=written)
        assert answer.status_code == 201, answer.json
    for begun in upload.cloud.uploads.values():
        assert begun["metadata"] == {"process-after": soon.strftime("%Y-%m-%dT%H:%M:%SZ")}


# POST /upload


def post(upload: Front, data: bytes = b"bytes", name: str = "test-image.jpg", **more: Any) -> Any:
    form = {"file": (io.BytesIO(data), name, "image/jpeg"), "folder": "photos"}
    form |= more.pop("form", {})
    return upload.http.post("/upload", data=form, content_type="multipart/form-data", **more)


def test_a_form_is_answered_as_the_sources_show(upload: Front) -> None:
    answer = post(upload)
    assert answer.status_code == 202
    file_id = answer.json["file_id"]
    assert answer.json == {
        "status": "accepted",
        "file_id": file_id,
        "message": "File queued for processing",
        "filename": "test-image.jpg",
    }
    name = f"photos/-/{file_id[-32:]}/test-image.jpg"
    assert upload.cloud.stored == {name: b"bytes"}


def test_a_repeated_form_makes_no_second_file(upload: Front) -> None:
    answers = [post(upload, headers={"Idempotency-Key": KEY}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json == answers[1].json
    assert len(upload.cloud.stored) == 1


def test_a_form_without_a_file_is_refused(upload: Front) -> None:
    for form in (
        {},
        {"file": "text"},
        {"file": (io.BytesIO(b""), "")},
        {"other": (io.BytesIO(b"x"), "a")},
    ):
        answer = upload.http.post("/upload", data=form, content_type="multipart/form-data")
        assert refusal(answer) == (400, "no_file")
    assert refusal(upload.http.post("/upload")) == (400, "no_file")


def test_a_form_beyond_32_mib_is_shown_the_way_on(upload: Front) -> None:
    form = {"folder": "any"}
    answer = post(upload, bytes(33 << 20), form=form)
    assert refusal(answer) == (413, "form_too_large")
    assert answer.json["use"] == "/files"
    assert post(upload, bytes(31 << 20), form=form).status_code == 202
    many = form | {str(number): "" for number in range(9)}
    assert refusal(post(upload, form=many)) == (413, "form_too_large")


def test_an_endless_form_is_refused_at_the_limit(upload: Front) -> None:
    class Endless(io.RawIOBase):
        read_bytes = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            if self.read_bytes == 0:
                piece = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            else:
                piece = bytes(len(buffer))
            piece = piece[: len(buffer)]
            buffer[: len(piece)] = piece
            self.read_bytes += len(piece)
            return len(piece)

    body = Endless()
    answer = upload.http.post(
        "/upload",
        content_type="multipart/form-data; boundary=b",
        environ_overrides={"wsgi.input": io.BufferedReader(body), "wsgi.input_terminated": True},
        headers={"Transfer-Encoding": "chunked"},
    )
    assert refusal(answer) == (413, "form_too_large")
    assert body.read_bytes < 34 << 20


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/files", 401), ("POST", "/upload", 401), ("PUT", "/files", 405), ("GET", "/x", 404),
     ("GET", "/health", 200)],
)  # fmt: skip
def test_no_body_is_waited_for_that_nobody_reads(
    upload: Front, method: str, path: str, status: int
) -> None:
    class Slow(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise AssertionError("it was waited for")

    upload.configure(ACCESS=TOKENS)
    given = {"wsgi.input": io.BufferedReader(Slow()), "CONTENT_LENGTH": "20"}
    answer = upload.http.open(
        path, method=method, content_type="application/json", environ_overrides=given
    )
    assert (answer.status_code, answer.headers["Connection"]) == (status, "close")


def test_the_rules_for_a_form_are_those_of_files(upload: Front) -> None:
    assert refusal(post(upload, name="a\tb.jpg"))[0] == 400
    assert refusal(post(upload, bytes(1001)))[0] == 413
    assert refusal(post(upload, form={"folder": "secrets"}))[0] == 400
    assert upload.cloud.requests == []


# Faults


@pytest.mark.parametrize(
    ("fault", "status"), [(429, 503), (500, 503), (503, 503), (401, 502), (403, 502), (404, 502)]
)
@pytest.mark.parametrize("way", ["files", "form"])
def test_an_answer_of_cloud_storage_that_fails_is_told(
    upload: Front, fault: int, status: int, way: str, logged: Any
) -> None:
    upload.cloud.fault = lambda request: fault
    answer = upload.offer() if way == "files" else post(upload)
    assert refusal(answer)[0] == status
    assert int(answer.headers["Retry-After"]) > 0
    (line,) = [line for line in logged() if line["event"] == "upload_failed"]
    assert line["severity"] == "ERROR"


def test_an_answer_that_never_comes_is_told_without_the_session_s_address(
    upload: Front, logged: Any
) -> None:
    def lost(request: str) -> None:
        raise requests.ConnectionError(f"lost on the way to {SESSION}")

    upload.cloud.fault = lost
    answer = upload.offer()
    assert refusal(answer) == (503, "unavailable")
    assert "SECRET" not in answer.text + str(logged())


def test_a_fault_of_our_own_tells_nothing_outside(upload: Front, logged: Any) -> None:
    def broken(request: str) -> None:
        raise RuntimeError(SESSION)

    upload.cloud.fault = broken
    answer = upload.offer()
    assert refusal(answer) == (500, "broken")
    text = answer.text + str(logged())
    assert "upload_broken" in text
    assert "SECRET" not in text


def test_no_log_holds_a_session_or_a_name(upload: Front, logged: Any) -> None:
    upload.offer(name="private.jpg")
    post(upload, name="private.jpg")
    lines = logged()
    assert [line["event"] for line in lines] == ["upload_accepted"] * 2
    assert "SECRET" not in str(lines)
    assert "private" not in str(lines)


# Origins


def preflight(upload: Front, origin: str) -> Any:
    return upload.http.options(
        "/files", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
    )


def test_a_preflight_of_an_allowed_page_is_answered(upload: Front) -> None:
    answer = preflight(upload, PAGE)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    allowed = answer.headers["Access-Control-Allow-Headers"]
    assert {"Authorization", "Idempotency-Key", "Content-Type"} <= set(allowed.split(", "))
    assert answer.headers["Access-Control-Allow-Methods"] == "POST"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://shop.example.evil", "http://shop.example"]
)
def test_a_foreign_page_is_refused(upload: Front, origin: str) -> None:
    for answer in (preflight(upload, origin), upload.offer({"Origin": origin})):
        assert refusal(answer) == (403, "foreign_origin")
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert upload.cloud.requests == []


def test_the_session_is_for_the_page_that_asked(upload: Front) -> None:
    answer = upload.offer({"Origin": PAGE})
    (begun,) = upload.cloud.uploads.values()
    assert begun["headers"]["origin"] == PAGE
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    exposed = answer.headers["Access-Control-Expose-Headers"]
    assert {"ETag", "Retry-After"} <= set(exposed.split(", "))
    assert "Origin" in answer.headers["Vary"]


def test_the_page_served_here_may_call(upload: Front) -> None:
    own = "https://upload.example"
    answer = upload.http.post(
        "/files", json={"name": "a.jpg", "size": 1, "contentType": "image/png", "folder": "photos"},
        headers={"Origin": own}, base_url=own,
    )  # fmt: skip
    assert answer.status_code == 201


def test_a_server_names_the_page_that_will_send(upload: Front) -> None:
    other = "https://other.example"
    upload.configure(ORIGINS=json.dumps([PAGE, other]))
    assert upload.offer({"Origin": other}, origin=PAGE).json["field"] == "origin"
    assert upload.offer(origin=PAGE).status_code == 201
    (begun,) = upload.cloud.uploads.values()
    assert begun["headers"]["origin"] == PAGE


def test_a_server_s_backend_begins_an_upload_as_the_docs_show(
    upload: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)
    tokens: list[str] = []

    def fetch_id_token(request: Any, audience: str) -> str:
        tokens.append(audience)
        return "token"

    def send(url: str, *, json: Any, headers: dict[str, str], timeout: int) -> requests.Response:
        made = upload.http.post(url.removeprefix(shown["UPLOAD"]), json=json, headers=headers)
        answer = requests.Response()
        answer.status_code, answer._content = made.status_code, made.data
        return answer

    upload.configure(FOLDERS='{"uploads": {"types": ["*/*"], "max_bytes": 1000}}')
    monkeypatch.setattr("google.oauth2.id_token.fetch_id_token", fetch_id_token)
    monkeypatch.setattr("requests.post", send)
    answer = shown["begin"]("customer-7", "tom.jpg", 10, "image/jpeg")
    assert tokens == [shown["UPLOAD"]]
    assert answer["upload"]["url"] == SESSION
    assert "/customer-7/" in answer["results"]
    (begun,) = upload.cloud.uploads.values()
    assert begun["headers"]["origin"] == PAGE


def test_errors_can_be_read_by_an_allowed_page(upload: Front) -> None:
    answer = upload.offer({"Origin": PAGE}, size=-1)
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE


# Who calls


def test_an_unverified_authorization_is_no_identity_under_iam(upload: Front) -> None:
    answer = upload.offer({"Authorization": "Bearer e30.eyJzdWIiOiJib3NzIn0.x"})
    (name,) = upload.cloud.uploads
    assert name.split("/")[1] == "-"
    assert answer.status_code == 201


def test_a_server_s_label_stands_in_the_name_and_the_links(upload: Front) -> None:
    body = upload.offer(owner="customer-7").json
    (name,) = upload.cloud.uploads
    assert name.startswith("photos/customer-7/")
    assert body["links"]["status"].endswith("?owner=customer-7")
    assert body["links"]["events"].endswith("&owner=customer-7")


TOKENS = json.dumps({"kind": "tokens", "issuer": "https://accounts.google.com", "audience": "me"})


def claims(token: str) -> dict[str, Any]:
    if token != "good":
        raise ValueError("bad")
    return {"iss": "https://accounts.google.com", "sub": "42"}


def test_under_tokens_the_owner_follows_from_the_token(upload: Front) -> None:
    upload.configure(claims, ACCESS=TOKENS)
    answer = upload.offer({"Authorization": "Bearer good"})
    assert (answer.status_code, "owner" in str(answer.json["links"])) == (201, False)
    (name,) = upload.cloud.uploads
    text = json.dumps(["https://accounts.google.com", "42"], separators=(",", ":"))
    assert name.split("/")[1] == hashlib.sha256(text.encode()).hexdigest()[:32]


@pytest.mark.parametrize(
    ("header", "reason"),
    [({}, "no_token"), ({"Authorization": "Bearer bad"}, "bad_token"),
     ({"Authorization": "Basic good"}, "no_token"), ({"Authorization": "Bearer"}, "no_token"),
     ({"Authorization": "Bearer " + "x" * 8193}, "no_token")],
)  # fmt: skip
def test_under_tokens_nobody_comes_in_without_a_good_one(
    upload: Front, header: dict[str, str], reason: str
) -> None:
    upload.configure(claims, ACCESS=TOKENS)
    for answer in (upload.offer(header), post(upload, headers=header)):
        assert refusal(answer) == (401, reason)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert upload.cloud.requests == []


def test_the_owner_cannot_be_chosen_under_tokens_or_by_anyone(upload: Front) -> None:
    upload.configure(claims, ACCESS=TOKENS)
    answer = upload.offer({"Authorization": "Bearer good"}, owner="boss")
    assert refusal(answer) == (400, "owner_not_yours")
    upload.configure(ACCESS='{"kind": "anyone"}')
    assert refusal(upload.offer(owner="boss")) == (400, "owner_not_yours")
    assert upload.offer().status_code == 201


# What is served


def test_health_and_settings(upload: Front) -> None:
    for path in ("/health", "/health/"):
        assert upload.http.get(path).json == {"status": "ok"}
    settings = upload.http.get("/settings").json
    assert settings["folders"]["photos"] == {"types": ["image/*"], "max_bytes": 1000}
    assert (settings["access"], settings["status"]) == ("iam", STATUS_URL)


@pytest.mark.parametrize(
    "path",
    ["/../main.py", "/%2e%2e/main.py", "//etc/passwd", "/offer.py", "/..%2fservice.py",
     "/x//health", "/health//", "/a%0Ab"],
)  # fmt: skip
def test_no_path_reaches_what_is_not_the_page(upload: Front, path: str) -> None:
    for answer in (upload.http.get(path), upload.http.options(path)):
        assert refusal(answer)[0] == 404


def test_the_api_s_description_is_served(upload: Front) -> None:
    answer = upload.http.get("/openapi.json")
    assert answer.json["openapi"].startswith("3.1")


def test_what_is_served_may_run_nothing_foreign(upload: Front) -> None:
    served = upload.http.get("/openapi.json")
    assert served.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert served.headers["Permissions-Policy"] == "camera=(), geolocation=(), microphone=()"
    known = {"If-None-Match": served.headers["ETag"]}
    assert upload.http.get("/openapi.json", headers=known).status_code == 304
    policy = served.headers["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy
    assert STATUS_URL in rules["connect-src"]


def test_every_answer_forbids_guessing_its_type(upload: Front) -> None:
    for answer in (upload.offer(), upload.offer(size=-1), upload.http.get("/nothing")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_a_method_that_a_path_lacks_is_named(upload: Front) -> None:
    answer = upload.http.get("/files")
    assert refusal(answer) == (405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [("FOLDERS", "{}"), ("FOLDERS", '{"a": {}}'), ("ACCESS", '{"kind": "none"}'), ("ACCESS", "{}"),
     ("ACCESS", '{"kind": "tokens"}'),
     ("ACCESS", '{"kind": "iam", "issuer": "x", "audience": "y"}'),
     ("ORIGINS", "x"), ("STATUS_URL", "")],
)  # fmt: skip
def test_wrong_settings_are_named(upload: Front, name: str, value: str) -> None:
    with pytest.raises(Exception, match=name):
        upload.main.Config.from_env(UPLOAD_ENV | {name: value})
