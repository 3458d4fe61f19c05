"""environments/dev with the calls of completions and approvals, watched, applied once."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud.client import OWNER, ROOT, LocalCloud
from tests.localcloud.client.deployment import Deployment
from tests.system.hosts import serving
from tests.system.operating import Operator
from tests.system.pipeline import Pipeline, jpeg, until
from tests.system.watched import Watched

sys.path[:0] = [str(ROOT / "functions/status"), str(ROOT / "functions")]  # the portal's status

DAY, HOUR = 86_400, 3600
RUNS = "https://workflowexecutions.googleapis.com/v1/"
CHECK = "check.example.com"
APPROVER = "user:editor@example.com"
OVERRIDE = 'module "pipeline" {\n  monitoring = { enabled = true }\n}\n'
# As environments/showcase has it, with a check, and a folder that needs a person.
CALLS = f"""
module "application" {{
  source     = "../../terraform/modules/service_account"
  project_id = var.project_id
  account_id = "files-dev-app"
}}

module "completions" {{
  source   = "../../terraform/completions"
  pipeline = module.pipeline.interface
}}

module "approvals" {{
  source   = "../../terraform/approvals"
  pipeline = module.pipeline.interface
  topic    = module.completions.topic

  approvers = ["{APPROVER}"]
  check     = {{ url = "https://{CHECK}/look" }}
  rules = {{
    archives  = {{ types = ["application/zip"], min_bytes = 5000000 }}
    disguised = {{ mismatch = true }}
    documents = {{ types = ["application/pdf"] }}
    sensitive = {{ folders = ["sensitive/"] }}
  }}
  subscribers = {{ app = {{ reader = module.application.member }} }}
}}

output "approvals" {{
  value = {{
    account                  = module.approvals.account
    dead_letter_subscription = module.approvals.dead_letter_subscription
    published_bucket = module.approvals.published_bucket
    subscriptions    = module.approvals.subscriptions
    topic            = module.approvals.topic
    workflow         = module.approvals.workflow
  }}
}}
"""
PASS = (200, {"verdict": "pass"})
_serial = itertools.count(1)


@dataclass
class Check:
    """A scanner of one's own: what it was asked, what it answers, (status, body), and its port."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], tuple[int, Any]] = lambda asked: PASS
    port: int = 0


@contextlib.contextmanager
def checking(cloud: LocalCloud) -> Iterator[Check]:
    check = Check()

    def answer(body: bytes, headers: Any) -> tuple[int, bytes]:
        asked = json.loads(body)
        check.asked.append(asked | {"authorization": headers["Authorization"]})
        status, said = check.answer(asked)
        return status, json.dumps(said).encode()

    with serving(cloud, CHECK, answer) as check.port:
        yield check


