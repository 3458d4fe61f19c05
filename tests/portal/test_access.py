"""Who may do what: the two accounts' bindings, callers of the functions, and of make portal."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.localcloud.client.calls import call
from tests.localcloud.client.local import SHOWCASE
from tests.permissions.tools import Watch, account, granted, made_by, withheld
from tests.portal.conftest import STATUS, UPLOAD, Portal
from tests.system.pipeline import jpeg

STORAGE = "https://storage.googleapis.com"
UPLOADER, TELLER = "showcase-upload", "showcase-status"
OBJECT_CREATOR, VIEWER = "roles/storage.objectCreator", "roles/storage.objectViewer"
SIGNER = "roles/iam.serviceAccountTokenCreator"


def objects(portal: Portal, bucket: str, name: str = "") -> str:
    base = f"{STORAGE}/storage/v1/b/{portal.outputs_of(bucket)}/o"
    return f"{base}/{quote(name, safe='')}" if name else base


def create(portal: Portal, member: str, name: str, bucket: str = "uploads") -> int:
    url = f"{STORAGE}/upload/storage/v1/b/{portal.outputs_of(bucket)}/o"
    query = {"uploadType": "media", "name": name, "ifGenerationMatch": "0"}
    return call(portal.cloud, "POST", url, member, params=query, data=b"x").status_code


# Sufficient is what test_portal.py shows. Necessary:


def test_the_module_grants_four_bindings_and_no_more(portal: Portal) -> None:
    project = portal.cloud.project
    upload, status = account(portal.cloud, UPLOADER), account(portal.cloud, TELLER)
    assert made_by(portal.pipeline.deployment, SHOWCASE, "portal") == {
        (f"{project}-files-showcase-uploads", OBJECT_CREATOR, upload),
        (f"{project}-files-showcase-results", VIEWER, status),
        (f"{project}-files-showcase-published", VIEWER, status),
        (status.partition(":")[2], SIGNER, status),
    }


def test_all_that_the_showcase_and_bootstrap_bind_is_told_with_its_reason(portal: Portal) -> None:
    told = [
        grant
        for environment in ("bootstrap", SHOWCASE)
        for grant in portal.pipeline.deployment.outputs(environment)["grants"]
    ]
    bound = [
        f"{member} {role} {resource}"
        for resource, role, member, _ in portal.cloud.get("/bindings")
        # The owner was there before; Cloud Storage writes its own into each new bucket's policy.
        if role != "roles/owner" and not member.startswith("project")
    ]
    assert sorted(grant.partition(": ")[0] for grant in told) == sorted(bound)


def binding(portal: Portal, role: str, name: str, on: str = "") -> list[Any]:
    """on: how the resource's name ends."""
    held = [role, account(portal.cloud, name)]
    (found,) = [r for r in portal.cloud.get("/bindings") if r[1:3] == held and r[0].endswith(on)]
    return list(found)


def test_without_its_binding_nothing_can_be_uploaded(portal: Portal) -> None:
    watch = Watch(portal.cloud)
    with withheld(portal.cloud, binding(portal, OBJECT_CREATOR, UPLOADER)):
        answer = portal.offer("refused.jpg", 4)
        assert (answer.status_code, answer.json()["reason"]) == (502, "refused_upstream")
        assert watch.lines(kind="api", code=403, says="storage.objects.create")
    assert portal.offer("taken.jpg", 4).status_code == 201


@pytest.mark.parametrize("bucket", ["results", "published"])
def test_without_its_binding_nothing_can_be_told(portal: Portal, bucket: str) -> None:
    file_id = portal.upload("told.jpg", jpeg(32, 32))
    portal.ended(file_id)
    with withheld(portal.cloud, binding(portal, VIEWER, TELLER, bucket)):
        answer = portal.http.get(f"{portal.base}/files/{file_id}", timeout=60)
        assert (answer.status_code, answer.json()["reason"]) == (502, "refused_upstream")
    assert portal.status(file_id)["status"] == "done"


