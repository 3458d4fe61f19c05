"""The processor's requests to Cloud Storage, against a server on loopback."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3
from function_fakes import RESULTS, UPLOADS, checksum

from contract.identity import Work
from processor import cloud
from processor.cloud import Cloud
from processor.errors import PermanentError, TransientError
from processor.headers import HEAD_BYTES
from processor.storage import WHOLE_BYTES, Storage


class Server(ThreadingHTTPServer):
    """Answers with the statuses that a test lays down; hands out tokens, and ranges of a file."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.file = b""
        self.breaks: list[int] = []  # so many bytes, and the connection ends
        self.ranges: list[str] = []
        self.connections: set[tuple[str, int]] = set()  # on which ranges were asked for
        self.tokens = 0
        self.lifetime = 3600
        self.token_status = 200
        self.answers: list[int] = []
        self.seen: list[tuple[str, str]] = []
        self.bodies: list[tuple[str, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def token(self) -> bytes:
        self.tokens += 1
        return json.dumps(
            {"access_token": f"t{self.tokens}", "expires_in": self.lifetime, "token_type": "Bearer"}
        ).encode()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/computeMetadata/"):
            assert self.headers["Metadata-Flavor"] == "Google"
            status = self.server.token_status
            return self._answer(status, self.server.token() if status == 200 else b"{}")
        self.server.seen.append((self.path, self.headers["Authorization"]))
        if self.server.file:
            return self._give_range()
        return self._answer(self.server.answers.pop(0) if self.server.answers else 200, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append((self.headers["Content-Type"], body))
        self.do_GET()

    def _give_range(self) -> None:
        asked = self.headers["Range"].removeprefix("bytes=")
        first, last = map(int, asked.split("-"))
        self.server.ranges.append(asked)
        self.server.connections.add(self.client_address)
        body = self.server.file[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.close_connection = bool(self.server.breaks)
        self.wfile.write(body[: self.server.breaks.pop()] if self.server.breaks else body)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *parts: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GCE_METADATA_HOST", made.url.removeprefix("http://"))
        monkeypatch.setattr(cloud, "_RETRIES", cloud._RETRIES.new(backoff_factor=0.001))
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def storage(server: Server) -> Storage:
    return Storage(Cloud(host=server.url), RESULTS)


WORK = Work(UPLOADS, "ü #?%+/tom.jpg", "7")


def create(storage: Storage) -> bool:
    return storage.create("attempts/x/1", b"", "text/plain")


def test_a_token_withdrawn_early_is_replaced(server: Server, storage: Storage) -> None:
    server.answers = [401]
    assert create(storage)
    assert [token for _, token in server.seen] == ["Bearer t1", "Bearer t2"]


def test_a_token_serves_until_it_is_about_to_end(server: Server, storage: Storage) -> None:
    assert create(storage)
    assert create(storage)
    assert server.tokens == 1
    server.lifetime = 240  # seconds: those in which the metadata server has a new one
    short = Storage(Cloud(host=server.url), RESULTS)
    assert create(short)
    assert create(short)
    assert server.tokens == 3


def test_whoever_is_refused_for_good_is_told_so(server: Server, storage: Storage) -> None:
    server.answers = [401, 401]
    with pytest.raises(TransientError) as fault:
        create(storage)
    assert fault.value.reason == "storage_unavailable"
    assert "401" in fault.value.detail


def test_a_token_is_sent_nowhere_else(server: Server, storage: Storage) -> None:
    server.answers = [302]
    with pytest.raises(TransientError):
        create(storage)
    assert "/elsewhere" not in {path for path, _ in server.seen}


def test_names_reach_cloud_storage_whole(server: Server, storage: Storage) -> None:
    content = storage.open(WORK, 5)
    assert content.all(10).read() == b"{}"
    ((path, _),) = server.seen
    assert path == (
        f"/download/storage/v1/b/{UPLOADS}/o/%C3%BC%20%23%3F%25%2B%2Ftom.jpg?alt=media&generation=7"
    )


def test_a_throttled_request_is_tried_again_before_it_costs_an_attempt(
    server: Server, storage: Storage
) -> None:
    server.answers = [503, 429]
    assert storage.create("manifests/x/1.json", b"{}", "application/json")
    assert len(server.seen) == 3


def test_a_throttled_service_is_not_pressed_for_ever(server: Server, storage: Storage) -> None:
    server.answers = [503] * 99
    with pytest.raises(TransientError) as fault:
        storage.open(WORK, 5)
    assert "answered 503" in fault.value.detail
    assert len(server.seen) == 4


def test_retries_take_two_seconds_and_no_more() -> None:
    retries, waited = cloud._RETRIES, 0.0
    for _ in range(3):
        retries = retries.increment("GET", "/", urllib3.HTTPResponse(status=503))
        waited += retries.get_backoff_time()
    assert retries.total == 0
    assert 1 < waited < 2.5


def test_gone_is_told_from_away(server: Server, storage: Storage) -> None:
    server.answers = [404]
    with pytest.raises(PermanentError) as gone:
        storage.open(WORK, 5)
    assert gone.value.reason == "source_gone"
    server.answers = [403]
    with pytest.raises(TransientError):
        storage.open(WORK, 5)


@pytest.mark.parametrize("status", [200, 404])
def test_no_token_is_storage_unavailable(
    server: Server, storage: Storage, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token_status = status
    monkeypatch.setattr(server, "token", lambda: b'{"error": "none"}')
    with pytest.raises(TransientError) as fault:
        storage.open(WORK, 5)
    assert fault.value.reason == "storage_unavailable"
    assert not server.seen


def test_no_metadata_server_is_storage_unavailable(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    monkeypatch.setattr(urllib3.Retry, "DEFAULT", urllib3.Retry(0))
    with pytest.raises(TransientError) as fault:
        Storage(Cloud(host=server.url), RESULTS).open(WORK, 5)
    assert fault.value.reason == "storage_unavailable"


SMALL, LARGE = 3_000_000, WHOLE_BYTES + 1


@pytest.mark.parametrize("size", [SMALL, WHOLE_BYTES])
def test_a_file_of_a_photo_s_size_is_asked_for_once(
    server: Server, storage: Storage, size: int
) -> None:
    server.file = os.urandom(size)
    with closing(storage.open(WORK, size)) as content:
        assert content.head == server.file[:HEAD_BYTES]
        assert content.all(size).getvalue() == server.file
        content.verify(checksum(server.file))
    assert server.ranges == [f"0-{size - 1}"]


@pytest.mark.parametrize("told", [LARGE, None, 10])
def test_of_another_the_head_alone_is_asked_for_first(
    server: Server, storage: Storage, told: int | None
) -> None:
    """Also where its size is unknown, or another one than the task says."""
    server.file = os.urandom(LARGE)
    with closing(storage.open(WORK, told)) as content:
        assert server.ranges == [f"0-{HEAD_BYTES - 1}"]
        assert content.all(LARGE).getvalue() == server.file
        content.verify(checksum(server.file))


@pytest.mark.parametrize("at", [0, 1000, HEAD_BYTES, 2_000_000])
def test_what_breaks_off_goes_on_where_it_broke(server: Server, storage: Storage, at: int) -> None:
    server.file, server.breaks = os.urandom(SMALL), [at]
    with closing(storage.open(WORK, SMALL)) as content:
        assert content.all(SMALL).getvalue() == server.file
        content.verify(checksum(server.file))
    assert len(server.ranges) == 2
    assert int(server.ranges[1].partition("-")[0]) <= at


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_what_is_read_in_part_keeps_its_connection(
    server: Server, storage: Storage, size: int
) -> None:
    server.file = os.urandom(size)
    for _ in range(3):
        storage.open(WORK, size).close()
    assert len(server.connections) == 1


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_an_output_arrives_whole_however_often_it_is_sent(
    server: Server, storage: Storage, size: int
) -> None:
    """A large one is not copied, but sent from where it is; it may hold whatever a file may."""
    data = (b"\r\n--boundary--\r\n" * (size // 16 + 1))[:size]
    server.answers = [401, 503]
    assert storage.create("files/x", memoryview(data), "text/plain", cache_control="private")
    assert len(server.bodies) == 3
    assert len({body for _, body in server.bodies}) == 1  # its boundary, too
    kind, body = server.bodies[-1]
    boundary = kind.partition("boundary=")[2].encode()
    _, head, content, end = body.split(b"--" + boundary)
    assert content == b"\r\nContent-Type: text/plain\r\n\r\n" + data + b"\r\n"
    assert json.loads(head.partition(b"\r\n\r\n")[2]) == {
        "name": "files/x", "contentType": "text/plain", "cacheControl": "private",
        "crc32c": checksum(data),
    }  # fmt: skip
    assert end == b"--\r\n"