@dataclass
class Approvals(Watched):
    """The environment, what lies in its published bucket, and the operator's tool."""

    check: Check = field(default_factory=Check)
    told: Path = Path()  # its outputs, for the operator's tool

    @property
    def published(self) -> str:
        return str(self.outputs["approvals"]["published_bucket"])

    @property
    def workflow(self) -> str:
        return str(self.outputs["approvals"]["workflow"])

    def names(self, prefix: str) -> list[str]:
        """Names in the published bucket."""
        return [blob.name for blob in self.client.list_blobs(self.published, prefix=prefix)]

    def record(self, name: str) -> dict[str, Any]:
        blob = self.client.bucket(self.published).blob(name)
        return dict(json.loads(blob.download_as_bytes()))

    def end(self, key: str) -> tuple[str, str]:
        """How a file ended, and by whose decision; two empty texts while it has not."""
        for status in ("published", "rejected"):
            if self.names(f"{status}/{key}.json"):
                record = self.record(f"{status}/{key}.json")
                return status, record["decision"]["by"]
        return "", ""

    def requests(self, key: str) -> list[dict[str, Any]]:
        return [self.record(name) for name in self.names(f"requests/{key}/")]

    def executions(self, key: str) -> list[dict[str, Any]]:
        """Those about a key, newest first."""
        listed = self.ask("GET", f"{RUNS}{self.workflow}/executions").get("executions", [])
        return [one for one in listed if f"manifests/{key}.json" in one["argument"]]

    def asked(self, name: str) -> str:
        """Has a file processed that somebody is asked about; its key."""
        key = f"{name}/{self.process(name, jpeg(32, 32))}"
        until(lambda: self.requests(key), seconds=20)
        return key

    def finish(self, key: str, **facts: Any) -> None:
        """Writes a manifest as somebody's own target may: without outputs unless facts say some."""
        name, _, generation = key.rpartition("/")
        made = {"source": {"name": name, "generation": generation}, "outputs": []} | facts
        blob = self.client.bucket(self.results).blob(f"manifests/{key}.json")
        blob.upload_from_string(json.dumps(made), "application/json")

    def told_of(self, key: str) -> list[dict[str, Any]]:
        """What the workflow wrote into the log about a file's generation, with its severity."""
        lines = (line for line in self.cloud.journal("log") if "workflow" in line)
        told = (line["payload"] | {"severity": line["severity"]} for line in lines)
        return [one for one in told if one["generation"] == key.rpartition("/")[2]]

    def announce(self, key: str) -> None:
        """Tells of the manifest again, as Cloud Storage may."""
        attributes = {"status": "done", "objectId": f"manifests/{key}.json"}
        topic = "https://pubsub.googleapis.com/v1/projects/PROJECT/topics/files-dev-completions"
        self.ask("POST", f"{topic}:publish", {"messages": [{"attributes": attributes}]})
        self.settle()

    def tool(self, *words: str, code: int = 0, member: str = OWNER) -> str:
        """Runs the operator's tool with somebody's login; what it says."""
        told = "--outputs", str(self.told)
        ran = self.ops("-e", "dev", *told, *words, member=member)
        assert ran.code == code, (ran.code, ran.out, ran.err)
        return ran.out if code == 0 else ran.out + ran.err

    def pull(self) -> list[tuple[str, str]]:
        """(status, object) of what the subscriber is told, once."""
        url = (
            f"https://pubsub.googleapis.com/v1/{self.outputs['approvals']['subscriptions']['app']}"
        )
        body = {"maxMessages": 1000, "returnImmediately": True}
        received = self.call("POST", f"{url}:pull", body).get("receivedMessages", [])
        if received:
            self.call("POST", f"{url}:acknowledge", {"ackIds": [m["ackId"] for m in received]})
        told = [one["message"]["attributes"] for one in received]
        return [(one["status"], one["objectId"]) for one in told]


def ended(approvals: Approvals, key: str) -> tuple[str, str]:
    until(lambda: approvals.end(key)[0], seconds=20)
    return approvals.end(key)


def waits(approvals: Approvals, key: str) -> bool:
    """Whether an execution waits for an answer about it."""
    return any(
        approvals.ask("GET", f"{RUNS}{execution['name']}/callbacks")
        for execution in approvals.executions(key)
        if execution["state"] == "ACTIVE"
    )


def callback(approvals: Approvals, execution: str) -> str:
    (one,) = approvals.ask("GET", f"{RUNS}{execution}/callbacks")["callbacks"]
    return f"{RUNS}{one['name']}"


@pytest.fixture(scope="session")
def approvals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Approvals]:
    with LocalCloud.start() as cloud, checking(cloud) as check:
        deployment = Deployment.prepare(cloud)
        dev = deployment.checkout / "environments/dev"
        (dev / "approvals_override.tf").write_text(OVERRIDE)
        (dev / "approvals.tf").write_text(CALLS)
        words = "CAPABILITIES=approvals completions", f"APPROVERS={APPROVER}"
        deployment.make("bootstrap", "YES=1", *words)
        deployment.make("apply", "ENV=dev", "YES=1")
        one = Pipeline.of(deployment)
        told = tmp_path_factory.mktemp("approvals") / "outputs.json"
        told.write_text(json.dumps({name: {"value": v} for name, v in one.outputs.items()}))
        with Operator(deployment) as ops:
            yield Approvals(deployment, one.outputs, one.client, ops, check=check, told=told)


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "approvals" in request.fixturenames:
        approvals = request.getfixturevalue("approvals")
        approvals.cloud.delete("/faults")
        approvals.check.answer = lambda asked: PASS


@pytest.fixture
def fresh() -> str:
    """A prefix that no other test uses."""
    return f"t{next(_serial):03}"
