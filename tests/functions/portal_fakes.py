"""Small stand-ins for what upload and status talk to, and the two functions behind their fronts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from function_fakes import BRIDGE_ENV, PROJECT, RESULTS, UPLOADS, _answer, checksum, lane, load

PAGE = "https://shop.example"
STATUS_URL = "https://files-dev-status-abc-uc.a.run.app"
SESSION = "https://storage.googleapis.com/upload/storage/v1/b/x/o?upload_id=SECRET-SESSION"
UPLOAD_ENV = BRIDGE_ENV | {
    "ACCESS": '{"kind": "iam"}',
    "FOLDERS": json.dumps(
        {
            "photos": {"types": ["image/*"], "max_bytes": 1000},
            "any": {"types": ["*/*"], "max_bytes": 50_000_000},
        }
    ),
    "ORIGINS": json.dumps([PAGE]),
    "STATUS_URL": STATUS_URL,
    "LANES": json.dumps({"default": lane(), "quiet": lane(prefixes=["any/quiet/"], records=False)}),
    "EXCLUDE_PREFIXES": '["any/drafts/"]',
}
PUBLISHED = "published"
STATUS_ENV = {
    "PROJECT_ID": PROJECT,
    "RESULTS_BUCKET": RESULTS,
    "HASH_OBJECT_NAMES": "false",
    "MAX_STREAMS": "2",
    "PUBLISHED_BUCKET": "-",
    "SIGNER": f"files-dev-status@{PROJECT}.iam.gserviceaccount.com",
    "STREAM_SECONDS": "300",
    "ACCESS": '{"kind": "iam"}',
}


class FakeBuckets:
    """Cloud Storage in the place of a session: what upload may do, and what status may.

    uploads: name → resource of what was created, or begun as a session. results: name → bytes.
    published: name → bytes in the bucket of what is published.
    requests: "METHOD name". fault: called with that; a status to answer with, or it raises.
    """

    is_mtls = False

    def __init__(self) -> None:
        self.uploads: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, bytes] = {}
        self.results: dict[str, bytes] = {}
        self.published: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.fault: Callable[[str], int | None] = lambda request: None
        self.says = "injected"
        self.lock = threading.Lock()

    def client(self) -> Any:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        return Client(PROJECT, credentials=AnonymousCredentials(), _http=self)

    def request(self, method: str, url: str, **sent: Any) -> Any:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        headers = {k.lower(): v for k, v in (sent.get("headers") or {}).items()}
        name = unquote(parts.path.rpartition("/o/")[2]) if "/o/" in parts.path else ""
        text = f"{method} {name or query.get('prefix') or query.get('uploadType', '')}"
        with self.lock:
            self.requests.append(text)
        if status := self.fault(text):
            return _answer(status, json.dumps({"error": {"message": self.says}}).encode())
        if method == "PUT":  # the bytes of the session that began last
            name, resource = list(self.uploads.items())[-1]
            self.stored[name] = sent["data"]
            return _json({"name": resource["name"], "crc32c": checksum(sent["data"])})
        if method == "POST":
            assert parts.path == f"/upload/storage/v1/b/{UPLOADS}/o"
            assert query["ifGenerationMatch"] == "0"
            return self._create(query["uploadType"], headers, sent["data"])
        if "prefix" in query:
            assert parts.path == f"/storage/v1/b/{RESULTS}/o"
            names = sorted(n for n in self.results if n.startswith(query["prefix"]))
            return _json({"items": [{"name": n} for n in names]})
        there = self.published if f"/b/{PUBLISHED}/" in parts.path else self.results
        if name in there:
            return _answer(200, there[name])
        return _answer(404, b"No such object")

    def _create(self, kind: str, headers: dict[str, Any], data: Any) -> Any:
        if kind == "resumable":
            resource = json.loads(data)
            self.uploads[resource["name"]] = resource | {"headers": headers}
            return _answer(200, b"", {"Location": SESSION})
        boundary = _text(headers["content-type"]).partition("boundary=")[2].strip('"').encode()
        _, first, second, _ = data.split(b"--" + boundary)
        resource = json.loads(first.partition(b"\r\n\r\n")[2])
        if resource["name"] in self.uploads:
            return _answer(412, b"{}")
        self.uploads[resource["name"]] = resource
        content = second.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        self.stored[resource["name"]] = content
        return _json({"generation": "1"})


def _json(body: Any) -> Any:
    return _answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class Front:
    """One of the two functions, with a fake of Cloud Storage at its back."""

    signing: Any = None  # what signs for status

    def __init__(self, monkeypatch: Any, name: str, env: dict[str, str]) -> None:
        self.main, self.http = load(name)
        self.cloud = FakeBuckets()
        self._monkeypatch, self._name, self._env = monkeypatch, name, env
        for module in ("upload.storage", "status.records"):
            monkeypatch.setattr(f"{module}.RETRY_SECONDS", 0.001)
        self.configure()

    def configure(self, verify: Any = None, **changes: str) -> None:
        from runtime.logs import Log
        from web.access import Callers

        config = self.main.Config.from_env(self._env | changes)
        callers, log = Callers(config.access, verify), Log(config.project_id, False)
        if self._name == "upload":
            storage = self.main.Storage(self.cloud.client, config.uploads_bucket)
            rules = self.main.rules(self._env | changes)
            site = self.main.site(self.main.Upload(config, rules, callers, storage, log))
        else:
            buckets = config.results_bucket, config.published_bucket
            records = self.main.Records(self.cloud.client, *buckets)
            signer = self.main.Signer(self.cloud.client, config.results_bucket, config.signer)
            self.places = self.main.Places(config.max_streams)
            self.status = self.main.Status(config, callers, records, signer, self.places, log)
            site = self.status.site()
        self._monkeypatch.setattr(self.main, "here", lambda: site)

    def offer(self, headers: dict[str, str] | None = None, **fields: Any) -> Any:
        """POST /files of a small photo, with other fields."""
        body = {"name": "tom.jpg", "size": 10, "contentType": "image/jpeg", "folder": "photos"}
        return self.http.post("/files", json=body | fields, headers=headers or {})
