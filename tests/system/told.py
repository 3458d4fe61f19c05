"""An environment whose subscribers are webhooks of a test's own, with observers and the sweep."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.deployment import Deployment
from tests.system.hosts import serving
from tests.system.metrics import Metrics
from tests.system.operating import Operator
from tests.system.pipeline import Pipeline
from tests.system.watched import Watched

# Beside dev's own call of the module: Terraform merges the first in.
OVERRIDE = """\
module "pipeline" {
  monitoring = { enabled = true }
}
"""
TOLD = """\
module "application" {
  source = "../../terraform/modules/service_account"

  project_id = var.project_id
  account_id = "files-dev-app"
}

module "completions" {
  source   = "../../terraform/completions"
  pipeline = module.pipeline.interface

  subscribers = {
    crm   = { push_url = "https://crm.example.com/files" }
    bad   = { push_url = "https://bad.example.com/failed", only = "failed", audience = "bad" }
    app   = { reader = module.application.member }
    gone  = { push_url = "https://gone.example.com/failed", only = "failed" }
  }
}

module "observers" {
  source      = "../../terraform/observers"
  pipeline    = module.pipeline.interface
  subscribers = { scan = { push_url = "https://scan.example.com/uploads" } }
}

output "completions" {
  value = {
    accounts                 = module.completions.accounts
    dead_letter_subscription = module.completions.dead_letter_subscription
    subscriptions            = module.completions.subscriptions
    topic                    = module.completions.topic
  }
}

output "observers" {
  value = {
    accounts                 = module.observers.accounts
    dead_letter_subscription = module.observers.dead_letter_subscription
    subscriptions            = module.observers.subscriptions
    topic                    = module.pipeline.interface.topics.uploads
  }
}
"""
# As dev's own, but files may come for later, and expire.
MORE = """\
module "pipeline" {
  results_retention = { expire_days = 7, noncurrent_days = 1, soft_delete_days = 0 }
  uploads_retention = { expire_days = 7, soft_delete_days = 0 }

  lanes = {
    default = {
      delays    = true
      processor = { max_instances = 5 }
      queue     = { max_concurrent_dispatches = 18 }
    }
  }
}
"""
SWEEP = """\
module "sweep" {
  source   = "../../terraform/sweep"
  pipeline = module.pipeline.interface
}
"""
HOSTS = ("crm.example.com", "bad.example.com", "gone.example.com", "scan.example.com")
GONE = "files-dev-completions-gone"  # the subscription of what the soak takes away for good
GIVEN_UP = 18 * 3600  # seconds in which a webhook has had its 100 deliveries


@dataclass
class Webhook:
    """What it was told, by objectId; answers what `answer` says."""

    answer: Callable[[], int] = lambda: 204
    heard: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, body: bytes, headers: Any) -> int:
        status = self.answer()
        if status >= 300:
            self.refused += 1
        else:
            message = json.loads(body)["message"]
            with self.lock:
                self.heard[message["attributes"]["objectId"]] += 1
                self.messages.append(message | {"authorization": headers["Authorization"]})
        return status


@contextlib.contextmanager
def listening(cloud: LocalCloud, host: str) -> Iterator[Webhook]:
    """A webhook at https://host/."""
    webhook = Webhook()
    with serving(cloud, host, lambda body, headers: (webhook.take(body, headers), b"")):
        yield webhook


