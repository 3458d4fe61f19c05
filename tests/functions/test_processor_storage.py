"""The library as it is set up here, against a server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from function_fakes import PROJECT, RESULTS, UPLOADS
from google.auth.exceptions import DefaultCredentialsError, TransportError
from google.cloud.storage import Client
from google.oauth2.credentials import Credentials

from contract.identity import Work
from processor.errors import PermanentError, TransientError
from processor.storage import Storage


class Server(HTTPServer):
    """Answers with the statuses that a test lays down; hands out tokens, too."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tokens = 0
        self.answers: list[int] = []
        self.seen: list[tuple[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def token(self, *_: object, **__: object) -> tuple[str, datetime]:
        self.tokens += 1
        return f"t{self.tokens}", datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["Authorization"]))
        return self._answer(self.server.answers.pop(0) if self.server.answers else 200, b"{}")

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
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE"):
            monkeypatch.delenv(name, raising=False)
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def storage(server: Server) -> Storage:
    credentials = Credentials(None, refresh_handler=server.token)  # type: ignore[no-untyped-call]
    client = Client(PROJECT, credentials, client_options={"api_endpoint": server.url})  # type: ignore[no-untyped-call]
    return Storage(lambda: client, RESULTS)


WORK = Work(UPLOADS, "ü #?%+/tom.jpg", "7")


def test_a_token_withdrawn_early_is_replaced(server: Server, storage: Storage) -> None:
    server.answers = [401]
    assert storage.create("attempts/x/1", b"", "text/plain")
    assert [token for _, token in server.seen] == ["Bearer t1", "Bearer t2"]


def test_names_reach_cloud_storage_whole(server: Server, storage: Storage) -> None:
    source = storage.open(WORK, 5)
    assert source.all(10).read() == b"{}"
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
    with pytest.raises(TransientError):
        storage.open(WORK, 5)
    assert 1 < len(server.seen) < 20


def test_gone_is_told_from_away(server: Server, storage: Storage) -> None:
    server.answers = [404]
    with pytest.raises(PermanentError) as gone:
        storage.open(WORK, 5)
    assert gone.value.reason == "source_gone"
    server.answers = [403]
    with pytest.raises(TransientError):
        storage.open(WORK, 5)


def test_no_token_is_storage_unavailable(
    server: Server, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TransportError("no metadata server")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(Credentials, "refresh", refuse)
    with pytest.raises(TransientError) as fault:
        storage.open(WORK, 5)
    assert fault.value.reason == "storage_unavailable"


def test_no_credentials_at_all_are_storage_unavailable() -> None:
    def none() -> Client:
        raise DefaultCredentialsError("none")  # type: ignore[no-untyped-call]

    with pytest.raises(TransientError) as fault:
        Storage(none, RESULTS).open(WORK, 5)
    assert fault.value.reason == "storage_unavailable"
