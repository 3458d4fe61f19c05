"""The function's own token, and the connections, against a server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import worker.storage
from common.identity import Work
from function_fakes import RESULTS, UPLOADS
from worker.errors import PermanentError, TransientError
from worker.storage import Identity, Storage, connections


class Server(HTTPServer):
    """Hands out tokens, and answers everything else with the statuses that a test lays down."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tokens = 0
        self.expires_in = 3600
        self.answers: list[int] = []
        self.seen: list[tuple[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path.endswith("/service-accounts/default/token"):
            assert self.headers["Metadata-Flavor"] == "Google"
            self.server.tokens += 1
            token = {
                "access_token": f"t{self.server.tokens}",
                "expires_in": self.server.expires_in,
            }
            return self._answer(200, json.dumps(token).encode())
        self.server.seen.append((self.path, self.headers["Authorization"]))
        return self._answer(self.server.answers.pop(0) if self.server.answers else 200, b"bytes")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
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
        monkeypatch.setenv("GCE_METADATA_HOST", made.url.removeprefix("http://"))
        monkeypatch.setattr(worker.storage, "HOST", made.url)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE"):
            monkeypatch.delenv(name, raising=False)
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def storage(server: Server) -> Storage:
    return Storage(connections(2), Identity(), RESULTS)


WORK = Work(UPLOADS, "ü #?%+/tom.jpg", "7")


def test_one_token_serves_until_shortly_before_it_expires(server: Server) -> None:
    identity = Identity()
    assert [identity.token() for _ in range(3)] == ["t1"] * 3
    server.expires_in = 200
    identity.forget()
    assert [identity.token() for _ in range(3)] == ["t2", "t3", "t4"]


def test_a_token_withdrawn_early_is_replaced(server: Server, storage: Storage) -> None:
    server.answers = [401]
    with pytest.raises(TransientError):
        storage.create("attempts/x/1", b"", "text/plain")
    assert storage.create("attempts/x/1", b"", "text/plain")
    assert [token for _, token in server.seen] == ["Bearer t1", "Bearer t2"]


def test_names_reach_cloud_storage_whole(server: Server, storage: Storage) -> None:
    source = storage.open(WORK, 5, whole=True)
    assert source.all(10).read() == b"bytes"
    ((path, _),) = server.seen
    assert path == (
        f"/storage/v1/b/{UPLOADS}/o/%C3%BC%20%23%3F%25%2B%2Ftom.jpg?alt=media&generation=7"
    )


def test_a_throttled_request_is_tried_again_before_it_costs_an_attempt(
    server: Server, storage: Storage
) -> None:
    server.answers = [503, 429]
    assert storage.create("manifests/x/1.json", b"{}", "application/json")
    assert len(server.seen) == 3


def test_a_throttled_service_is_not_pressed_for_ever(server: Server, storage: Storage) -> None:
    server.answers = [503] * 9
    with pytest.raises(TransientError):
        storage.open(WORK, 5, whole=True)
    assert len(server.seen) == 3


def test_gone_is_told_from_away(server: Server, storage: Storage) -> None:
    server.answers = [404]
    with pytest.raises(PermanentError) as gone:
        storage.open(WORK, 5, whole=True)
    assert gone.value.reason == "source_gone"
    server.answers = [403]
    with pytest.raises(TransientError):
        storage.open(WORK, 5, whole=True)


def test_no_metadata_server_is_storage_unavailable(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    monkeypatch.setattr("urllib3.util.Retry.DEFAULT", worker.storage.urllib3.Retry(0))
    with pytest.raises(TransientError) as fault:
        Storage(connections(1), Identity(), RESULTS).open(WORK, 5, whole=True)
    assert fault.value.reason == "storage_unavailable"


def test_an_answer_without_a_token_is_storage_unavailable(server: Server, storage: Storage) -> None:
    server.expires_in = "soon"  # type: ignore[assignment]
    with pytest.raises(TransientError) as fault:
        storage.open(WORK, 5, whole=True)
    assert fault.value.reason == "storage_unavailable"


def test_the_proxy_and_the_authorities_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", "/elsewhere/authorities.pem")
    made = connections(2)
    assert made.proxy is not None
    assert made.proxy.port == 9
    assert made.connection_pool_kw["ca_certs"] == "/elsewhere/authorities.pem"
