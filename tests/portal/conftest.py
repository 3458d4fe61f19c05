"""environments/dev with the portal's call, applied once, and `make portal` beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.deployment import Deployment
from tests.system.pipeline import Pipeline

PROCESSOR = "files-dev-processor-default"
UPLOAD, STATUS = "files-dev-upload", "files-dev-status"
# As environments/showcase has it, beside the pipeline's own call.
CALL = """
module "portal" {
  source   = "../../terraform/portal"
  pipeline = module.pipeline.interface
}

output "portal" {
  value = {
    access = module.portal.access
    status = module.portal.status_url
    upload = module.portal.upload_url
  }
}
"""
LONG = 700.0  # seconds: more than the longest back-off of push and queue


@dataclass
class Client:
    """What a client of the portal does, at the address that make portal serves."""

    base: str
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.trust_env = False

    def offer(self, name: str, size: int, kind: str = "image/jpeg", **more: Any) -> Any:
        headers = more.pop("headers", {})
        body = {"name": name, "size": size, "contentType": kind} | more
        return self.http.post(f"{self.base}/files", json=body, headers=headers, timeout=60)

    def send(self, url: str, data: bytes) -> requests.Response:
        return self.http.put(url, data=data, timeout=120)

    def upload(self, name: str, data: bytes, kind: str = "image/jpeg", **more: Any) -> str:
        """Offers and sends a file; its file_id."""
        accepted = self.offer(name, len(data), kind, **more)
        assert accepted.status_code == 201, accepted.text
        assert self.send(accepted.json()["upload"]["url"], data).status_code == 200
        return str(accepted.json()["file_id"])

    def status(self, file_id: str, query: str = "") -> dict[str, Any]:
        answer = self.http.get(f"{self.base}/files/{file_id}{query}", timeout=60)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def events(self, *file_ids: str) -> Iterator[dict[str, Any]]:
        """The documents of one stream, as they come."""
        ask = [("file_id", one) for one in file_ids]
        with self.http.get(f"{self.base}/events", params=ask, stream=True, timeout=60) as answer:
            assert answer.status_code == 200, answer.text
            for line in answer.iter_lines(chunk_size=1):
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def ended(self, file_id: str) -> dict[str, Any]:
        """Its last document, by as many streams as it takes."""
        while True:
            for told in self.events(file_id):
                if told["status"] in ("done", "failed"):
                    return told


@dataclass
class Portal(Client):
    """The client, and the environment behind it."""

    pipeline: Pipeline | None = None

    @property
    def cloud(self) -> Any:
        assert self.pipeline
        return self.pipeline.cloud

    @property
    def outputs(self) -> dict[str, str]:
        assert self.pipeline
        return dict(self.pipeline.outputs["portal"])

    def outputs_of(self, bucket: str) -> str:
        """The name of the uploads or the results bucket."""
        assert self.pipeline
        return str(self.pipeline.outputs[f"{bucket}_bucket"])

    def ended_of(self, file_id: str, owner: str) -> dict[str, Any]:
        """The last document of an owner's file, by asking."""
        while (told := self.status(file_id, f"?owner={owner}"))["status"] not in ("done", "failed"):
            time.sleep(0.1)
        return told

    def stored(self, prefix: str = "uploads/") -> list[str]:
        """The names in the uploads bucket."""
        assert self.pipeline
        bucket = self.pipeline.uploads
        return [blob.name for blob in self.pipeline.client.list_blobs(bucket, prefix=prefix)]

    def again(self) -> Client:
        """Another client, with connections of its own."""
        return Client(self.base)


def listening(deployment: Deployment, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    record = folder / "address"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "scripts.ops.portal", "-e", "dev", "--port", "0"),
            *("--project", deployment.cloud.project, "--address-file", str(record)),
        ],
        cwd=deployment.checkout,
        env=deployment.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while not record.exists() or not record.read_text():
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.05)
    return process, record.read_text()


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    with LocalCloud.start() as cloud:
        deployment = Deployment.prepare(cloud)
        deployment.make("bootstrap", "YES=1", "CAPABILITIES=portal")
        (deployment.checkout / "environments/dev/portal.tf").write_text(CALL)
        deployment.make("apply", "ENV=dev", "YES=1")
        process, address = listening(deployment, tmp_path_factory.mktemp("portal"))
        try:
            yield Portal(address, pipeline=Pipeline.of(deployment))
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: no faults, everything up."""
    yield
    if "portal" in request.fixturenames:
        cloud = request.getfixturevalue("portal").cloud
        cloud.delete("/faults")
        for service in (PROCESSOR, UPLOAD, STATUS):
            cloud.post("/run/up", {"service": service})
