"""environments/showcase as it stands, applied once for all files here, and `make portal` beside it.

Root conftest.py gives the files of this folder to one worker; test_public.py, which opens the
environment to everybody, comes last.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.browser.conftest import big, browser, opened
from tests.localcloud.client import LocalCloud
from tests.localcloud.client.calls import call
from tests.localcloud.client.deployment import Deployment
from tests.localcloud.client.local import SHOWCASE, capabilities, start_front
from tests.portal.client import Client
from tests.system.pipeline import Pipeline

__all__ = ["big", "browser", "opened"]
PROCESSOR = "files-showcase-processor-default"
UPLOAD, STATUS = "files-showcase-upload", "files-showcase-status"
LONG = 700.0  # seconds: more than the longest back-off of push and queue


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
        """The name of the uploads, the results or the published bucket."""
        return f"{self.cloud.project}-files-{SHOWCASE}-{bucket}"

    def ended_of(self, file_id: str, owner: str) -> dict[str, Any]:
        """The last document of an owner's file, by asking."""
        while (told := self.status(file_id, f"?owner={owner}"))["status"] not in ("done", "failed"):
            time.sleep(0.1)
        return told

    def records(self, name: str) -> list[str]:
        """Of which kinds the records of the files of that name are."""
        assert self.pipeline
        records = self.pipeline.listing("manifests/") + self.pipeline.listing("failures/")
        return [record.split("/")[0] for record in records if f"/{name}/" in record]

    def stored(self, prefix: str = "uploads/") -> list[str]:
        """The names in the uploads bucket."""
        assert self.pipeline
        bucket = self.pipeline.uploads
        return [blob.name for blob in self.pipeline.client.list_blobs(bucket, prefix=prefix)]

    def pass_time(self, seconds: float) -> None:
        """Without what Cloud Scheduler would start meanwhile: an hour passes in a moment here."""
        api = "https://cloudscheduler.googleapis.com/v1/"
        at = f"{api}projects/{self.cloud.project}/locations/us-central1/jobs"
        jobs = [f"{api}{job['name']}" for job in call(self.cloud, "GET", at).json()["jobs"]]
        for job in jobs:
            call(self.cloud, "POST", f"{job}:pause", json={}).raise_for_status()
        self.cloud.advance(seconds)
        for job in jobs:
            call(self.cloud, "POST", f"{job}:resume", json={}).raise_for_status()

    def again(self) -> Client:
        """Another client, with connections of its own."""
        return Client(self.base)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == "test_public.py")


@pytest.fixture(scope="session")
def portal() -> Iterator[Portal]:
    with LocalCloud.start() as cloud:
        deployment = Deployment.prepare(cloud)
        deployment.make("bootstrap", "YES=1", f"CAPABILITIES={' '.join(capabilities())}")
        deployment.make("apply", f"ENV={SHOWCASE}", "YES=1")
        pid, address = start_front(deployment, "portal")
        yield Portal(address, pipeline=Pipeline.of(deployment, SHOWCASE))
        os.kill(pid, signal.SIGTERM)


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: no faults, everything up."""
    yield
    if "portal" in request.fixturenames:
        cloud = request.getfixturevalue("portal").cloud
        cloud.delete("/faults")
        for service in (PROCESSOR, UPLOAD, STATUS):
            cloud.post("/run/up", {"service": service})
