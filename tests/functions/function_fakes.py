"""Small stand-ins for the services that the functions talk to."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from requests import Request, Response
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "acme-files"
UPLOADS = "acme-files-files-dev-uploads"
RESULTS = "acme-files-files-dev-results"
QUEUE = f"projects/{PROJECT}/locations/us-central1/queues/files-dev-default-1a2b"

BRIDGE_ENV = {
    "PROJECT_ID": PROJECT,
    "ENVIRONMENT": "dev",
    "UPLOADS_BUCKET": UPLOADS,
    "RESULTS_BUCKET": RESULTS,
    "TASKS_INVOKER": f"files-dev-tasks-invoker@{PROJECT}.iam.gserviceaccount.com",
    "LANES": json.dumps(
        {
            "default": {
                "queue": QUEUE,
                "url": "https://files-dev-processor-default-abc-uc.a.run.app",
                "audience": "https://files-dev-processor-default-abc-uc.a.run.app",
                "dispatch_deadline_seconds": 600,
                "prefixes": [],
                "content_types": [],
                "records": True,
            }
        }
    ),
    "INCLUDE_PREFIXES": "[]",
    "EXCLUDE_PREFIXES": "[]",
    "HASH_OBJECT_NAMES": "false",
}


def lane(**changes: Any) -> dict[str, Any]:
    return json.loads(BRIDGE_ENV["LANES"])["default"] | changes


def resource(name: str = "cats/tom.jpg", **changes: Any) -> dict[str, Any]:
    """An object resource as Cloud Storage sends it."""
    return {
        "kind": "storage#object",
        "bucket": UPLOADS,
        "name": name,
        "generation": "1732000000000001",
        "size": "1234",
        "contentType": "image/jpeg",
        "crc32c": "AAAAAA==",
        "timeCreated": "2026-11-21T09:00:00.000Z",
        "metageneration": "1",
    } | changes


def push(
    resource: dict[str, Any], attributes: dict[str, str] | None = None, **message: Any
) -> dict[str, Any]:
    """The body of a Pub/Sub push that carries a notification of Cloud Storage."""
    return {
        "subscription": f"projects/{PROJECT}/subscriptions/files-dev-bridge",
        "deliveryAttempt": 1,
        "message": {
            "messageId": "12345",
            "publishTime": "2026-11-21T09:00:01.000Z",
            "attributes": {
                "eventType": "OBJECT_FINALIZE",
                "payloadFormat": "JSON_API_V1",
                "bucketId": str(resource.get("bucket")),
                "objectId": str(resource.get("name")),
                "objectGeneration": str(resource.get("generation")),
            }
            | (attributes or {}),
            "data": base64.b64encode(json.dumps(resource).encode()).decode(),
        }
        | message,
    }


class FakeTasks:
    """A queue that holds tasks by name; `fault` is raised instead of accepting one."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self.fault: Exception | None = None

    def create_task(self, request: dict[Any, Any], *, timeout: float) -> object:
        from google.api_core.exceptions import AlreadyExists
        from google.cloud.tasks_v2 import CreateTaskRequest

        CreateTaskRequest(request)  # the real message class: a misspelt field raises
        task = request["task"]
        if self.fault:
            raise self.fault
        if task["name"] in self.tasks:
            raise AlreadyExists("there", errors=[_Status("ALREADY_EXISTS")])
        self.tasks[task["name"]] = task
        return task


class _Status:
    """What a gRPC error carries."""

    def __init__(self, name: str) -> None:
        self.name = name

    def code(self) -> Any:
        import grpc

        return grpc.StatusCode[self.name]


# A lane's processor as Terraform declares it by default, and what these tests have otherwise.
_LANE = re.search(
    r"processor = optional\(object\(\{(.*?)\}\)",
    (ROOT / "terraform/pipeline/variables_lanes.tf").read_text("utf-8"),
    re.S,
)
assert _LANE
PROCESSOR_ENV = {
    name.upper(): default
    for name, default in re.findall(r'(\w+) += optional\(\w+, "?([^")]+)"?\)', _LANE[1])
} | {
    "KIND": "default",
    "PROJECT_ID": PROJECT,
    "ENVIRONMENT": "dev",
    "LANE": "default",
    "UPLOADS_BUCKET": UPLOADS,
    "RESULTS_BUCKET": RESULTS,
    "SOURCE_VERSION": "f" * 64,
    "MAX_ATTEMPTS": "3",
    "MAX_PIXELS": "100000000",
    "WORK_SECONDS": "240",
    "TASK_SECONDS": "604800",
    "MEMORY_BYTES": str(2 << 30),
    "CONCURRENCY": "4",
    "RENDITIONS": '{"thumbnail": {"width": 300, "height": 300}}',
    "HASH_OBJECT_NAMES": "false",
}


