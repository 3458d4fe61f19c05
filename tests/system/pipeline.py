"""An applied environment, as the system tests see it: uploads in, records out."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.cloud import storage
from PIL import Image

from tests.localcloud.client.calls import owners_storage
from tests.localcloud.client.deployment import Deployment

BRIDGE, PROCESSOR = "files-dev-bridge", "files-dev-processor-default"


@dataclass
class Pipeline:
    """An applied environment and a storage client of its owner."""

    deployment: Deployment
    outputs: dict[str, Any]
    client: storage.Client

    @classmethod
    def of(cls, deployment: Deployment, environment: str = "dev") -> Pipeline:
        client = owners_storage(deployment.cloud)
        return cls(deployment, deployment.outputs(environment), client)

    @property
    def cloud(self) -> Any:
        return self.deployment.cloud

    @property
    def uploads(self) -> str:
        return str(self.outputs["uploads_bucket"])

    @property
    def results(self) -> str:
        return str(self.outputs["results_bucket"])

    def upload(self, name: str, data: bytes, content_type: str = "image/jpeg", **meta: Any) -> int:
        """Uploads an object as its owner would; returns its generation."""
        blob = self.client.bucket(self.uploads).blob(name)
        for key, value in meta.items():
            setattr(blob, key, value)
        blob.upload_from_string(data, content_type=content_type)
        return int(blob.generation)

    def process(self, name: str, data: bytes, content_type: str = "image/jpeg", **meta: Any) -> int:
        """Uploads, and waits until nothing is under way any more."""
        generation = self.upload(name, data, content_type, **meta)
        self.settle()
        return generation

    def settle(self, horizon: float = 1.0, timeout: float = 60) -> None:
        self.cloud.idle(horizon=horizon, timeout=timeout)

    def call(self, verb: str, url: str, body: Any = None) -> dict[str, Any]:
        """One call of a Google API as the owner."""
        answer = self.client._http.request(verb, url, json=body, timeout=60)
        answer.raise_for_status()
        return dict(answer.json())

    def publish(self, messages: list[dict[str, Any]]) -> None:
        """To the topic of the uploads' events, as Cloud Storage would."""
        topic = f"https://pubsub.googleapis.com/v1/{events(self)}"
        self.call("POST", f"{topic}:publish", {"messages": messages})

    def dead_letters(self) -> list[dict[str, Any]]:
        """Takes what waits as a dead letter (at most 1,000): messages as they are published."""
        name = self.outputs["dead_letter_subscription"].rpartition("/")[2]
        base = (
            f"https://pubsub.googleapis.com/v1/projects/{self.cloud.project}/subscriptions/{name}"
        )
        request = {"maxMessages": 1000, "returnImmediately": True}
        received = self.call("POST", f"{base}:pull", request).get("receivedMessages", [])
        if received:
            ids = [one["ackId"] for one in received]
            self.call("POST", f"{base}:acknowledge", {"ackIds": ids})
        messages = [one["message"] for one in received]
        return [{k: m[k] for k in ("data", "attributes") if k in m} for m in messages]

    def tasks(self, lane: str = "default") -> list[str]:
        """Names of the tasks that wait (at most 1,000)."""
        url = f"https://cloudtasks.googleapis.com/v2/{self.outputs['queues'][lane]}/tasks"
        waiting = self.call("GET", f"{url}?pageSize=1000").get("tasks", [])
        return [str(one["name"]) for one in waiting]

    def listing(self, prefix: str = "") -> list[str]:
        blobs = self.client.list_blobs(self.results, prefix=prefix)
        return [str(blob.name) for blob in blobs]

    def read(self, name: str) -> bytes:
        return bytes(self.client.bucket(self.results).blob(name).download_as_bytes())

    def manifest(self, name: str, generation: int, run: int = 0) -> dict[str, Any] | None:
        return self._record("manifests", name, generation, run)

    def failure(self, name: str, generation: int, run: int = 0) -> dict[str, Any] | None:
        return self._record("failures", name, generation, run)

    def _record(self, kind: str, name: str, generation: int, run: int) -> dict[str, Any] | None:
        key = f"{name}/{generation}" + (f"-{run}" if run else "")
        names = self.listing(f"{kind}/{key}.json")
        return dict(json.loads(self.read(names[0]))) if names else None

    def attempts(self, name: str, generation: int) -> list[str]:
        return self.listing(f"attempts/{name}/{generation}/")

    def task_id(self, name: str, generation: int, run: int = 0) -> str:
        identity = f"{self.uploads}/{name}#{generation}/{run}"
        return hashlib.sha256(identity.encode()).hexdigest()

    def dispatches(self, name: str, generation: int, run: int = 0) -> list[dict[str, Any]]:
        """Journal lines of the attempts to run one identity's task."""
        task = self.task_id(name, generation, run)
        return [line for line in self.cloud.journal("tasks.attempt") if line["task"] == task]

    def deliveries(self, kind: str, name: str) -> list[dict[str, Any]]:
        """Journal lines of a kind that concern one object."""
        return [line for line in self.cloud.journal(kind) if line.get("object") == name]


def jpeg(width: int = 640, height: int = 480, orientation: int | None = None) -> bytes:
    """A picture whose left half is red and whose right half is blue, stored as JPEG."""
    image = Image.new("RGB", (width, height), (220, 30, 30))
    image.paste((30, 30, 220), (width // 2, 0, width, height))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92, exif=exif)
    return out.getvalue()


def pdf() -> bytes:
    """A document of one page, with a picture and no text."""
    out = io.BytesIO()
    Image.new("RGB", (200, 200), (220, 30, 30)).save(out, "PDF")
    return out.getvalue()


def events(pipeline: Pipeline) -> str:
    """The full name of the topic that carries the uploads' events."""
    return f"projects/{pipeline.cloud.project}/topics/files-dev-uploads"


def until(condition: Callable[[], Any], seconds: float = 120) -> None:
    """Waits for what no event of the local cloud announces."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
