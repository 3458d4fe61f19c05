"""Cloud Storage of the local cloud: the Python client, gsutil, gcloud, Terraform's backend, raw."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import io
import json
import os
import re
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import google_crc32c
import pytest
import requests
from google.api_core import exceptions
from google.cloud import storage
from google.oauth2.credentials import Credentials

from tests.localcloud.client import OWNER, LocalCloud
from tests.localcloud.client.calls import through
from tests.localcloud.client.deployment import client

Http = Callable[..., requests.Response]
HOST = "https://storage.googleapis.com"
API = f"{HOST}/storage/v1"
DAY = 86_400
SOMEBODY = "user:somebody@example.com"
ODD = "a b/ü — 日本 #?%+&=:*[x]().txt"


def client_of(cloud: LocalCloud, member: str = OWNER) -> storage.Client:
    client = storage.Client(cloud.project, Credentials(cloud.token(member)))  # type: ignore[no-untyped-call]
    through(cloud, client._http)
    return client


class Space:
    """A bucket of one test: by REST and by the Python client."""

    def __init__(self, cloud: LocalCloud, http: Http, name: str) -> None:
        self.cloud, self.http, self.name = cloud, http, name
        self.client = client_of(cloud)
        self.url = f"{API}/b/{name}"
        self.create(versioning={"enabled": True})
        self.bucket = self.client.bucket(name)

    def create(self, **settings: Any) -> dict[str, Any]:
        body = {"name": self.name, "location": "us-central1"} | settings
        answer = self.http("POST", f"{API}/b", params={"project": self.cloud.project}, json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def patch(self, **settings: Any) -> requests.Response:
        return self.http("PATCH", self.url, json=settings)

    def get(self, path: str = "", **more: Any) -> requests.Response:
        return self.http("GET", self.url + path, **more)

    def object(self, name: str) -> str:
        return f"{self.url}/o/{quote(name, safe='')}"

    def put(self, name: str, data: bytes = b"x", **params: Any) -> requests.Response:
        more = {k: params.pop(k) for k in ("member", "headers") if k in params}
        params |= {"uploadType": "media", "name": name}
        url = f"{HOST}/upload/storage/v1/b/{self.name}/o"
        return self.http("POST", url, params=params, data=data, **more)

    def read(self, name: str, member: str | None = OWNER, **params: Any) -> requests.Response:
        return self.http("GET", self.object(name), member=member, params=params)

    def names(self, **params: Any) -> list[str]:
        answer = self.get("/o", params=params).json()
        return [item["name"] for item in answer.get("items", [])] + answer.get("prefixes", [])

    def generations(self, name: str) -> list[str]:
        items = self.get("/o", params={"versions": True, "prefix": name}).json().get("items", [])
        return [item["generation"] for item in items if item["name"] == name]

    def grant(self, member: str, *roles: str) -> None:
        for role in roles:
            self.cloud.post(
                "/bindings",
                {
                    "resource": f"projects/_/buckets/{self.name}",
                    "role": f"roles/{role}",
                    "member": member,
                    "present": True,
                },
            )


@pytest.fixture
def space(cloud: LocalCloud, http: Http, fresh: str) -> Space:
    return Space(cloud, http, f"{cloud.project}-{fresh}")


# ---- buckets ------------------------------------------------------------------------------------


def test_a_new_bucket_has_googles_defaults(cloud: LocalCloud, space: Space) -> None:
    meta = space.get().json()
    assert meta["location"] == "US-CENTRAL1"
    assert meta["locationType"] == "region"
    assert meta["storageClass"] == "STANDARD"
    assert meta["softDeletePolicy"]["retentionDurationSeconds"] == "604800"
    assert meta["iamConfiguration"]["publicAccessPrevention"] == "inherited"
    assert meta["metageneration"] == "1"
    assert meta["projectNumber"].isdigit()


def test_a_new_bucket_carries_legacy_bindings(cloud: LocalCloud, space: Space) -> None:
    policy = space.get("/iam").json()
    held = {b["role"]: sorted(b["members"]) for b in policy["bindings"]}
    both = [f"projectEditor:{cloud.project}", f"projectOwner:{cloud.project}"]
    assert held["roles/storage.legacyBucketOwner"] == both
    assert held["roles/storage.legacyBucketReader"] == [f"projectViewer:{cloud.project}"]


def test_a_patch_merges_and_null_deletes(space: Space) -> None:
    space.patch(labels={"a": "1", "b": "2"})
    meta = space.patch(labels={"a": None}, softDeletePolicy={"retentionDurationSeconds": 0}).json()
    assert meta["labels"] == {"b": "2"}
    assert meta["versioning"] == {"enabled": True}
    assert meta["softDeletePolicy"]["retentionDurationSeconds"] == "0"
    assert meta["metageneration"] == "3"
    assert "labels" not in space.patch(labels=None).json()


def test_a_bucket_name_is_taken_once(space: Space) -> None:
    with pytest.raises(AssertionError, match="409"):
        space.create()


def test_a_bucket_that_holds_anything_is_not_deleted(space: Space) -> None:
    space.put("x")
    space.http("DELETE", space.object("x"))  # noncurrent now
    assert space.http("DELETE", space.url).status_code == 409
    generation = space.generations("x")[0]
    space.http("DELETE", space.object("x"), params={"generation": generation})
    assert space.http("DELETE", space.url).status_code == 204
    assert space.get().status_code == 404


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"name": "UPPER"}, 400),
        ({"versionning": {"enabled": True}}, 400),
        ({"softDeletePolicy": {"retentionDurationSeconds": "week"}}, 400),
        ({"retentionPolicy": {"retentionPeriod": "1"}}, 501),
        ({"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {}}]}}, 400),
        (
            {
                "lifecycle": {
                    "rule": [{"action": {"type": "Delete"}, "condition": {"matchesPattern": "x"}}]
                }
            },
            501,
        ),
    ],
)
def test_a_wrong_or_unserved_setting_is_refused(
    cloud: LocalCloud, http: Http, fresh: str, settings: dict[str, Any], code: int
) -> None:
    body = {"name": f"{cloud.project}-{fresh}"} | settings
    answer = http("POST", f"{API}/b", params={"project": cloud.project}, json=body)
    assert answer.status_code == code
    assert http("GET", f"{API}/b/{body['name']}").status_code in (404, 400)


def test_a_bucket_list_holds_the_projects_buckets(cloud: LocalCloud, space: Space) -> None:
    assert space.name in [b.name for b in space.client.list_buckets(prefix=space.name)]


def test_a_stale_policy_is_refused(space: Space) -> None:
    policy = space.get("/iam").json()
    policy["bindings"].append({"role": "roles/storage.objectViewer", "members": [SOMEBODY]})
    policy.pop("kind"), policy.pop("resourceId")
    assert space.http("PUT", space.url + "/iam", json=policy).status_code == 200
    assert space.http("PUT", space.url + "/iam", json=policy).status_code == 412


def test_public_access_prevention_refuses_allusers(space: Space) -> None:
    public = {"bindings": [{"role": "roles/storage.objectViewer", "members": ["allUsers"]}]}
    space.patch(iamConfiguration={"publicAccessPrevention": "enforced"})
    assert space.http("PUT", space.url + "/iam", json=public).status_code == 412
    space.patch(iamConfiguration={"publicAccessPrevention": "inherited"})
    space.put("x", b"open")
    assert space.http("GET", f"{HOST}/{space.name}/x", member=None).status_code == 401
    assert space.http("PUT", space.url + "/iam", json=public).status_code == 200
    assert space.http("GET", f"{HOST}/{space.name}/x", member=None).text == "open"


def test_the_service_agent_is_told_by_project(cloud: LocalCloud, http: Http) -> None:
    address = http("GET", f"{API}/projects/{cloud.project}/serviceAccount").json()["email_address"]
    assert re.fullmatch(r"service-\d+@gs-project-accounts\.iam\.gserviceaccount\.com", address)


# ---- objects ------------------------------------------------------------------------------------


def test_an_object_comes_back_whatever_its_name(space: Space) -> None:
    space.bucket.blob(ODD).upload_from_string("content", content_type="text/x")
    blob = space.bucket.get_blob(ODD)
    assert blob is not None
    assert (blob.name, blob.size, blob.content_type) == (ODD, 7, "text/x")
    assert blob.download_as_bytes() == b"content"
    assert blob.md5_hash == base64.b64encode(hashlib.md5(b"content").digest()).decode()
    crc = google_crc32c.Checksum(b"content").digest()
    assert blob.crc32c == base64.b64encode(crc).decode()


def test_sizes_and_generations_are_strings(space: Space) -> None:
    meta = space.put("x", b"four").json()
    assert meta["size"] == "4"
    assert meta["generation"].isdigit()
    assert meta["metageneration"] == "1"


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 1025, ".."])
def test_an_impossible_name_is_400(space: Space, name: str) -> None:
    assert space.put(name).status_code == 400


def test_generations_grow_and_all_of_them_stay(space: Space) -> None:
    made = [space.put("x", text.encode()).json()["generation"] for text in "abc"]
    assert made == sorted(made, key=int)
    assert len(set(made)) == 3
    assert space.generations("x") == made
    contents = [space.read("x", alt="media", generation=g).text for g in made]
    assert contents == ["a", "b", "c"]
    assert space.read("x", alt="media").text == "c"
    assert "timeDeleted" in space.read("x", generation=made[0]).json()


def test_without_versioning_an_overwritten_generation_is_gone(space: Space) -> None:
    space.patch(versioning={"enabled": False})
    first = space.put("x").json()["generation"]
    second = space.put("x").json()["generation"]
    assert space.generations("x") == [second]
    assert space.read("x", generation=first).status_code == 404


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"ifGenerationMatch": 0}, 412),
        ({"ifGenerationMatch": 7}, 412),
        ({"ifGenerationNotMatch": "LIVE"}, 412),
        ({"ifMetagenerationMatch": 2}, 412),
        ({"ifGenerationMatch": "LIVE"}, 200),
        ({"ifGenerationNotMatch": 0}, 200),
        ({"ifMetagenerationMatch": 1}, 200),
    ],
)
def test_a_write_holds_to_its_preconditions(
    space: Space, params: dict[str, Any], code: int
) -> None:
    live = space.put("x", b"old").json()["generation"]
    params = {k: live if v == "LIVE" else v for k, v in params.items()}
    assert space.put("x", b"new", **params).status_code == code
    assert space.read("x", alt="media").text == ("new" if code == 200 else "old")


def test_create_only_succeeds_on_a_free_or_deleted_name(space: Space) -> None:
    assert space.put("x", ifGenerationMatch=0).status_code == 200
    space.http("DELETE", space.object("x"))
    assert space.put("x", ifGenerationMatch=0).status_code == 200


def test_a_read_of_the_known_generation_is_304(space: Space) -> None:
    generation = space.put("x").json()["generation"]
    assert space.read("x", ifGenerationNotMatch=generation).status_code == 304
    assert space.read("x", ifGenerationMatch=1).status_code == 412
    assert space.read("x").status_code == 200  # the connection is still in step


@pytest.mark.parametrize("kind", ["crc32c", "md5"])
def test_a_wrong_checksum_stores_nothing(space: Space, kind: str) -> None:
    wrong = {"crc32c": "AAAAAA==", "md5": base64.b64encode(bytes(16)).decode()}[kind]
    answer = space.put("x", headers={"x-goog-hash": f"{kind}={wrong}"})
    assert answer.status_code == 400
    assert "doesn't match" in answer.json()["error"]["message"]
    assert space.read("x").status_code == 404


@pytest.mark.parametrize("quotes", ["", '"', "'"])
@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_multipart_boundaries_come_in_all_shapes(space: Space, quotes: str, newline: str) -> None:
    content = b"--=b= looks like a boundary\r\n--=b\n" * 9000  # more than one chunk
    head = ["--=b=1", "content-type: application/json", "", '{"name": "x"}']
    head += ["--=b=1", "Content-Type: text/x", "", ""]
    body = newline.join(head).encode() + content + f"{newline}--=b=1--{newline}".encode()
    answer = space.http(
        "POST",
        f"{HOST}/upload/storage/v1/b/{space.name}/o?uploadType=multipart",
        data=iter([body[:70], body[70:9999], body[9999:]]),  # chunked transfer encoding
        headers={"Content-Type": f"multipart/related; boundary={quotes}=b=1{quotes}"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["contentType"] == "text/x"
    assert space.read("x", alt="media").content == content


def test_a_misspelt_field_of_an_upload_is_400(space: Space) -> None:
    answer = space.http(
        "POST",
        f"{HOST}/upload/storage/v1/b/{space.name}/o?uploadType=resumable&name=x",
        json={"contentTyp": "text/plain"},
    )
    assert answer.status_code == 400
    assert "contentTyp" in answer.json()["error"]["message"]


def test_parts_of_a_content_come_by_range(space: Space) -> None:
    space.put("x", b"0123456789")
    for asked, code, text in [
        ("bytes=2-4", 206, "234"),
        ("bytes=7-", 206, "789"),
        ("bytes=-3", 206, "789"),
        ("bytes=0-99", 206, "0123456789"),
        ("bytes=10-", 416, None),
    ]:
        answer = space.get("/o/x?alt=media", headers={"Range": asked})
        assert answer.status_code == code
        assert text is None or answer.text == text
    assert answer.json()["error"]["code"] == 416


def test_gzip_is_served_raw_or_decompressed_as_asked(space: Space) -> None:
    packed = gzip.compress(b"plain" * 100_000)
    space.put("x", packed, contentEncoding="gzip")
    url = space.object("x") + "?alt=media"
    plain = space.http("GET", url, headers={"Accept-Encoding": "identity"})
    assert plain.content == b"plain" * 100_000
    assert "content-encoding" not in plain.headers
    raw = space.http("GET", url, headers={"Accept-Encoding": "gzip"}, stream=True)
    assert raw.headers["content-encoding"] == "gzip"
    assert raw.raw.read(decode_content=False) == packed


def test_metadata_changes_leave_the_content(space: Space) -> None:
    before = space.put("x", b"same").json()
    blob = space.bucket.get_blob("x")
    assert blob
    blob.metadata, blob.content_type = {"k": "v"}, "text/new"
    blob.patch()
    after = space.read("x").json()
    assert (after["generation"], after["metageneration"]) == (before["generation"], "2")
    assert (after["metadata"], after["contentType"]) == ({"k": "v"}, "text/new")
    assert after["etag"] != before["etag"]
    assert space.read("x", alt="media").text == "same"


def test_delete_keeps_versions_and_a_named_generation_goes(space: Space) -> None:
    generation = space.put("x").json()["generation"]
    assert space.http("DELETE", space.object("x")).status_code == 204
    assert space.read("x").status_code == 404
    assert space.read("x", generation=generation).status_code == 200
    space.http("DELETE", space.object("x"), params={"generation": generation})
    assert space.read("x", generation=generation).status_code == 404


def test_a_soft_deleted_object_can_be_restored_until_it_is_purged(space: Space) -> None:
    generation = space.put("x", b"back").json()["generation"]
    space.http("DELETE", space.object("x"), params={"generation": generation})
    assert space.names(softDeleted=True) == ["x"]
    answer = space.http("POST", space.object("x") + "/restore", params={"generation": generation})
    assert answer.json()["generation"] > generation
    assert space.read("x", alt="media").text == "back"
    space.cloud.advance(9 * DAY)
    assert space.names(softDeleted=True) == []


# ---- lists --------------------------------------------------------------------------------------


@pytest.fixture
def tree(space: Space) -> Space:
    for name in ("a", "a/", "a/1", "a/2/x", "b/3", "b\U0001f600", "bé", "c"):
        space.put(name)
    return space


def test_a_list_is_in_utf8_order_page_by_page(tree: Space) -> None:
    wanted = ["a", "a/", "a/1", "a/2/x", "b/3", "bé", "b\U0001f600", "c"]
    for size in (1, 3, 8):
        assert [b.name for b in tree.client.list_blobs(tree.name, page_size=size)] == wanted


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"delimiter": "/"}, ["a", "bé", "b\U0001f600", "c", "a/", "b/"]),
        ({"delimiter": "/", "prefix": "a/"}, ["a/", "a/1", "a/2/"]),
        (
            {"delimiter": "/", "includeTrailingDelimiter": True},
            ["a", "a/", "bé", "b\U0001f600", "c", "a/", "b/"],
        ),
        ({"prefix": "b", "endOffset": "bé"}, ["b/3"]),
        ({"startOffset": "b\U0001f600"}, ["b\U0001f600", "c"]),
    ],
)
def test_a_list_is_narrowed(tree: Space, params: dict[str, Any], wanted: list[str]) -> None:
    assert tree.names(**params) == wanted


def test_prefixes_are_paged_without_repeats(tree: Space) -> None:
    pages = tree.client.list_blobs(tree.name, delimiter="/", page_size=2).pages
    found = [([b.name for b in page], sorted(page.prefixes)) for page in pages]
    assert found == [
        (["a"], ["a/"]),
        (["bé"], ["b/"]),
        (["b\U0001f600", "c"], []),
    ]


def test_versions_are_paged_inside_one_name(space: Space) -> None:
    made = [space.put("x").json()["generation"] for _ in range(5)]
    blobs = space.client.list_blobs(space.name, versions=True, page_size=2)
    assert [str(b.generation) for b in blobs] == made


def test_each_write_and_delete_shows_at_once_in_reads_and_lists(space: Space) -> None:
    for number in range(10):
        text = str(number)
        space.put("same", text.encode())
        assert space.read("same", alt="media").text == text
        space.put(text)
        assert sorted(space.names()) == sorted([text, "same"])
        space.http("DELETE", space.object(text))
        assert space.names() == ["same"]
        assert space.read(text).status_code == 404


def test_what_is_only_noncurrent_is_in_no_plain_list(tree: Space) -> None:
    for name in ("b/3", "c"):
        tree.http("DELETE", tree.object(name))
    assert tree.names(prefix="b", delimiter="/") == ["bé", "b\U0001f600"]
    assert tree.names(prefix="c") == []
    assert tree.names(prefix="c", versions=True) == ["c"]


# ---- resumable uploads --------------------------------------------------------------------------


def begin(space: Space, prefix: str = "", **params: Any) -> str:
    url = f"{HOST}{prefix}/upload/storage/v1/b/{space.name}/o"
    answer = space.http("POST", url, params={"uploadType": "resumable", "name": "x"} | params)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["location"])


def struck(space: Space) -> int:
    """How many uploads a fault has failed so far."""
    return int(space.cloud.get("/faults")["counts"].get("storage.objects.insert 503", 0))


@pytest.mark.parametrize("prefix", ["", "/resumable"])
def test_a_resumable_upload_comes_in_chunks(space: Space, prefix: str) -> None:
    uri, data = begin(space, prefix), os.urandom(600_000)
    first = space.http(
        "PUT", uri, data=data[:262_144], headers={"Content-Range": "bytes 0-262143/*"}
    )
    assert (first.status_code, first.headers["range"]) == (308, "bytes=0-262143")
    assert space.read("x").status_code == 404
    asked = space.http("PUT", uri, headers={"Content-Range": "bytes */600000"})
    assert (asked.status_code, asked.headers["range"]) == (308, "bytes=0-262143")
    # A chunk that is partly known already is not stored twice.
    last = space.http(
        "PUT", uri, data=data[200_000:], headers={"Content-Range": "bytes 200000-599999/600000"}
    )
    assert last.json()["size"] == "600000"
    assert space.read("x", alt="media").content == data
    # Asking again after the end is answered with the object, not with a second one.
    again = space.http("PUT", uri, headers={"Content-Range": "bytes */600000"})
    assert again.json()["generation"] == last.json()["generation"]


def test_an_interrupted_chunk_is_kept_as_far_as_it_came(space: Space) -> None:
    uri, data = begin(space), os.urandom(500_000)
    context = ssl.create_default_context(cafile=str(space.cloud.authority))
    line = http.client.HTTPSConnection("127.0.0.1", space.cloud.port, context=context)
    line.set_tunnel("storage.googleapis.com", 443)
    line.putrequest("PUT", uri.removeprefix(HOST))
    line.putheader("Content-Length", "500000")
    line.putheader("Content-Range", "bytes 0-499999/500000")
    line.endheaders()
    line.send(data[:300_000])

    def known() -> str | None:
        asked = space.http("PUT", uri, headers={"Content-Range": "bytes */500000"})
        return asked.headers.get("range")

    deadline = time.monotonic() + 10
    while known() != "bytes=0-299999" and time.monotonic() < deadline:
        time.sleep(0.01)
    line.close()
    assert known() == "bytes=0-299999"
    rest = {"Content-Range": "bytes 300000-499999/500000"}
    assert space.http("PUT", uri, data=data[300_000:], headers=rest).status_code == 200
    assert space.read("x", alt="media").content == data


def test_a_gap_in_a_resumable_upload_is_refused(space: Space) -> None:
    uri = begin(space)
    answer = space.http("PUT", uri, data=b"x" * 10, headers={"Content-Range": "bytes 5-14/15"})
    assert answer.status_code == 503


def test_gos_client_gets_its_308_in_a_header(space: Space) -> None:
    headers = {"Content-Range": "bytes 0-0/9", "X-GUploader-No-308": "yes"}
    answer = space.http("PUT", begin(space), data=b"x", headers=headers)
    assert (answer.status_code, answer.headers["x-http-status-code-override"]) == (200, "308")


def test_a_cancelled_or_week_old_upload_is_gone(space: Space) -> None:
    cancelled, old = begin(space), begin(space)
    assert space.http("DELETE", cancelled).status_code == 499
    space.cloud.advance(9 * DAY)
    for uri in (cancelled, old):
        assert space.http("PUT", uri, data=b"x").status_code == 404


def test_a_resumable_upload_that_loses_the_race_is_412_at_its_end(space: Space) -> None:
    uri = begin(space, ifGenerationMatch=0)
    space.put("x", b"first")
    assert space.http("PUT", uri, data=b"second").status_code == 412
    assert space.read("x", alt="media").text == "first"


@pytest.mark.usefixtures("no_faults")
def test_the_python_client_resumes_after_503(space: Space) -> None:
    data = os.urandom(1_000_000)
    rule = {"method": "storage.objects.insert", "code": 503, "skip": 2, "times": 1}
    before = struck(space)
    space.cloud.post("/faults", {"rules": [rule]})
    space.bucket.blob("x", chunk_size=262_144).upload_from_file(io.BytesIO(data))
    assert struck(space) == before + 1
    assert space.bucket.blob("x").download_as_bytes() == data


def test_a_large_content_is_never_held_in_memory(space: Space) -> None:
    def resident() -> int:
        status = Path(f"/proc/{space.cloud.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return int(found[1]) // 1024

    piece, before = os.urandom(1 << 20), resident()
    answer = space.http("PUT", begin(space), data=(piece for _ in range(100)))
    assert answer.json()["size"] == str(100 << 20)
    with space.http("GET", f"{HOST}/{space.name}/x", stream=True) as stream:
        digest = hashlib.md5()
        for data in stream.iter_content(1 << 20):
            digest.update(data)
    assert base64.b64encode(digest.digest()).decode() == answer.json()["md5Hash"]
    assert resident() - before < 30  # MiB


# ---- copies -------------------------------------------------------------------------------------


def test_a_rewrite_copies_content_and_metadata(space: Space) -> None:
    blob = space.bucket.blob("x")
    blob.metadata = {"k": "v"}
    blob.upload_from_string("content", content_type="text/x")
    copy = space.bucket.blob("y/z")
    assert copy.rewrite(blob)[0] is None
    copy.reload()
    assert (copy.content_type, copy.metadata, copy.md5_hash) == (
        "text/x",
        {"k": "v"},
        blob.md5_hash,
    )
    blob.delete()
    assert copy.download_as_bytes() == b"content"
    other = space.bucket.copy_blob(copy, space.bucket, "w")
    assert other.download_as_bytes() == b"content"


def test_a_composite_has_its_parts_in_order_and_no_md5(space: Space) -> None:
    parts = [space.bucket.blob(name) for name in "abc"]
    for part in parts:
        part.upload_from_string(part.name * 3)
    whole = space.bucket.blob("whole")
    whole.compose(parts)
    assert whole.download_as_bytes() == b"aaabbbccc"
    assert (whole.component_count, whole.md5_hash) == (3, None)
    crc = google_crc32c.Checksum(b"aaabbbccc").digest()
    assert whole.crc32c == base64.b64encode(crc).decode()
    with pytest.raises(exceptions.NotFound):
        space.bucket.blob("more").compose([space.bucket.blob("missing")])


# ---- permissions --------------------------------------------------------------------------------


def test_an_anonymous_call_is_401_and_a_strangers_403(space: Space) -> None:
    space.put("x")
    assert space.read("x", member=None).status_code == 401
    answer = space.read("x", member="user:stranger@example.com")
    assert answer.status_code == 403
    assert "storage.objects.get" in answer.json()["error"]["message"]


def test_a_creator_creates_and_nothing_else(space: Space) -> None:
    space.grant(SOMEBODY, "storage.objectCreator")
    assert space.put("x", member=SOMEBODY).status_code == 200
    overwrite = space.put("x", member=SOMEBODY)
    assert overwrite.status_code == 403
    assert "storage.objects.delete" in overwrite.json()["error"]["message"]
    assert space.put("x", member=SOMEBODY, ifGenerationMatch=0).status_code == 412
    assert space.read("x", member=SOMEBODY).status_code == 403
    assert space.http("DELETE", space.object("x"), member=SOMEBODY).status_code == 403
    assert space.http("PATCH", space.object("x"), json={}, member=SOMEBODY).status_code == 403
    assert space.get("/o", member=SOMEBODY).status_code == 403


@pytest.mark.usefixtures("no_faults")
def test_create_only_can_be_answered_by_403_as_well(space: Space) -> None:
    space.grant(SOMEBODY, "storage.objectCreator")
    space.cloud.post("/faults", {"rates": {"storage.create_only_403": 1.0}})
    assert space.put("x", member=SOMEBODY, ifGenerationMatch=0).status_code == 200
    answer = space.put("x", member=SOMEBODY, ifGenerationMatch=0)
    assert answer.status_code == 403
    assert "storage.objects.delete" in answer.json()["error"]["message"]
    # Who may delete gets 412 either way.
    assert space.put("x", ifGenerationMatch=0).status_code == 412


def test_without_list_a_missing_object_reads_as_403(space: Space) -> None:
    url = f"{HOST}/{space.name}/missing"
    space.grant(SOMEBODY, "storage.legacyObjectReader")
    assert space.read("missing", member=SOMEBODY).status_code == 403
    assert space.http("GET", url, member=SOMEBODY).status_code == 403
    space.grant(SOMEBODY, "storage.objectViewer")
    assert space.read("missing", member=SOMEBODY).status_code == 404
    assert space.http("GET", url, member=SOMEBODY).status_code == 404


def test_a_copy_needs_both_ends(space: Space) -> None:
    space.put("x")
    url = f"{space.object('x')}/rewriteTo/b/{space.name}/o/y"
    space.grant(SOMEBODY, "storage.objectCreator")
    assert space.http("POST", url, member=SOMEBODY).status_code == 403
    space.grant(SOMEBODY, "storage.legacyObjectReader")
    assert space.http("POST", url, member=SOMEBODY).status_code == 200
    assert space.http("POST", url, member=SOMEBODY).status_code == 403  # replacing y


def test_test_iam_permissions_tells_what_is_held(space: Space) -> None:
    space.grant(SOMEBODY, "storage.objectViewer")
    asked = ["storage.objects.get", "storage.objects.delete"]
    held = client_of(space.cloud, SOMEBODY).bucket(space.name).test_iam_permissions(asked)
    assert held == ["storage.objects.get"]


# ---- the XML API --------------------------------------------------------------------------------


def test_the_xml_api_reads(space: Space) -> None:
    meta = space.put(ODD, b"content").json()
    url = f"{HOST}/{space.name}/{quote(ODD)}"
    got = space.http("GET", url)
    assert got.content == b"content"
    assert got.headers["x-goog-generation"] == meta["generation"]
    assert f"crc32c={meta['crc32c']}" in got.headers["x-goog-hash"]
    head = space.http("HEAD", url)
    assert (head.headers["content-length"], head.content) == ("7", b"")
    wrong = space.http("GET", url, headers={"x-goog-if-generation-match": "1"})
    assert wrong.status_code == 412


@pytest.mark.parametrize(
    ("path", "code", "word"), [("{}/no", 404, "NoSuchKey"), ("no-{}/no", 404, "NoSuchBucket")]
)
def test_the_xml_api_errs_in_xml(space: Space, path: str, code: int, word: str) -> None:
    answer = space.http("GET", f"{HOST}/{path.format(space.name)}")
    assert answer.status_code == code
    assert f"<Code>{word}</Code>" in answer.text
    assert space.http("PUT", f"{HOST}/{space.name}/x").status_code == 501


# ---- notifications ------------------------------------------------------------------------------


class Bell:
    """A topic with a pull subscription that a bucket notifies."""

    def __init__(self, space: Space, fresh: str, **config: Any) -> None:
        self.space, self.http = space, space.http
        self.pubsub = "https://pubsub.googleapis.com/v1/"
        project = f"projects/{space.cloud.project}"
        self.topic, self.pull = f"{project}/topics/{fresh}", f"{project}/subscriptions/{fresh}"
        agent = space.client.get_service_account_email()
        self.agent = f"serviceAccount:{agent}"
        self.http("PUT", self.pubsub + self.topic, json={})
        self.http("PUT", self.pubsub + self.pull, json={"topic": self.topic})
        self.config = {"topic": self.topic, "payload_format": "JSON_API_V1"} | config

    def allow(self, present: bool = True) -> None:
        binding = {"resource": self.topic, "role": "roles/pubsub.publisher", "member": self.agent}
        self.space.cloud.post("/bindings", binding | {"present": present})

    def hang(self) -> requests.Response:
        return self.http("POST", self.space.url + "/notificationConfigs", json=self.config)

    def rung(self) -> list[dict[str, Any]]:
        """All messages so far, acknowledged."""
        body = {"maxMessages": 100, "returnImmediately": True}
        answer = self.http("POST", f"{self.pubsub}{self.pull}:pull", json=body).json()
        received = answer.get("receivedMessages", [])
        if received:
            ids = {"ackIds": [r["ackId"] for r in received]}
            self.http("POST", f"{self.pubsub}{self.pull}:acknowledge", json=ids)
        return [r["message"] for r in received]


@pytest.fixture
def bell(space: Space, fresh: str) -> Iterator[Bell]:
    bell = Bell(space, f"bell-{fresh}")
    yield bell
    for path in (bell.pull, bell.topic):
        bell.http("DELETE", bell.pubsub + path)


def test_a_notification_needs_the_agents_permission_and_the_topic(bell: Bell) -> None:
    assert bell.hang().status_code == 403
    bell.allow()
    made = bell.hang().json()
    assert made["topic"] == f"//pubsub.googleapis.com/{bell.topic}"
    listed = bell.space.get("/notificationConfigs").json()["items"]
    assert [c["id"] for c in listed] == [made["id"]]
    gone = bell.http("DELETE", f"{bell.space.url}/notificationConfigs/{made['id']}")
    assert gone.status_code == 204
    assert bell.space.get("/notificationConfigs").json()["items"] == []
    bell.config["topic"] += "-missing"
    assert bell.hang().status_code == 403


def test_a_finalized_object_is_announced_with_its_resource(bell: Bell) -> None:
    bell.allow()
    number = bell.hang().json()["id"]
    first, second = (bell.space.put(ODD, t).json() for t in (b"a", b"bb"))
    events = bell.rung()
    finalized = [m for m in events if m["attributes"]["eventType"] == "OBJECT_FINALIZE"]
    assert [json.loads(base64.b64decode(m["data"])) for m in finalized] == [first, second]
    attributes = finalized[1]["attributes"]
    assert attributes.pop("eventTime").endswith("Z")
    assert attributes == {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": bell.space.name,
        "objectId": ODD,
        "objectGeneration": second["generation"],
        "overwroteGeneration": first["generation"],
        "payloadFormat": "JSON_API_V1",
        "notificationConfig": f"projects/_/buckets/{bell.space.name}/notificationConfigs/{number}",
    }
    archived = [m for m in events if m["attributes"]["eventType"] == "OBJECT_ARCHIVE"]
    assert [m["attributes"]["objectGeneration"] for m in archived] == [first["generation"]]


def test_a_notification_is_limited_by_event_and_prefix(bell: Bell) -> None:
    bell.allow()
    bell.config |= {"event_types": ["OBJECT_FINALIZE"], "object_name_prefix": "in/"}
    bell.hang()
    for name in ("out/x", "in/x", "in/x"):
        bell.space.put(name)
    bell.space.http("PATCH", bell.space.object("in/x"), json={"metadata": {"a": "b"}})
    bell.space.http("DELETE", bell.space.object("in/x"))
    assert [m["attributes"]["objectId"] for m in bell.rung()] == ["in/x", "in/x"]


def test_copies_and_composites_are_finalized_too(bell: Bell) -> None:
    bell.allow()
    bell.hang()
    bell.space.put("x")
    blob = bell.space.bucket.blob("x")
    bell.space.bucket.blob("y").rewrite(blob)
    bell.space.bucket.blob("z").compose([blob])
    assert [m["attributes"]["objectId"] for m in bell.rung()] == ["x", "y", "z"]


def test_a_bucket_has_ten_notifications_an_event_and_a_hundred_in_all(bell: Bell) -> None:
    bell.allow()
    bell.config = bell.config | {"event_types": ["OBJECT_DELETE"]}
    assert [bell.hang().status_code for _ in range(11)] == [200] * 10 + [400]
    bell.config = bell.config | {"event_types": ["OBJECT_ARCHIVE"]}
    assert bell.hang().status_code == 200


@pytest.mark.usefixtures("no_faults")
def test_a_notification_may_come_twice(bell: Bell) -> None:
    bell.allow()
    bell.hang()
    bell.space.cloud.post("/faults", {"rates": {"storage.duplicate_notification": 1.0}})
    bell.space.put("x")
    twice = bell.rung()
    assert len(twice) == 2
    assert len({m["messageId"] for m in twice}) == 2


@pytest.mark.usefixtures("no_faults")
def test_an_unpublished_notification_comes_once_publishing_works(bell: Bell) -> None:
    bell.allow()
    bell.hang()
    bell.space.cloud.post(
        "/faults", {"rules": [{"method": "pubsub.projects.topics.publish", "times": 2}]}
    )
    bell.space.put("x")
    assert bell.rung() == []
    bell.space.cloud.advance(5)  # tries after 1 and 3 seconds
    assert [m["attributes"]["objectId"] for m in bell.rung()] == ["x"]
    bell.allow(False)
    bell.space.put("y")
    bell.space.cloud.advance(3600)
    assert bell.rung() == []
    bell.allow()
    bell.space.cloud.advance(600)
    assert [m["attributes"]["objectId"] for m in bell.rung()] == ["y"]


# ---- lifecycle ----------------------------------------------------------------------------------


def rule(condition: dict[str, Any], kind: str = "Delete", **action: Any) -> dict[str, Any]:
    return {"action": {"type": kind} | action, "condition": condition}


def test_lifecycle_deletes_by_age_and_prefix(space: Space) -> None:
    space.patch(lifecycle={"rule": [rule({"age": 31, "matchesPrefix": ["attempts/"]})]})
    for name in ("attempts/x", "files/x"):
        space.put(name)
    space.cloud.advance(30 * DAY)
    assert space.names() == ["attempts/x", "files/x"]
    space.cloud.advance(2 * DAY)  # rules are applied once a day
    assert space.names() == ["files/x"]


def test_lifecycle_deletes_what_has_been_noncurrent_for_long(space: Space) -> None:
    space.patch(lifecycle={"rule": [rule({"daysSinceNoncurrentTime": 3, "isLive": False})]})
    made = [space.put("x").json()["generation"] for _ in range(2)]
    space.cloud.advance(2 * DAY)
    assert space.generations("x") == made
    space.cloud.advance(2 * DAY)
    assert space.generations("x") == made[1:]


def test_lifecycle_changes_the_storage_class(space: Space) -> None:
    nearline = rule({"age": 1}, "SetStorageClass", storageClass="NEARLINE")
    space.patch(lifecycle={"rule": [nearline, rule({"age": 1}, "AbortIncompleteMultipartUpload")]})
    space.put("x")
    space.cloud.advance(2 * DAY)
    assert space.read("x").json()["storageClass"] == "NEARLINE"


# ---- other clients ------------------------------------------------------------------------------


def run(space: Space, *command: str, data: bytes = b"", member: str = OWNER) -> str:
    found = client(command[0])
    if not found:
        pytest.skip(f"{command[0]} is not installed")
    environ = os.environ | space.cloud.environ(member)
    done = subprocess.run(
        [*found, *command[1:]], env=environ, input=data, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_gsutil_copies_in_and_out_and_lists_versions(space: Space, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(9 << 20))  # resumable
    uri = f"gs://{space.name}/big.bin"
    space.put("big.bin")
    run(space, "gsutil", "cp", str(big), uri)
    listed = run(space, "gsutil", "ls", "-a", uri).split()
    assert listed == [f"{uri}#{g}" for g in space.generations("big.bin")]
    run(space, "gsutil", "cp", uri, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == big.read_bytes()


@pytest.mark.parametrize("command", [("gsutil", "cp"), ("gcloud", "storage", "cp")])
@pytest.mark.usefixtures("no_faults")
def test_an_upload_goes_on_where_it_broke_off(
    space: Space, tmp_path: Path, command: tuple[str, ...]
) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(9 << 20))
    # The first 4 MiB are kept, and the answer to them is an error.
    rule = {"method": "storage.objects.insert", "code": 503, "bytes": 4 << 20, "times": 1}
    before = struck(space)
    space.cloud.post("/faults", {"rules": [rule]})
    run(space, *command, str(big), f"gs://{space.name}/")
    assert struck(space) == before + 1
    assert space.read("big.bin", alt="media").content == big.read_bytes()
    lines = [line["params"] for line in space.cloud.journal("api") if line["code"] == 200]
    uploads = [p for p in lines if p.get("bucket") == space.name and "uploadType" in p]
    assert len([p for p in uploads if "upload_id" not in p]) == 1, "it was begun again"


def test_gsutil_compresses_streams_moves_and_removes(space: Space, tmp_path: Path) -> None:
    text = tmp_path / "x.txt"
    text.write_text("hello " * 1000)
    uri = f"gs://{space.name}/"
    run(space, "gsutil", "cp", "-z", "txt", str(text), uri)
    meta = space.read("x.txt").json()
    assert (meta["contentEncoding"], meta["contentType"]) == ("gzip", "text/plain")
    run(space, "gsutil", "cp", "-", f"{uri}streamed", data=b"from stdin")
    run(space, "gsutil", "mv", f"{uri}streamed", f"{uri}moved")
    assert run(space, "gsutil", "cat", f"{uri}moved") == "from stdin"
    assert "Content-Encoding:       gzip" in run(space, "gsutil", "stat", f"{uri}x.txt")
    run(space, "gsutil", "rsync", "-d", str(tmp_path), uri)
    assert space.names() == ["x.txt"]
    run(space, "gsutil", "rm", "-a", f"{uri}**")
    assert space.names(versions=True) == []


def test_gcloud_composes_what_it_uploads_in_parallel(space: Space, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        file.truncate(160 << 20)
    uri = f"gs://{space.name}/big.bin"
    run(space, "gcloud", "storage", "cp", str(big), uri)
    meta = space.read("big.bin").json()
    assert meta["size"] == str(160 << 20)
    assert meta["componentCount"] > 1
    parts = space.names(versions=True, prefix="gcloud/tmp/parallel_composite_uploads/")
    assert len(parts) == meta["componentCount"]


def test_gcloud_storage_works_on_objects_and_buckets(space: Space, tmp_path: Path) -> None:
    text = tmp_path / "x.txt"
    text.write_text("hello")
    uri = f"gs://{space.name}"
    odd = "a b/ü#%+.txt"
    run(space, "gcloud", "storage", "cp", str(text), f"{uri}/{odd}")
    assert run(space, "gcloud", "storage", "cat", f"{uri}/{odd}") == "hello"
    run(space, "gcloud", "storage", "mv", f"{uri}/{odd}", f"{uri}/moved")
    listed = run(space, "gcloud", "storage", "ls", "-a", f"{uri}/**").split("\n")
    assert f"{uri}/moved#{space.generations('moved')[0]}" in listed
    run(space, "gcloud", "storage", "rsync", "--recursive", str(tmp_path), f"{uri}/synced")
    describe = ("gcloud", "storage", "objects", "describe", "--format=value(size)")
    assert run(space, *describe, f"{uri}/synced/x.txt") == "5\n"
    run(space, "gcloud", "storage", "cp", "--gzip-local=txt", str(text), f"{uri}/packed.txt")
    assert space.read("packed.txt").json()["contentEncoding"] == "gzip"
    run(space, "gcloud", "storage", "rm", f"{uri}/moved")
    assert "moved" not in space.names()
    run(space, "gcloud", "storage", "rm", "--recursive", uri)
    assert space.get().status_code == 404


def test_terraform_keeps_its_state_and_its_lock(space: Space, tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(
        'terraform {\n  backend "gcs" {}\n}\noutput "x" {\n  value = 7\n}\n'
    )

    def terraform(*arguments: str) -> str:
        return run(space, "terraform", f"-chdir={tmp_path}", *arguments)

    config = [f"-backend-config=bucket={space.name}", "-backend-config=prefix=dev"]
    terraform("init", "-input=false", *config)
    terraform("apply", "-auto-approve", "-input=false")
    assert (
        json.loads(space.read("dev/default.tfstate", alt="media").text)["outputs"]["x"]["value"]
        == 7
    )
    assert space.names() == ["dev/default.tfstate"]  # the lock is gone
    assert terraform("output", "-raw", "x") == "7"
    lock = {"ID": "1", "Operation": "test", "Who": "somebody", "Created": "2026-11-21T00:00:00Z"}
    space.put("dev/default.tflock", json.dumps(lock).encode())
    with pytest.raises(AssertionError, match="Error acquiring the state lock"):
        terraform("plan", "-input=false")
