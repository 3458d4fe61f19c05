"""environments/dev with batch's call and a type of task of our own, and `make submit` beside it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.deployment import Deployment
from tests.system.operating import Operator
from tests.system.pipeline import Pipeline
from tests.system.watched import Watched

CALL = """
module "batch" {
  source   = "../../terraform/batch"
  pipeline = module.pipeline.interface

  priorities = {
    normal = { memory_mib = 2048, task_seconds = 60 }
    urgent = { memory_mib = 2048, task_seconds = 60 }
  }

  schedules = {
    nightly = {
      cron      = "30 2 * * *"
      task      = jsonencode({ task_type = "errand" })
      time_zone = "UTC"
    }
  }
}

output "batch" {
  value = {
    access       = module.batch.access
    grants       = module.batch.grants
    submit       = module.batch.submit_url
    tasks_bucket = module.batch.tasks_bucket
  }
}
"""
WATCHED = 'module "pipeline" {\n  monitoring = { enabled = true }\n}\n'
# As docs/batch.md says how a type of one's own is made: a handler, and a line in TYPES.
HANDLER = """
import os

def handle(task, request):
    match request["does"]:
        case "raise":
            raise ValueError("as asked")
        case "eat":
            os.kept = b"x" * (8 << 30)
        case "crash":
            os.abort()
    return {"status": "done"}
"""
TYPE = '    "errand": lambda fields: {"does": fields.get("does", "nothing")},\n'
RUN = "https://run.googleapis.com/v2"
WINDOW = 65.0  # seconds: the window of starts, and what a start lies ahead
NORMAL, URGENT = "files-dev-worker-normal", "files-dev-worker-urgent"


@dataclass
class Batch(Watched):
    """The submit service as its clients reach it, and the environment behind it."""

    base: str = ""
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.trust_env = False

    def submitted(self, verb: str, path: str, **sent: Any) -> dict[str, Any]:
        """An answer of the submit service."""
        answer = self.http.request(verb, self.base + path, timeout=120, **sent)
        assert answer.ok, answer.text
        return dict(answer.json())

    @property
    def place(self) -> str:
        return f"projects/{self.cloud.project}/locations/us-central1"

    @property
    def tasks_bucket(self) -> str:
        return str(self.outputs["batch"]["tasks_bucket"])

    def later(self) -> str:
        """A time that comes soon."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now + WINDOW))

    def workers(self) -> list[dict[str, Any]]:
        """The processes of jobs that run now."""
        return list(self.cloud.post("/run/tasks"))

    def until(self, holds: Any, seconds: float = 120) -> Any:
        """Lets time pass whenever no worker runs, until something holds."""
        until = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < until, holds
            if not self.workers():
                self.cloud.advance(WINDOW)
            time.sleep(0.2)  # executions run on real time
        return found

    def quiet(self) -> None:
        """Ends the executions that run: each gives back what it holds."""
        while running := self.workers():
            for name in {(one["job"], one["execution"]) for one in running}:
                url = f"{RUN}/{self.place}/jobs/{name[0]}/executions/{name[1]}:cancel"
                self.call("POST", url, {})
            time.sleep(0.3)

    def counts(self, batch: str) -> dict[str, Any]:
        return self.submitted("GET", f"/batches/{batch}")

    def ended(self, batch: str, seconds: float = 240) -> dict[str, Any]:
        """The batch's counts once nothing waits."""
        self.until(lambda: not self.counts(batch)["waiting"], seconds)
        return self.counts(batch)

    def task(self, task_id: str, seconds: float = 120) -> dict[str, Any]:
        """A task once it has its outcome."""
        shown = self.until(lambda: self._ended(task_id), seconds)
        return dict(shown)

    def _ended(self, task_id: str) -> dict[str, Any] | None:
        known = self.submitted("GET", f"/tasks/{task_id}")
        return None if known["status"] == "waiting" else known


def lines(count: int, **task: object) -> str:
    """NDJSON of tasks that differ in their keys."""
    wanted = {"task_type": "errand"} | task
    return "\n".join(json.dumps(wanted | {"key": str(n)}) for n in range(count))


def add_errands(functions: Path) -> None:
    tasks = functions / "batch/tasks.py"
    text = tasks.read_text()
    opening = "TYPES: dict[str, Callable[[Fields], dict[str, Any]]] = {\n"
    assert opening in text
    tasks.write_text(text.replace(opening, opening + TYPE))
    (functions / "worker/worker/handlers/errand.py").write_text(HANDLER)


@contextlib.contextmanager
def deployed(watched: bool = True) -> Iterator[Batch]:
    with LocalCloud.start() as cloud, contextlib.ExitStack() as stack:
        deployment = Deployment.prepare(cloud)
        add_errands(deployment.checkout / "functions")
        (deployment.checkout / "environments/dev/batch.tf").write_text(CALL)
        if watched:
            (deployment.checkout / "environments/dev/watched_override.tf").write_text(WATCHED)
        deployment.make("bootstrap", "YES=1", "CAPABILITIES=batch")
        deployment.make("apply", "ENV=dev", "YES=1")
        known = Pipeline.of(deployment)
        ops = stack.enter_context(Operator(deployment))
        base = stack.enter_context(_front(deployment))
        yield Batch(deployment, known.outputs, known.client, ops, base)


@contextlib.contextmanager
def _front(deployment: Deployment) -> Iterator[str]:
    """`make submit`: the service on loopback, with the operator's login."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "address")
        command = [
            *(sys.executable, "-m", "scripts.ops.portal", "--submit", "-e", "dev", "--port", "0"),
            *("--project", deployment.cloud.project, "--address-file", str(record)),
        ]
        process = subprocess.Popen(
            command, cwd=deployment.checkout, env=deployment.environ,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        while not record.exists() or not record.read_text():
            assert process.poll() is None, process.stdout and process.stdout.read()
            time.sleep(0.05)
        try:
            yield record.read_text()
        finally:
            process.terminate()
            process.wait()


def account(batch: Batch, name: str) -> str:
    return f"serviceAccount:files-dev-{name}@{batch.cloud.project}.iam.gserviceaccount.com"
