"""A scratch repository that delivers to a local cloud, and whoever takes part in it."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.localcloud.client import OWNER, LocalCloud
from tests.localcloud.client.deployment import Deployment
from tests.permissions.tools import withheld

from .github import Fake, fake

MAIN = "environments/dev/main.tf"
GITHUB = {"environment": "dev", "owner_id": "11", "repository_id": "7"}
DEPLOYER = "  deployer    = var.deployer\n"
SCRATCH = """
module "scratch" {
  source = "../../terraform/modules/bucket"

  project_id = var.project_id
  name       = "${var.project_id}-scratch"
  location   = "us-central1"
}
"""
_rates = itertools.count(20)


@dataclass
class Site:
    """The scratch repository, its dev environment, and a fake GitHub.

    Attributes:
        grants: what bootstrap tells of its bindings.
    """

    deployment: Deployment
    github: Fake
    grants: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.deployment.checkout

    def git(self, *words: str) -> str:
        author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        command = ["git", *author, "-c", "commit.gpgsign=false", *words]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def ci(self, command: str, *words: str, fails: bool = False, **more: str) -> str:
        """What a command printed; as the workflows run it, and as whom they run it."""
        if command in ("plan", "prepare", "apply", "drift"):
            words = ("--environment", "dev", "--project", self.project, *words)
        job = {
            "GITHUB_REPOSITORY": "o/r",
            "GITHUB_TOKEN": "token-of-the-job",
            "GITHUB_API_URL": self.github.url,
        }
        account = "apply" if command == "apply" else "plan"
        login: dict[str, Any] = self.login(account) | job | more
        done = self.deployment.run(
            sys.executable, "-m", "scripts.ci", command, *words, check=False, **login
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def member(self, account: str) -> str:
        """An account of bootstrap as an IAM member."""
        return f"serviceAccount:files-{account}@{self.project}.iam.gserviceaccount.com"

    def login(self, account: str) -> dict[str, str]:
        """As a job of the workflows is logged in: with an access token of the account, no more."""
        environ = self.deployment.cloud.environ(self.member(account))
        files = ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", "BOTO_CONFIG")
        return environ | dict.fromkeys(files, "") | {"TF_VAR_deployer": self.member("apply")}

    @property
    def project(self) -> str:
        return self.deployment.cloud.project

    def told(self) -> list[str]:
        """What dev and bootstrap tell of their bindings."""
        dev = self.deployment.outputs("dev", **self.login("apply"))
        return [*dev["grants"], *dev.get("more_grants", []), *self.grants]

    def rate(self) -> str:
        """Commits a rate of the queue that was never there; returns the commit."""
        number = next(_rates)
        path = self.root / MAIN
        text = re.sub(r", max_dispatches_per_second = \d+", "", path.read_text())
        line = "max_concurrent_dispatches = 36"
        assert line in text
        rate = f"{line}, max_dispatches_per_second = {number}"
        path.write_text(text.replace(line, rate))
        self.git("commit", "-qam", f"{number} tasks a second")
        return self.git("rev-parse", "HEAD")

    def prepared(self) -> dict[str, Any]:
        found = json.loads((self.root / "build/ci/dev-prepared.json").read_text())
        assert isinstance(found, dict)
        return found

    def lose_a_binding(self, present: bool = False) -> None:
        """Somebody takes the processor's right to read uploads away, by hand."""
        processor = f"files-dev-processor@{self.project}.iam.gserviceaccount.com"
        self.deployment.cloud.post(
            "/bindings",
            {
                "resource": f"projects/_/buckets/{self.project}-files-dev-uploads",
                "role": "roles/storage.objectViewer",
                "member": f"serviceAccount:{processor}",
                "present": present,
            },
        )


def watched(main: str) -> str:
    """dev with metrics and alerts, so with all that an environment can have."""
    assert DEPLOYER in main
    return main.replace(DEPLOYER, DEPLOYER + "  monitoring  = { enabled = true }\n")


# Each with all that a deployer hands an account to: a webhook, schedules, jobs, a workflow.
CAPABLE = ("approvals", "batch", "completions", "portal", "sweep")
CAPABILITIES = """
module "completions" {
  source      = "../../terraform/completions"
  pipeline    = module.pipeline.interface
  subscribers = { hook = { push_url = "https://hook.example.com" } }
}

module "approvals" {
  source   = "../../terraform/approvals"
  pipeline = module.pipeline.interface
  topic    = module.completions.topic
  rules    = { documents = { types = ["application/pdf"] } }
}

module "portal" {
  source   = "../../terraform/portal"
  pipeline = module.pipeline.interface
}

module "sweep" {
  source   = "../../terraform/sweep"
  pipeline = module.pipeline.interface
}

module "batch" {
  source   = "../../terraform/batch"
  pipeline = module.pipeline.interface

  schedules = {
    daily = { cron = "0 6 * * *", task = jsonencode({ task_type = "file_processing" }) }
  }
}

output "approvals" {
  value = {
    dead_letter_subscription = module.approvals.dead_letter_subscription
    published_bucket         = module.approvals.published_bucket
    subscriptions            = module.approvals.subscriptions
    topic                    = module.approvals.topic
    workflow                 = module.approvals.workflow
  }
}

output "more_grants" {
  value = [for grant in concat(
    module.completions.grants, module.approvals.grants, module.portal.grants, module.sweep.grants,
    module.batch.grants,
  ) : "${grant.member} ${grant.role} ${grant.resource}: ${grant.because}"]
}
"""


def everything(main: str) -> str:
    """dev watched, with every capability that needs roles of who delivers it."""
    return watched(main) + CAPABILITIES


def with_a_bucket_more(main: str) -> str:
    return main + SCRATCH


@contextmanager
def bootstrapped(*capabilities: str) -> Iterator[Site]:
    """bootstrap told of a repository, and of these capabilities, and nothing more."""
    with LocalCloud.start() as cloud, fake() as github:
        made = Site(Deployment.prepare(cloud), github)
        words = "YES=1", f"CAPABILITIES={' '.join(capabilities)}"
        made.deployment.make("bootstrap", *words, TF_VAR_github=json.dumps(GITHUB))
        made.grants = made.deployment.outputs("bootstrap")["grants"]
        yield made


@contextmanager
def delivering(change: Callable[[str], str], *capabilities: str) -> Iterator[Site]:
    """dev delivered from that repository by bootstrap's accounts alone, with nobody an owner.

    Args:
        change: of dev's main.tf.
        capabilities: what bootstrap is told of.
    """
    with bootstrapped(*capabilities) as made:
        main = made.root / MAIN
        main.write_text(change(main.read_text()))
        made.git("init", "-q", "-b", "main")
        (made.root / ".gitignore").write_text("build/\n.terraform*\n__pycache__/\n")
        made.git("add", ".")
        made.git("commit", "-qm", "begin")
        owner = [f"projects/{made.project}", "roles/owner", OWNER, None]
        with withheld(made.deployment.cloud, owner):
            head = made.git("rev-parse", "HEAD")
            made.ci("plan", "--head", head)
            made.ci("prepare", "--head", head)
            made.ci("apply")
        yield made