@dataclass
class Stored:
    data: bytes
    resource: dict[str, Any]


class FakeStorage:
    """Cloud Storage in the place of a Cloud: what a worker may do, and no more.

    results maps names to objects, requests holds "METHOD name" of each request. `fault` is called
    with that text first; it may return a status to answer with, or raise.
    """

    def __init__(self) -> None:
        self.uploads: dict[tuple[str, str], Stored] = {}
        self.results: dict[str, Stored] = {}
        self.requests: list[str] = []
        self.fault: Callable[[str], int | None] = lambda request: None
        self.lock = threading.Lock()
        self.refuse_overwrite = 412
        self.cut_after: int | None = None  # bytes after which a download breaks off, once

    def put(self, data: bytes, name: str = "cats/tom.jpg", **fields: Any) -> dict[str, Any]:
        """Uploads an object; gives its resource."""
        made = resource(name, **{"size": str(len(data)), "crc32c": checksum(data)} | fields)
        self.uploads[name, made["generation"]] = Stored(data, made)
        return made

    def request(
        self, method: str, path: str, headers: dict[str, str], body: Any = None
    ) -> HTTPResponse:
        sent = body if isinstance(body, bytes) else body.readall() if body else b""
        assert method == "GET" or len(sent) == int(headers["Content-Length"])
        return cast(HTTPResponse, self._respond(method, path, headers, sent).raw)

    def _respond(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        parts = urlsplit(path)
        query = dict(parse_qsl(parts.query))
        if method == "POST":
            head, content = self._multipart(headers, body)
            text = f"POST {head['name']}"
        else:
            bucket, _, name = parts.path.removeprefix("/download/storage/v1/b/").partition("/o/")
            assert bucket == UPLOADS
            name = unquote(name)
            text = f"GET {name} {headers.get('Range', 'all')}"
        with self.lock:
            self.requests.append(text)
        status = self.fault(text)
        if status:
            return _answer(status, b'{"error": {"message": "injected"}}')
        if method == "POST":
            assert parts.path == f"/upload/storage/v1/b/{RESULTS}/o"
            assert query["ifGenerationMatch"] == "0"
            return self._insert(head, content)
        return self._media(headers, self.uploads.get((name, query["generation"])))

    def _multipart(self, headers: dict[str, str], body: bytes) -> tuple[dict[str, Any], bytes]:
        boundary = headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
        _, first, second, end = body.split(b"--" + boundary)
        assert end.strip() == b"--"
        data = second.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        return json.loads(first.partition(b"\r\n\r\n")[2]), data

    def _insert(self, head: dict[str, Any], data: bytes) -> Response:
        assert head["crc32c"] == checksum(data)
        assert len(head["name"].encode()) <= 1024
        with self.lock:
            if head["name"] in self.results:
                message = b'{"error": {"message": "x does not have storage.objects.delete access"}}'
                return _answer(self.refuse_overwrite, message)
            self.results[head["name"]] = Stored(data, head)
        return _answer(200, b'{"generation": "1"}')

    def _media(self, asked: dict[str, str], found: Stored | None) -> Response:
        if found is None:
            return _answer(404, b"No such object")
        headers = {"X-Goog-Generation": found.resource["generation"]}
        if found.resource.get("contentEncoding"):
            assert "gzip" in asked["Accept-Encoding"]
            headers["Content-Encoding"] = found.resource["contentEncoding"]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.get("Range", ""))
        assert wanted, "each read says how much"
        start, end = int(wanted[1]), int(wanted[2] or len(found.data) - 1)
        if start >= len(found.data):
            return _answer(416, b"")
        piece = found.data[start : end + 1]
        headers["Content-Range"] = f"bytes {start}-{start + len(piece) - 1}/{len(found.data)}"
        headers["Content-Length"] = str(len(piece))
        cut, self.cut_after = self.cut_after, None
        return _answer(206, piece[:cut], headers)


def _answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    answer = Response()
    answer.status_code = status
    answer.headers = CaseInsensitiveDict(headers or {})
    answer.raw = HTTPResponse(
        io.BytesIO(body), headers or {}, status, preload_content=False, decode_content=False,
        enforce_content_length=True,
    )  # fmt: skip
    answer.request = Request("GET", "https://storage.googleapis.com/").prepare()
    return answer


def checksum(data: bytes) -> str:
    import google_crc32c

    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def task(resource: dict[str, Any], run: int = 0) -> dict[str, Any]:
    """The body that the bridge would make."""
    return {"object": resource, "run": run, "lane": "default"}


def load(function: str) -> tuple[Any, Any]:
    """The function's main module and a client that drives it as the framework does."""
    import functions_framework

    app = functions_framework.create_app(
        "handle", str(Path(__file__).parents[2] / "functions" / function / "main.py")
    )
    return sys.modules["main"], app.test_client()
