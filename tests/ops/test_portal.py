"""The portal's address on this machine: what it passes on, what it says, and what it refuses."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scripts.ops.portal import STORAGE, Portal, Target

FOREIGN = "is for this machine alone"
ANOTHER = "Another page's requests"


class Function(BaseHTTPRequestHandler):
    """A function that answers with what it was asked, and with addresses of its own."""

    asked: list[tuple[str, str, dict[str, str], bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        own = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.asked.append((self.command, self.path, dict(self.headers.items()), body))
        said = json.dumps({"next": f"{own}/files/1", "put": f"{STORAGE}/b/o?upload_id=1"}).encode()
        is_page = self.path == "/refused"
        self.send_response(403 if is_page else 200)
        self.send_header("Content-Type", "text/html" if is_page else "application/json")
        self.send_header("Location", f"{own}/files/1")
        self.send_header("Set-Cookie", "a=b")
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def portal() -> Iterator[Portal]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Function) as function:
        Function.asked.clear()
        base = f"http://127.0.0.1:{function.server_address[1]}"
        with Portal(Target(base, base), 0) as made:
            for server in (function, made):
                threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            yield made
            for server in (made, function):
                server.shutdown()


def ask(
    portal: Portal, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", portal.server_address[1], timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    if body is not None and "Content_Length" not in headers:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    said = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return said


def test_a_request_goes_on_and_its_answer_names_this_address(portal: Portal) -> None:
    status, headers, said = ask(
        portal, "/uploads?x=1", "POST", b"{}", Cookie="a=b", Referer="x", Authorization="Bearer t"
    )
    assert status == 200
    assert json.loads(said) == {
        "next": f"{portal.address}/files/1", "put": f"{portal.address}/storage/b/o?upload_id=1",
    }  # fmt: skip
    assert headers["Location"] == f"{portal.address}/files/1"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not {"Set-Cookie", "Access-Control-Allow-Origin"} & headers.keys()
    ((method, path, passed, body),) = Function.asked
    assert (method, path, body, passed["Authorization"]) == (
        "POST",
        "/uploads?x=1",
        b"{}",
        "Bearer t",
    )
    assert not {"Cookie", "Referer"} & passed.keys()


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"Host": "evil.example"}, 403, FOREIGN),  # DNS that was rebound to this machine
        ({"Host": "127.0.0.1"}, 403, FOREIGN),
        ({"Origin": "https://evil.example"}, 403, ANOTHER),
        ({"Origin": "null"}, 403, ANOTHER),
        ({"Sec_Fetch_Site": "cross-site"}, 403, ANOTHER),
        ({"Sec_Fetch_Site": "same-site"}, 403, ANOTHER),
        ({"Transfer_Encoding": "chunked"}, 411, "Content-Length"),
        ({"Content_Length": "-1"}, 400, "Content-Length"),
        ({"Content_Length": "x"}, 400, "Content-Length"),
    ],
)
def test_what_a_foreign_page_could_send_goes_nowhere(
    portal: Portal, headers: dict[str, str], status: int, words: str
) -> None:
    found, answered, said = ask(portal, "/uploads", "POST", **headers)
    assert (found, answered["Content-Type"]) == (status, "application/problem+json")
    assert words in json.loads(said)["detail"]
    assert Function.asked == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/storage/bucket/object", 404),  # without a key
        ("/storage/bucket/object?x=upload_id", 404),
        ("http://evil.example/x", 400),
    ],
)
def test_no_other_address_is_reached(portal: Portal, path: str, status: int) -> None:
    assert ask(portal, path, Host=portal.address.removeprefix("http://"))[0] == status
    assert Function.asked == []


def test_a_path_of_two_slashes_names_no_host(portal: Portal) -> None:
    assert ask(portal, "//evil.example/x")[0] == 200
    assert [path for _, path, _, _ in Function.asked] == ["/evil.example/x"]


def test_its_own_page_may_ask(portal: Portal) -> None:
    own = {"Origin": portal.address, "Sec_Fetch_Site": "same-origin"}
    assert ask(portal, "/files/photos-1", **own)[0] == 200
    assert ask(portal, "/", Sec_Fetch_Site="none")[0] == 200


def test_googles_page_of_refusal_becomes_a_sentence(portal: Portal) -> None:
    status, _, said = ask(portal, "/refused")
    assert status == 403
    assert "roles/run.invoker" in json.loads(said)["detail"]
