"""What pages in a browser get of Cloud Storage: signed URLs, upload sessions, other origins."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import google.auth.transport.requests
import pytest
import requests
from google.auth import iam
from google.cloud.storage import _signing
from google.oauth2.credentials import Credentials

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.calls import through

Http = Callable[..., requests.Response]
HOST = "https://storage.googleapis.com"
DAY = 86_400
PAGE = "https://app.example"
OTHER = "https://other.example"
ODD = "a b/ü — #?%+&=:*[x]()'!.txt"
READER = "roles/storage.objectViewer"


class Signer:
    """An account that reads a bucket, and somebody who may have it sign."""

    def __init__(self, cloud: LocalCloud, http: Http, name: str) -> None:
        self.cloud, self.http = cloud, http
        self.bucket = f"{cloud.project}-{name}"
        self.email = f"{name}-signer@{cloud.project}.iam.gserviceaccount.com"
        self.account = f"projects/{cloud.project}/serviceAccounts/{self.email}"
        root = f"https://iam.googleapis.com/v1/projects/{cloud.project}/serviceAccounts"
        made = http("POST", root, json={"accountId": f"{name}-signer", "serviceAccount": {}})
        assert made.ok, made.text
        made = http("POST", f"{HOST}/storage/v1/b", params={"project": cloud.project},
                    json={"name": self.bucket})  # fmt: skip
        assert made.ok, made.text
        self.bind(f"projects/_/buckets/{self.bucket}", READER)
        self.bind(self.account, "roles/iam.serviceAccountTokenCreator")
        self.put("x.txt", b"content")

    def bind(self, resource: str, role: str, present: bool = True) -> None:
        member = f"serviceAccount:{self.email}"
        body = {"resource": resource, "role": role, "member": member, "present": present}
        self.cloud.post("/bindings", body)

    def put(self, name: str, data: bytes) -> None:
        url = f"{HOST}/upload/storage/v1/b/{self.bucket}/o"
        self.http("POST", url, params={"uploadType": "media", "name": name}, data=data)

    def credentials(self) -> iam.Signer:
        token = self.cloud.token(f"serviceAccount:{self.email}")
        session = through(self.cloud, requests.Session())
        transport = google.auth.transport.requests.Request(session)  # type: ignore[no-untyped-call]
        return iam.Signer(transport, Credentials(token), self.email)  # type: ignore[no-untyped-call]

    def url(self, name: str = "x.txt", **more: Any) -> str:
        """A URL as Google's Python client signs it."""
        by = self.credentials()

        class Signing(google.auth.credentials.Signing):  # type: ignore[misc]
            sign_bytes = staticmethod(by.sign)
            signer, signer_email = by, self.email

        resource = f"/{self.bucket}/{quote(name, safe='/~')}"
        more = {"expiration": timedelta(minutes=15)} | more
        url = _signing.generate_signed_url_v4(Signing(), resource, **more)  # type: ignore[no-untyped-call]
        return str(url)

    def get(self, url: str, **more: Any) -> requests.Response:
        return self.http("GET", url, member=None, **more)


@pytest.fixture(scope="module")
def signer(cloud: LocalCloud, http: Http) -> Signer:
    return Signer(cloud, http, "pages")