def test_without_its_binding_no_output_can_be_signed(portal: Portal) -> None:
    file_id = portal.upload("unsigned.jpg", jpeg(32, 32))
    portal.pipeline.settle()
    watch = Watch(portal.cloud)
    with withheld(portal.cloud, binding(portal, SIGNER, TELLER)):
        answer = portal.http.get(f"{portal.base}/files/{file_id}", timeout=60)
        assert answer.status_code in (502, 503)
        assert watch.lines(kind="api", code=403, says="signBlob")
    assert portal.status(file_id)["outputs"]


# Narrow


def test_upload_can_read_nothing_and_write_nowhere_else(portal: Portal) -> None:
    file_id = portal.upload("secret.jpg", jpeg(32, 32))
    portal.ended(file_id)
    me = account(portal.cloud, UPLOADER)
    (name,) = [one for one in portal.stored() if file_id[-32:] in one]
    for bucket, what in (("uploads", name), ("uploads", ""), ("results", "")):
        assert call(portal.cloud, "GET", objects(portal, bucket, what), me).status_code == 403
    media = {"params": {"alt": "media"}}
    assert (
        call(portal.cloud, "GET", objects(portal, "uploads", name), me, **media).status_code == 403
    )
    assert call(portal.cloud, "DELETE", objects(portal, "uploads", name), me).status_code == 403
    assert create(portal, me, "uploads/-/x/y") == 200
    for elsewhere in ("photos/x", "uploads", "uploads-b/x", "/uploads/x", "x/uploads/y"):
        assert create(portal, me, elsewhere) == 403, elsewhere
    assert create(portal, me, "uploads/x", "results") == 403
    assert create(portal, me, name) in (403, 412)  # nothing is replaced


def test_status_cannot_read_uploads_and_write_nothing(portal: Portal) -> None:
    portal.ended(portal.upload("mine.jpg", jpeg(32, 32)))
    me = account(portal.cloud, TELLER)
    assert call(portal.cloud, "GET", objects(portal, "results"), me).status_code == 200
    assert call(portal.cloud, "GET", objects(portal, "uploads"), me).status_code == 403
    for bucket in ("uploads", "results", "published"):
        assert create(portal, me, "uploads/x", bucket) == 403
    (name, *_) = portal.pipeline.listing("manifests/")
    assert call(portal.cloud, "DELETE", objects(portal, "results", name), me).status_code == 403
    sign = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"
    other = account(portal.cloud, UPLOADER).partition(":")[2]
    answer = call(portal.cloud, "POST", f"{sign}/{other}:signBlob", me, json={"payload": "eA=="})
    assert answer.status_code == 403


# Callers of the functions


def functions(portal: Portal) -> list[str]:
    outputs = portal.outputs
    return [f"{outputs['upload']}/health", f"{outputs['status']}/files/uploads-{'0' * 32}"]


def test_nobody_calls_a_function_without_a_token_for_it(portal: Portal) -> None:
    stranger = "serviceAccount:stranger@example.iam.gserviceaccount.com"
    for url in functions(portal):
        assert call(portal.cloud, "GET", url, None).status_code == 403
        for member, audience in ((stranger, url), (account(portal.cloud, UPLOADER), url)):
            origin = "{0.scheme}://{0.netloc}".format(urlsplit(audience))
            body = {"email": member.partition(":")[2], "audience": origin}
            token = portal.cloud.post("/oidc", body)["token"]
            headers = {"Authorization": f"Bearer {token}"}
            assert call(portal.cloud, "GET", url, None, headers=headers).status_code == 403
        for token in ("x.y.z", portal.cloud.token()):
            headers = {"Authorization": f"Bearer {token}"}
            assert call(portal.cloud, "GET", url, None, headers=headers).status_code == 401


