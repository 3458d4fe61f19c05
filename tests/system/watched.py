"""An environment with monitoring on, and a lane that is quick to drive to its limits."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.calls import Http, caller, owners_storage
from tests.localcloud.client.deployment import Deployment
from tests.system.metrics import Metrics, seconds
from tests.system.operating import Operator
from tests.system.pipeline import Pipeline, until

# Beside dev's own call of the module: Terraform merges it in.
OVERRIDE = """\
module "pipeline" {
  monitoring = { enabled = true }

  lanes = {
    default = { processor = { max_instances = 5 }, queue = { max_concurrent_dispatches = 36 } }

    # Work may take 2 s, so that slow is soon; tasks rest for an hour, so that days are short.
    slow = {
      prefixes  = ["slow/"]
      processor = { max_instances = 5, work_seconds = 2 }
      queue = {
        max_backoff_seconds       = 3600
        max_concurrent_dispatches = 36
        min_backoff_seconds       = 600
      }
    }
    MORE
  }
}
"""


@contextlib.contextmanager
def watching(lanes: str = "") -> Iterator[Watched]:
    """A local cloud with the dev environment, watched, with these lanes more."""
    with LocalCloud.start() as cloud:
        deployment = Deployment.prepare(cloud)
        (deployment.checkout / "environments/dev/watched_override.tf").write_text(
            OVERRIDE.replace("MORE", lanes)
        )
        deployment.make("bootstrap", "YES=1")
        deployment.make("apply", "ENV=dev", "YES=1")
        with Operator(deployment) as ops:
            yield Watched(deployment, deployment.outputs(), owners_storage(cloud), ops)


@dataclass
class Watched(Pipeline):
    """The pipeline, and what a person on call would be told of it."""

    ops: Operator

    def ask(self, verb: str, url: str, body: Any = None) -> dict[str, Any]:
        """A Google API's answer to the environment's owner."""
        answer = self._http(verb, url.replace("PROJECT", self.cloud.project), json=body)
        answer.raise_for_status()
        return dict(answer.json())

    @cached_property
    def _http(self) -> Http:
        return caller(self.cloud)

    @cached_property
    def state(self) -> list[dict[str, Any]]:
        """Every managed resource of the environment, as Terraform's state has it."""
        shown = self.deployment.run("terraform", "-chdir=environments/dev", "show", "-json").stdout

        def walk(module: dict[str, Any]) -> list[dict[str, Any]]:
            inner = [one for child in module.get("child_modules", []) for one in walk(child)]
            return [r for r in module.get("resources", []) if r["mode"] == "managed"] + inner

        return walk(json.loads(shown[shown.index("{") :])["values"]["root_module"])

    def applied(self, kind: str) -> list[dict[str, Any]]:
        return [resource["values"] for resource in self.state if resource["type"] == kind]

    @cached_property
    def policies(self) -> dict[str, dict[str, Any]]:
        """Alert policies by their key, read back from Cloud Monitoring."""
        url = "https://monitoring.googleapis.com/v3/projects/PROJECT/alertPolicies"
        listed = self.ask("GET", url)["alertPolicies"]
        return {policy["userLabels"]["alert"]: policy for policy in listed}

    @cached_property
    def log_metrics(self) -> list[dict[str, Any]]:
        """Log-based metrics, read back from Cloud Logging."""
        url = "https://logging.googleapis.com/v2/projects/PROJECT/metrics/"
        return [self.ask("GET", url + it["name"]) for it in self.applied("google_logging_metric")]

    @cached_property
    def dashboards(self) -> list[dict[str, Any]]:
        """Read back from Cloud Monitoring."""
        url = "https://monitoring.googleapis.com/v1/"
        return [
            self.ask("GET", url + it["id"]) for it in self.applied("google_monitoring_dashboard")
        ]

    @property
    def dashboard(self) -> dict[str, Any]:
        """The pipeline's, where there is no other."""
        (one,) = self.dashboards
        return one

    def heard(self, prefix: str, times: int) -> None:
        """Waits for log lines on objects below `prefix`: functions' output is read on its own."""

        def lines() -> int:
            payloads = (line["payload"] for line in self.cloud.journal("log"))
            objects = [str(p.get("object", "")) for p in payloads if isinstance(p, dict)]
            return sum(name.startswith(prefix) for name in objects)

        until(lambda: lines() >= times, seconds=60)

    @property
    def now(self) -> float:
        return seconds(self.cloud.get("/clock")["now"])

    def metrics(self, **memory: int) -> Metrics:
        """What was measured up to now; memory: service → bytes that an instance may use."""
        journal = self.cloud.journal()
        return Metrics(journal, self.cloud.project, self.log_metrics, memory)

    def firing(self, **memory: int) -> set[str]:
        """The keys of the policies that fire now."""
        measured, now = self.metrics(**memory), self.now
        return {key for key, policy in self.policies.items() if measured.firing(policy, now)}

    def operate(self, *words: str) -> str:
        """Runs the operator's tool on the environment; what it printed."""
        ran = self.ops(*words)
        assert ran.code == 0, ran.err
        return ran.out