@dataclass
class Told(Watched):
    hooks: dict[str, Webhook] = field(default_factory=dict)

    def pull(self, subscription: str) -> list[dict[str, Any]]:
        """Takes what waits in a subscription, as its messages' attributes."""
        url = f"https://pubsub.googleapis.com/v1/{subscription}"
        body = {"maxMessages": 1000, "returnImmediately": True}
        received = self.call("POST", f"{url}:pull", body).get("receivedMessages", [])
        if received:
            acks = [one["ackId"] for one in received]
            self.call("POST", f"{url}:acknowledge", {"ackIds": acks})
        return [one["message"]["attributes"] for one in received]

    def flaky(self, seed: int) -> None:
        """From now on each webhook fails a tenth of the time."""
        for name, hook in self.hooks.items():
            chooser = random.Random(f"{seed} {name}")
            hook.answer = lambda it=chooser: 503 if it.random() < 0.1 else 204  # type: ignore[misc]
        self.hooks["gone"].answer = lambda: 503

    def given_up(self) -> tuple[str, list[str]]:
        """What became of the webhook that is away for good: dead letters, alert, redrive.

        Says what was seen, and what should have been and was not.
        """
        gone, problems = self.hooks["gone"], list[str]()
        missed = set(self.listing("failures/"))
        for _ in range(0, GIVEN_UP, 3600):
            self.cloud.advance(3600)
        kinds = [f"pubsub.{kind}" for kind in ("push", "dead_letter", "waiting", "acknowledged")]
        metrics = Metrics(self.cloud.journal(*kinds), self.cloud.project)
        rung = {k for k, it in self.policies.items() if metrics.firing(it, self.now)}
        letters = [
            line
            for line in self.cloud.journal("pubsub.dead_letter")
            if line["subscription"] == GONE
        ]
        if {line["object"] for line in letters} != missed or gone.heard:
            problems.append(f"{len(letters)} dead letters of {len(missed)} failures")
        if {line["attempt"] for line in letters} - {100}:
            problems.append("a dead letter was not delivered 100 times")
        if rung != {"completions_dead_letters"}:
            problems.append(f"{rung} rang, and it is completions_dead_letters alone")
        gone.answer = lambda: 204
        self.operate("redrive", "--subscribers", "completions", "--limit", "100000", "--apply")
        self.settle(timeout=600)
        metrics = Metrics(self.cloud.journal(*kinds), self.cloud.project)
        if metrics.firing(self.policies["completions_dead_letters"], self.now):
            problems.append("after the redrive the alert still rings")
        told = (
            f"a webhook away for good: {len(letters)} dead letters after 100 deliveries each, "
            f"rang: {', '.join(sorted(rung))}; redriven, it heard of {len(gone.heard)} of "
            f"{len(missed)}"
        )
        return told, problems

    def unheard(self, uploads: list[tuple[str, int]]) -> list[str]:
        """What a subscriber should have heard of, and has not; and heard of what is not there."""
        records = {name for kind in ("manifests/", "failures/") for name in self.listing(kind)}
        failures = {name for name in records if name.startswith("failures/")}
        pulled = set[str]()
        while more := self.pull(self.outputs["completions"]["subscriptions"]["app"]):
            pulled |= {one["objectId"] for one in more}
        seen = {
            (one["attributes"]["objectId"], int(one["attributes"]["objectGeneration"]))
            for one in self.hooks["scan"].messages
        }
        pairs: dict[str, tuple[set[Any], set[Any]]] = {
            "crm": (records, set(self.hooks["crm"].heard)),
            "bad": (failures, set(self.hooks["bad"].heard)),
            "gone": (failures, set(self.hooks["gone"].heard)),
            "app": (records, pulled),
            "scan": (set(uploads), seen),
        }
        return [
            f"{who} heard of {len(there & heard)} of {len(there)}, and of {len(heard - there)} else"
            for who, (there, heard) in pairs.items()
            if there != heard
        ]


def extend(deployment: Deployment, sweep: bool = True) -> None:
    """Adds monitoring and the subscribers to the copy's dev; sweep: that, delays and
    expiry, too."""
    dev = deployment.checkout / "environments/dev"
    (dev / "told_override.tf").write_text(OVERRIDE)
    (dev / "told.tf").write_text(TOLD)
    if sweep:
        (dev / "sweep.tf").write_text(SWEEP)
        (dev / "more_override.tf").write_text(MORE)


def hooked(stack: contextlib.ExitStack, cloud: LocalCloud) -> dict[str, Webhook]:
    """The webhooks, listening until the stack is left."""
    return {h.partition(".")[0]: stack.enter_context(listening(cloud, h)) for h in HOSTS}


@contextlib.contextmanager
def telling() -> Iterator[Told]:
    """A local cloud with that environment, and its webhooks listening."""
    with LocalCloud.start() as cloud, contextlib.ExitStack() as stack:
        deployment = Deployment.prepare(cloud)
        extend(deployment)
        hooks = hooked(stack, cloud)
        deployment.make("bootstrap", "YES=1", "CAPABILITIES=completions observers sweep")
        deployment.make("apply", "ENV=dev", "YES=1")
        one, ops = Pipeline.of(deployment), stack.enter_context(Operator(deployment))
        yield Told(deployment, one.outputs, one.client, ops, hooks)
