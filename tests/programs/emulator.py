"""The wire format of a push, by Google's own Pub/Sub emulator: `make test-emulator`.

Not part of `make check`: few machines have it (gcloud components install pubsub-emulator, Java).
Where it is missing these tests fail and say so.
"""

from __future__ import annotations

import base64
import json
import queue
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.system.pipeline import BRIDGE, Pipeline, events, jpeg


@dataclass
class Catcher:
    """A push endpoint: what it received, headers in lower case."""

    port: int
    received: queue.Queue[tuple[dict[str, str], dict[str, Any]]]


@contextmanager
def catcher() -> Iterator[Catcher]:
    caught: queue.Queue[tuple[dict[str, str], dict[str, Any]]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            caught.put(({k.lower(): v for k, v in self.headers.items()}, json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield Catcher(server.server_address[1], caught)
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """The emulator's REST address."""
    gcloud = shutil.which("gcloud")
    root = Path(gcloud).resolve().parents[1] if gcloud else Path("/nonexistent")
    program = root / "platform/pubsub-emulator/bin/cloud-pubsub-emulator"
    if not program.exists() or not shutil.which("java"):
        pytest.fail(f"did not run: it takes Java and the Pub/Sub emulator at {program}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [program, "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if "listening on" in line:
            break
    else:
        pytest.fail("did not run: " + "".join(said))
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield f"http://127.0.0.1:{port}/v1"
    process.send_signal(signal.SIGTERM)
    process.wait(10)


@dataclass
class Pushed:
    """One event, as the emulator and as the local cloud pushed it: (headers, body)."""

    subscription: dict[str, Any]
    emulator: tuple[dict[str, str], dict[str, Any]]
    local: tuple[dict[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def pushed(pipeline: Pipeline, emulator: str) -> Iterator[Pushed]:
    """The deployed subscription with another endpoint, in both; one event, published to both."""
    project = f"projects/{pipeline.cloud.project}"
    local = "https://pubsub.googleapis.com/v1"
    deployed = pipeline.call("GET", f"{local}/{project}/subscriptions/{BRIDGE}")
    name = "emulated/cat.jpg"
    pipeline.process(name, jpeg(64, 64))
    blob = pipeline.client.bucket(pipeline.uploads).get_blob(name)
    assert blob is not None
    message = {
        "data": base64.b64encode(json.dumps(blob._properties).encode()).decode(),
        "attributes": {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": pipeline.uploads,
            "objectId": name,
            "objectGeneration": str(blob.generation),
            "payloadFormat": "JSON_API_V1",
        },
    }
    topic, subscription = f"{project}/topics/copied", f"{project}/subscriptions/copied"
    dead = deployed["deadLetterPolicy"]["deadLetterTopic"]

    def call(verb: str, url: str, body: Any) -> None:
        if url.startswith(local):
            pipeline.call(verb, url, body)
        else:
            answer = requests.request(verb, url, json=body, timeout=30)
            assert answer.ok, answer.text

    caught = []
    for base, host in ((emulator, ""), (local, "catcher.example")):
        with catcher() as endpoint:
            if host:
                pipeline.cloud.post("/hosts", {"host": host, "port": endpoint.port})
            else:
                call("PUT", f"{base}/{dead}", {})
                call("PUT", f"{base}/{events(pipeline)}", {})
            url = f"https://{host}/" if host else f"http://127.0.0.1:{endpoint.port}/"
            push = deployed["pushConfig"] | {"pushEndpoint": url}
            kept = {k: v for k, v in deployed.items() if k not in ("name", "state", "topic")}
            call("PUT", f"{base}/{topic}", {})
            body = kept | {"topic": topic, "pushConfig": push}
            call("PUT", f"{base}/{subscription}", body)
            call("POST", f"{base}/{topic}:publish", {"messages": [message]})
            caught.append(endpoint.received.get(timeout=30))
    yield Pushed(deployed, *caught)
    for url in (f"{local}/{subscription}", f"{local}/{topic}"):
        pipeline.client._http.request("DELETE", url).raise_for_status()


def shape(value: Any) -> Any:
    """Keys and types."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return type(value).__name__


def test_both_push_bodies_have_the_same_shape(pushed: Pushed) -> None:
    """But for deliveryAttempt: Pub/Sub documents it, its emulator 0.8.20 leaves it out."""
    local = dict(pushed.local[1])
    assert local.pop("deliveryAttempt") == 1
    assert shape(local) == shape(pushed.emulator[1])


def test_both_carry_the_event_as_it_was_published(pushed: Pushed) -> None:
    emulated, local = pushed.emulator[1], pushed.local[1]
    for field in ("data", "attributes"):
        assert local["message"][field] == emulated["message"][field]
    assert local["subscription"] == emulated["subscription"]
    for headers, _ in (pushed.emulator, pushed.local):
        assert headers["content-type"].startswith("application/json")


def test_the_bridge_takes_what_the_emulator_pushed(pipeline: Pipeline, pushed: Pushed) -> None:
    """By a task to the bridge's own address, since only Google's services may call it."""
    body, push = pushed.emulator[1], pushed.subscription["pushConfig"]
    request = {
        "url": push["pushEndpoint"],
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "headers": {"Content-Type": "application/json"},
        "oidcToken": push["oidcToken"],
    }
    tasks = f"https://cloudtasks.googleapis.com/v2/{pipeline.outputs['queues']['default']}/tasks"
    pipeline.call("POST", tasks, {"task": {"httpRequest": request}})
    pipeline.settle()
    told = [
        line["payload"]
        for line in pipeline.cloud.journal("log")
        if line.get("service") == BRIDGE
        and isinstance(line["payload"], dict)
        and line["payload"].get("message_id") == body["message"]["messageId"]
    ]
    # The object's own event was first.
    assert [line["reason"] for line in told] == ["already_exists"]
