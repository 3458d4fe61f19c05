"""environments/dev with batch's call, applied once, and `make submit` beside it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.deployment import Deployment
from tests.system.pipeline import Pipeline

CALL = """
module "batch" {
  source   = "../../terraform/batch"
  pipeline = module.pipeline.interface

  priorities = {
    normal = { memory_mib = 2048 }
    urgent = { memory_mib = 2048 }
  }
}

output "batch" {
  value = {
    access       = module.batch.access
    submit       = module.batch.submit_url
    tasks_bucket = module.batch.tasks_bucket
  }
}
"""
WINDOW = 65.0  # seconds: the window of starts, and what a start lies ahead


@dataclass
class Batch:
    """The submit service as its clients reach it, and the environment behind it."""

    base: str
    pipeline: Pipeline
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.trust_env = False

    @property
    def cloud(self) -> Any:
        return self.pipeline.cloud

    def call(self, verb: str, path: str, **sent: Any) -> dict[str, Any]:
        answer = self.http.request(verb, self.base + path, timeout=120, **sent)
        assert answer.ok, answer.text
        return dict(answer.json())

    def ended(self, batch: str, seconds: float = 240) -> dict[str, Any]:
        """The batch's counts once nothing waits, however many windows that takes."""
        until = time.monotonic() + seconds
        while (counts := self.call("GET", f"/batches/{batch}"))["waiting"]:
            assert time.monotonic() < until, counts
            self.cloud.advance(WINDOW)
            time.sleep(0.5)  # executions run on real time
        return counts

    def task(self, task_id: str, seconds: float = 120) -> dict[str, Any]:
        """A task once it has its outcome."""
        until = time.monotonic() + seconds
        while (known := self.call("GET", f"/tasks/{task_id}"))["status"] == "waiting":
            assert time.monotonic() < until, known
            self.cloud.advance(WINDOW)
            time.sleep(0.5)
        return known


@pytest.fixture(scope="session")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batch]:
    with LocalCloud.start() as cloud:
        deployment = Deployment.prepare(cloud)
        deployment.make("bootstrap", "YES=1", "CAPABILITIES=batch")
        (deployment.checkout / "environments/dev/batch.tf").write_text(CALL)
        deployment.make("apply", "ENV=dev", "YES=1")
        record = tmp_path_factory.mktemp("batch") / "address"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "scripts.ops.portal", "--submit", "-e", "dev"),
                *("--port", "0", "--project", cloud.project, "--address-file", str(record)),
            ],
            cwd=deployment.checkout,
            env=deployment.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        while not record.exists() or not record.read_text():
            assert process.poll() is None, process.stdout and process.stdout.read()
            time.sleep(0.05)
        try:
            yield Batch(record.read_text(), Pipeline.of(deployment))
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(autouse=True)
def clean(batch: Batch) -> Iterator[None]:
    yield
    batch.cloud.delete("/faults")
