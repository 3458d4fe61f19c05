"""A server of Google's REST shapes that is just enough for the stand-in's own tests.

It keeps what it is sent by path, and notes each call. The tests that prove the stand-in against a
cloud with rules of its own are in tests/system.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

OPERATIONS = (
    *("cloudfunctions", "artifactregistry", "workloadIdentityPools", "nable"),
    *("/run.", "/workflows."),
)


class Fake:
    """`store` holds resources by path, `calls` the calls as (method, path, query, body)."""

    def __init__(self) -> None:
        self.store: dict[str, dict[str, Any]] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, dict[str, str], Any]] = []
        self.faults: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self.url = ""
        self._lock = threading.Lock()

    def fail(self, method: str, path: str, code: int, message: str) -> None:
        """The next call of this kind fails."""
        self.faults.setdefault((method, path), []).append((code, message))

    def changes(self) -> list[str]:
        """The calls that change something, in short, since the last time this was asked."""
        found = [f"{m} {p}" for m, p, *_ in self.calls if m != "GET" and "getIam" not in p]
        self.calls.clear()
        return found

    def answer(self, method: str, url: str, raw: bytes) -> tuple[int, Any]:
        parts = urlsplit(url)
        host, _, path = unquote(parts.path).lstrip("/").partition("/")
        path = re.sub(r"^(upload/)?(storage/|compute/)?v\d/", "", path)
        query = {k: v for k, v in parse_qsl(parts.query) if k not in ("alt", "prettyPrint")}
        upload = query.get("uploadType")
        body = json.loads(raw) if raw and not upload else None
        with self._lock:
            self.calls.append((method, path, query, raw if upload else body))
            if self.faults.get((method, path)):
                code, message = self.faults[method, path].pop(0)
                return code, {"error": {"code": code, "message": message, "status": "FAULT"}}
            if upload:
                return self._upload(path, query["name"], raw)
            if re.search(r"etIamPolicy$|^b/[^/]+/iam$", path):
                return self._policy(method, path, body)
            return self._resource(method, host, path, query, body)

    def _upload(self, path: str, name: str, raw: bytes) -> tuple[int, Any]:
        boundary = raw.split(b"\r\n", 1)[0]
        about, content = (p.split(b"\r\n\r\n", 1)[1] for p in raw.split(boundary)[1:3])
        md5 = base64.b64encode(hashlib.md5(content[:-2]).digest()).decode()
        made = json.loads(about) | {"name": name, "md5Hash": md5, "generation": "1", "crc32c": "x"}
        made["id"] = f"{path}/{name}/1"
        self.store[f"{path}/{name}"] = made
        return 200, made

    def _policy(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        of = re.sub(r":?(/iam|[gs]etIamPolicy)$", "", path)
        policy = self.policies.setdefault(of, {"etag": "0"})
        if method == "PUT" or path.endswith("setIamPolicy"):
            new = body if method == "PUT" else body["policy"]
            if new.get("etag", policy["etag"]) != policy["etag"]:
                return 409, {"error": {"code": 409, "message": "the policy has changed"}}
            self.policies[of] = new | {"etag": str(int(policy["etag"]) + 1)}
        return 200, self.policies[of]

    def _resource(
        self, method: str, host: str, path: str, query: dict[str, str], body: Any
    ) -> tuple[int, Any]:
        if path.startswith("operations/"):
            return 200, {"name": path, "done": True}
        if method == "POST" and ":" not in path:
            path, body = self._named(path, query, body)
        if path.endswith(("Enable", ":enable")):
            for name in (body or {}).get("serviceIds", [path.split("/")[-1].split(":")[0]]):
                full = "/".join([*path.split("/")[:2], "services", name])
                self.store[full] = {"name": full, "state": "ENABLED"}
        elif method == "GET" and path.endswith(("/services", "/o")):
            key = "services" if path.endswith("/services") else "items"
            return 200, {key: [v for k, v in self.store.items() if k.startswith(path + "/")]}
        elif match := re.fullmatch(r"(.+):(pause|resume)", path):
            state = {"pause": "PAUSED", "resume": "ENABLED"}[match[2]]
            self.store[match[1]]["state"] = state
        elif path.endswith(":listAttestationRules"):
            return 200, {}
        elif re.fullmatch(r"projects/[^/]+", path):
            return 200, {"projectId": "p", "projectNumber": "7", "lifecycleState": "ACTIVE"}
        elif method in ("POST", "PUT", "PATCH"):
            old = self.store.get(path, {}) if method == "PATCH" else {"name": path}
            new = body.get("topic", body.get("subscription", body.get("serviceAccount", body)))
            new = new if isinstance(new, dict) else body
            merged = old | {key: value for key, value in new.items() if value is not None}
            self.store[path] = {
                k: v for k, v in merged.items() if k not in new or new[k] is not None
            }
        elif path not in self.store:
            return 404, {"error": {"code": 404, "message": f"{path} not found"}}
        elif method == "DELETE":
            del self.store[path]
            self.policies.pop(path, None)
        if method != "GET" and any(word in f"/{host}/{path}" for word in OPERATIONS):
            return 200, {"name": "operations/1"}
        return 200, self.store.get(path, {})

    def _named(self, path: str, query: dict[str, str], body: Any) -> tuple[str, Any]:
        """Path and content of what is created in a collection."""
        if path == "b":
            name = body["name"]
            extra = {"id": name, "projectNumber": "7", "softDeletePolicy": {}}
            body = extra | body | {"location": body["location"].upper()}
            return f"b/{name}", body
        if path.endswith("notificationConfigs"):
            return f"{path}/1", body | {
                "id": "1",
                "topic": "//pubsub.googleapis.com/" + body["topic"],
            }
        if path.endswith("serviceAccounts"):
            email = f"{body['accountId']}@{path.split('/')[1]}.iam.gserviceaccount.com"
            made = {"name": f"{path}/{email}", "email": email, "uniqueId": "1", "projectId": "p"}
            return f"{path}/{email}", {"serviceAccount": body["serviceAccount"] | made}
        last = body.get("name") or next(
            (v for k, v in query.items() if k.lower().endswith("id")), "1"
        )
        name = last if last.startswith("projects/") else f"{path}/{last}"
        body = dict(body, state="ACTIVE")
        if path.endswith("roles"):
            return f"{path}/{body['roleId']}", body["role"] | {"name": f"{path}/{body['roleId']}"}
        if path.endswith("metrics"):
            return f"{path}/{last}", body
        if path.endswith("functions"):
            body["serviceConfig"] |= {"uri": "https://f.run.app", "service": "s"}
        return name, body | {"name": name}


@contextmanager
def running() -> Iterator[Fake]:
    """A fake that serves; its `url` is the endpoint for the stand-in."""
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    raw += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            code, body = fake.answer(self.command, self.path, raw)
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