def test_a_caller_needs_run_invoker_and_nothing_else(portal: Portal) -> None:
    """As `callers` of the module hold it."""
    member = "serviceAccount:caller@example.iam.gserviceaccount.com"
    services = [row[0] for row in portal.cloud.get("/bindings") if row[1] == "roles/run.invoker"]
    (bridge,) = [one for one in services if one.endswith("-bridge")]
    for url, name in zip(functions(portal), (UPLOAD, STATUS), strict=True):
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        body = {"email": member.partition(":")[2], "audience": origin}
        headers = {"Authorization": f"Bearer {portal.cloud.post('/oidc', body)['token']}"}
        binding = [f"{bridge.rpartition('/')[0]}/{name}", "roles/run.invoker", member, None]
        assert call(portal.cloud, "GET", url, None, headers=headers).status_code == 403
        with granted(portal.cloud, binding):
            assert call(portal.cloud, "GET", url, None, headers=headers).status_code == 200


def test_an_authorization_beside_the_checked_one_is_no_identity(portal: Portal) -> None:
    file_id = portal.upload("whose.jpg", jpeg(32, 32), owner="customer-7")
    portal.ended_of(file_id, "customer-7")
    forged = {"Authorization": "Bearer e30.eyJzdWIiOiJjdXN0b21lci03In0.x"}
    told = portal.http.get(f"{portal.base}/files/{file_id}", headers=forged, timeout=60).json()
    assert told["status"] == "waiting"
    assert portal.status(file_id, "?owner=customer-8")["status"] == "waiting"
    assert portal.status(file_id, "?owner=customer-7")["status"] == "done"


# make portal


def ask(portal: Portal, path: str = "/health", verb: str = "GET", **headers: str) -> Any:
    parts = urlsplit(portal.base)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(verb, path, skip_host="Host" in given)
    for name, value in given.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.body = answer.read()
    connection.close()
    return answer


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8137"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
def test_what_a_foreign_page_could_send_goes_nowhere(
    portal: Portal, headers: dict[str, str]
) -> None:
    watch = Watch(portal.cloud)
    for verb in ("GET", "POST", "OPTIONS"):
        answer = ask(portal, "/files" if verb == "POST" else "/health", verb, **headers)
        assert answer.status == 403
        assert answer.getheader("Access-Control-Allow-Origin") is None
    assert watch.lines(kind="run.request") == []


def test_its_own_page_is_served(portal: Portal) -> None:
    host = urlsplit(portal.base).netloc
    answer = ask(portal, Host=host, Origin=portal.base, Sec_Fetch_Site="same-origin")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})
    assert ask(portal, Sec_Fetch_Site="none").status == 200


def test_it_listens_on_loopback_alone(portal: Portal) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        outside = probe.getsockname()[0]
    if outside.startswith("127."):
        pytest.skip("NOT RUN: this machine has no address but loopback")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((outside, urlsplit(portal.base).port), timeout=5)


@pytest.mark.parametrize(
    "path",
    [
        "/storage/storage/v1/b",
        "/storage/{bucket}/x?alt=media",
        "/storage/storage/v1/b/{bucket}/o?upload_idx=1",
        "//storage.googleapis.com/x?upload_id=1",
    ],
)
def test_only_addresses_that_are_keys_reach_cloud_storage(portal: Portal, path: str) -> None:
    watch = Watch(portal.cloud)
    answer = ask(portal, path.format(bucket=portal.outputs_of("uploads")))
    assert answer.status in (400, 404)
    assert watch.lines(kind="api") == []


def test_the_operator_s_login_is_never_sent_to_cloud_storage(portal: Portal) -> None:
    """A false session is refused as anybody's: nothing of the operator's goes with it."""
    url = f"/storage/upload/storage/v1/b/{portal.outputs_of('uploads')}/o"
    url += "?uploadType=resumable&upload_id=x"
    answer = ask(portal, url, "PUT", Content_Length="0", Authorization="Bearer x")
    assert answer.status in (401, 403, 404, 410)
    place = f"/storage/{portal.outputs_of('results')}/x?X-Goog-Signature=00"
    assert ask(portal, place).status in (400, 401, 403)