def code(answer: requests.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


# ---- signed URLs --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.txt", ODD])
def test_a_url_that_the_client_signed_by_signblob_reads_the_object(
    signer: Signer, name: str
) -> None:
    signer.put(name, b"content")
    answer = signer.get(signer.url(name))
    assert (answer.status_code, answer.content) == (200, b"content")
    assert signer.http("HEAD", signer.url(name, method="HEAD"), member=None).status_code == 200


def test_signblob_needs_its_permission_on_the_account(signer: Signer) -> None:
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{signer.email}"
    body = {"payload": base64.b64encode(b"x").decode()}
    for member in ("user:you@example.com", "user:nobody@example.com"):
        refused = signer.http("POST", f"{url}:signBlob", member=member, json=body)
        assert refused.status_code == 403
        assert "iam.serviceAccounts.signBlob" in refused.text
    own = f"serviceAccount:{signer.email}"
    assert signer.http("POST", f"{url}:signBlob", member=own, json=body).ok
    assert (
        signer.http("POST", f"{url}:signBlob", member=own, json={"payload": "%"}).status_code == 400
    )


def test_a_signed_url_sets_the_answers_type_and_disposition(signer: Signer) -> None:
    answer = signer.get(signer.url(response_disposition='attachment; filename="a b.txt"',
                                   response_type="application/pdf"))  # fmt: skip
    assert answer.headers["content-disposition"] == 'attachment; filename="a b.txt"'
    assert answer.headers["content-type"] == "application/pdf"


def test_a_changed_signed_url_is_refused_with_what_was_signed(signer: Signer) -> None:
    url = signer.url()
    for changed in (
        url.replace("x.txt", "y.txt"),
        url.replace("X-Goog-Expires=900", "X-Goog-Expires=901"),
        url + "&response-content-type=text%2Fhtml",
        url[:-2] + ("00" if not url.endswith("00") else "11"),
        url[:-1] + "~",
    ):
        answer = signer.get(changed)
        assert (answer.status_code, code(answer)) == (403, "SignatureDoesNotMatch")
        assert "<CanonicalRequest>GET\n/" in answer.text
    assert signer.http("HEAD", url, member=None).status_code == 403  # signed for GET


def test_an_expired_signed_url_is_400(signer: Signer) -> None:
    before = datetime.fromtimestamp(time.time() - 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    answer = signer.get(signer.url(_request_timestamp=before))
    assert (answer.status_code, code(answer)) == (400, "ExpiredToken")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X-Goog-Expires=900", "X-Goog-Expires=604801"),
        ("X-Goog-Expires=900&", ""),
        ("GOOG4-RSA-SHA256", "GOOG4-HMAC-SHA256"),
        ("X-Goog-SignedHeaders=host", "X-Goog-SignedHeaders=accept"),
        ("goog4_request", "aws4_request"),
    ],
)
def test_a_malformed_signed_url_is_400(signer: Signer, old: str, new: str) -> None:
    answer = signer.get(signer.url().replace(old, new))
    assert (answer.status_code, code(answer)) == (400, "AuthorizationQueryParametersError")


def test_a_signed_url_gives_no_more_than_its_account_may(signer: Signer) -> None:
    url = signer.url()
    signer.bind(f"projects/_/buckets/{signer.bucket}", READER, False)
    try:
        answer = signer.get(url)
        assert (answer.status_code, code(answer)) == (403, "AccessDenied")
        assert signer.email in answer.text
    finally:
        signer.bind(f"projects/_/buckets/{signer.bucket}", READER)


# ---- upload sessions ----------------------------------------------------------------------------


class Upload:
    """A session that a server started for a page, used as the page does: without a token."""

    def __init__(self, signer: Signer, name: str, origin: str | None = PAGE, **params: Any) -> None:
        self.signer, self.name = signer, name
        headers = {"Origin": origin} if origin else {}
        started = signer.http("POST", f"{HOST}/upload/storage/v1/b/{signer.bucket}/o",
                              params={"uploadType": "resumable", "name": name} | params,
                              headers=headers | {"X-Upload-Content-Type": "text/plain",
                                                 "X-Upload-Content-Length": "6"})  # fmt: skip
        assert started.ok, started.text
        self.uri = started.headers["location"]

    def send(
        self, verb: str = "PUT", data: bytes = b"", origin: str = PAGE, **headers: str
    ) -> requests.Response:
        named = {"Origin": origin} | {k.replace("_", "-"): v for k, v in headers.items()}
        return self.signer.http(verb, self.uri, member=None, data=data, headers=named)


@pytest.fixture
def upload(signer: Signer, fresh: str) -> Upload:
    return Upload(signer, fresh)


def allowed(answer: requests.Response) -> str | None:
    return answer.headers.get("access-control-allow-origin")


def test_a_page_uploads_by_the_session_alone_and_goes_on_where_it_broke_off(
    upload: Upload,
) -> None:
    first = upload.send(data=b"abc", Content_Range="bytes 0-2/6")
    assert (first.status_code, first.headers["range"]) == (308, "bytes=0-2")
    asked = upload.send(Content_Range="bytes */6")
    assert (asked.status_code, asked.headers["range"], allowed(asked)) == (308, "bytes=0-2", PAGE)
    assert "Range" in asked.headers["access-control-expose-headers"]
    done = upload.send(data=b"def", Content_Range="bytes 3-5/6")
    assert (done.json()["size"], done.json()["contentType"]) == ("6", "text/plain")
    assert allowed(done) == PAGE


def test_the_starting_origin_decides_who_reads_the_answers(signer: Signer, upload: Upload) -> None:
    assert allowed(upload.send(Content_Range="bytes */6", origin=OTHER)) == PAGE
    asks = {"Access_Control_Request_Method": "PUT",
            "Access_Control_Request_Headers": "content-range"}  # fmt: skip
    answer = upload.send("OPTIONS", **asks)
    assert (answer.status_code, allowed(answer)) == (200, PAGE)
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "content-range"
    assert allowed(upload.send("OPTIONS", origin=OTHER, **asks)) is None
    without = Upload(signer, "without", origin=None)
    assert allowed(without.send(Content_Range="bytes */6")) is None
    assert allowed(without.send("OPTIONS", **asks)) is None


def test_an_error_of_a_session_can_be_read_by_its_page(signer: Signer, fresh: str) -> None:
    upload = Upload(signer, fresh, ifGenerationMatch=0)
    signer.put(fresh, b"first")
    answer = upload.send(data=b"second")
    assert (answer.status_code, allowed(answer)) == (412, PAGE)


def test_a_session_s_precondition_lies_in_its_address(signer: Signer, fresh: str) -> None:
    upload = Upload(signer, fresh, ifGenerationMatch=0)
    signer.put(fresh, b"first")
    upload.uri = upload.uri.replace("ifGenerationMatch=0&", "")
    assert upload.send(data=b"second").status_code == 200  # its starter may delete


def test_open_ended_chunks_as_of_nodes_client_end_with_their_request(upload: Upload) -> None:
    assert upload.send(data=b"abc", Content_Range="bytes 0-2/*").status_code == 308
    answer = upload.send(data=b"def", Content_Range="bytes 3-*/*")
    assert answer.json()["size"] == "6"


def test_a_session_lives_for_a_week(signer: Signer, fresh: str) -> None:
    upload = Upload(signer, fresh)
    signer.cloud.advance(6.9 * DAY)
    assert upload.send(Content_Range="bytes */6").status_code == 308
    signer.cloud.advance(0.2 * DAY)
    assert upload.send(data=b"x").status_code == 404


def test_a_cancelled_session_is_gone(upload: Upload) -> None:
    cancelled = upload.send("DELETE")
    assert (cancelled.status_code, allowed(cancelled)) == (499, PAGE)
    assert upload.send(data=b"x").status_code == 404


# ---- other origins ------------------------------------------------------------------------------


def test_a_bucket_s_cors_decides_who_reads_its_objects(signer: Signer, http: Http) -> None:
    url = signer.url()
    assert allowed(signer.get(url, headers={"Origin": PAGE})) is None
    rule = {"origin": [PAGE], "method": ["GET"], "responseHeader": ["X-A", "ETag"],
            "maxAgeSeconds": 60}  # fmt: skip
    http("PATCH", f"{HOST}/storage/v1/b/{signer.bucket}", json={"cors": [rule]})
    answer = signer.get(url, headers={"Origin": PAGE})
    assert (answer.status_code, allowed(answer)) == (200, PAGE)
    assert answer.headers["access-control-expose-headers"] == "X-A, ETag"
    assert allowed(signer.get(url, headers={"Origin": OTHER})) is None
    broken = signer.get(url + "1", headers={"Origin": PAGE})
    assert (broken.status_code, allowed(broken)) == (403, PAGE)

    def preflight(method: str, headers: str, origin: str = PAGE) -> requests.Response:
        asks = {"Origin": origin, "Access-Control-Request-Method": method}
        asks |= {"Access-Control-Request-Headers": headers} if headers else {}
        return http("OPTIONS", url, member=None, headers=asks)

    answer = preflight("GET", "x-a")
    assert (allowed(answer), answer.headers["access-control-max-age"]) == (PAGE, "60")
    assert [allowed(preflight(*asked)) for asked in
            (("PUT", ""), ("GET", "x-b"), ("GET", "", OTHER))] == [None] * 3  # fmt: skip