def test_what_comes_from_cloud_storage_cannot_run_as_the_page(portal: Portal) -> None:
    (output,) = portal.ended(portal.upload("shown.jpg", jpeg(64, 64)))["outputs"]
    headers = portal.http.get(output["url"], timeout=60).headers
    assert "sandbox" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("kind", "data"),
    [("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>"),
     ("text/html", b"<script>alert(1)</script>")],
)  # fmt: skip
def test_svg_and_html_are_described_and_shown_nowhere(
    portal: Portal, kind: str, data: bytes
) -> None:
    told = portal.ended(portal.upload("page", data, kind))
    assert told["status"] == "done"
    for output in told["outputs"]:
        assert "response-content-disposition=attachment" in output["url"]


def instance(portal: Portal) -> tuple[tuple[str, int], int]:
    """The address of an instance of upload itself, behind all that is Google's; its threads."""
    (one, *_) = portal.cloud.post("/run/instances", {"service": UPLOAD})
    pairs = Path(f"/proc/{one['pid']}/environ").read_text().rstrip("\0").split("\0")
    environ = dict(pair.split("=", 1) for pair in pairs)
    return ("127.0.0.1", int(environ["PORT"])), int(environ["THREADS"])


BEGINS = {
    "/files": (b"application/json", b'{"name": "'),
    "/upload": (
        b"multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n',
    ),
}


def begun(address: tuple[str, int], path: str, length: bytes) -> socket.socket:
    """A request whose body has begun."""
    kind, begins = BEGINS[path]
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n%s\r\n\r\n"
    made = socket.create_connection(address, timeout=30)
    made.sendall(head % (path.encode(), kind, length))
    made.sendall(begins if b"Length" in length else b"%x\r\n%s\r\n" % (len(begins), begins))
    return made


@pytest.mark.parametrize(("path", "most"), [("/files", 16), ("/upload", 64)])
def test_an_endless_body_is_cut_off_by_the_function_itself(
    portal: Portal, path: str, most: int
) -> None:
    """most: MiB, with what lies in the sockets' buffers."""
    address, _ = instance(portal)
    endless, sent = begun(address, path, b"Transfer-Encoding: chunked"), 0
    piece = b"100000\r\n%s\r\n" % bytes(1 << 20)
    with endless, contextlib.suppress(ConnectionError):
        while sent < 100:
            endless.sendall(piece)
            sent += 1
    assert sent <= most
    (one, *_) = portal.cloud.post("/run/instances", {"service": UPLOAD})
    assert one["memory"] < 400 << 20


def test_slow_bodies_take_an_instance_s_places_until_they_end(portal: Portal) -> None:
    """Cloud Run sends an instance no more requests at once than it has threads."""
    address, threads = instance(portal)

    def health(seconds: float) -> int:
        connection = http.client.HTTPConnection(*address, timeout=seconds)
        connection.request("GET", "/health")
        return connection.getresponse().status

    slow = [begun(address, "/upload", b"Content-Length: 9999") for _ in range(threads - 1)]
    assert health(30) == 200
    slow.append(begun(address, "/upload", b"Content-Length: 9999"))
    with pytest.raises(TimeoutError):
        health(0.5)
    for one in slow:
        one.close()  # as Cloud Run does at upload's timeout_seconds
    assert health(30) == 200


def test_a_slow_body_holds_up_nobody_else(portal: Portal) -> None:
    parts = urlsplit(portal.base)
    slow = [socket.create_connection((parts.hostname, parts.port)) for _ in range(20)]
    for one in slow:
        head = f"POST /upload HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 100000\r\n"
        one.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b")
    assert portal.http.get(f"{portal.base}/health", timeout=10).status_code == 200
    assert portal.offer("quick.jpg", 4).status_code == 201
    for one in slow:
        one.close()


def test_no_binding_names_everybody(portal: Portal) -> None:
    assert not [row for row in portal.cloud.get("/bindings") if str(row[2]).startswith("all")]


def test_the_doctor_finds_the_portal_as_declared(portal: Portal) -> None:
    deployment = portal.pipeline.deployment
    command = (sys.executable, "-m", "scripts.ops", "-e", SHOWCASE)
    done = deployment.run(*command, "--project", portal.cloud.project, "doctor", check=False)
    assert done.returncode == 0, done.stdout
    assert "origins of the portal" in done.stdout
