"""The first run in a real project: settles what the local cloud only infers, and writes it down.

`make first-run PROJECT=…` makes a scratch environment, looks at each inference of
docs/on-google.md, takes everything away again, also where one of them fails, and leaves
build/first-run.md. It asks first, unless YES=1 says not to, and goes on only in a project that
nothing here was applied to.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import Forbidden, PreconditionFailed
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.oauth2.credentials import Credentials

from . import ROOT, quota
from .clients import Clients
from .problems import Problem

NAME, PREFIX, REGION = "first", "files", "us-central1"
REPORT = ROOT / "build/first-run.md"
# Beside the pipeline: an account that may create results and nothing else, for the operator to be.
MAIN = """module "pipeline" {
  source = "../../terraform/pipeline"

  project_id        = var.project_id
  environment       = "first"
  zips              = "../../build"
  deployer          = var.deployer
  force_destroy     = true
  results_retention = { noncurrent_days = 1, soft_delete_days = 0 }
  uploads_retention = { soft_delete_days = 0 }
  bridge            = { max_instances = 1 }
  lanes             = { default = { processor = { max_instances = 1 }, queue = { max_concurrent_dispatches = 7 } } }
  monitoring        = { enabled = true }
}

resource "google_service_account" "writer" {
  project    = var.project_id
  account_id = "files-first-writer"
}

resource "google_storage_bucket_iam_member" "writer" {
  bucket = module.pipeline.results_bucket
  role   = "roles/storage.objectCreator"
  member = google_service_account.writer.member
}

resource "google_service_account_iam_member" "operator" {
  service_account_id = google_service_account.writer.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = "OPERATOR"
}
"""  # noqa: E501
LOOKS_EVERY, LOOKS_FOR = 10.0, 600.0  # seconds, for IAM


@dataclass(frozen=True)
class Settled:
    """One inference: what the local cloud takes for granted, and what was found."""

    inference: str
    expected: str
    found: str
    otherwise: str  # what to change where they differ

    @property
    def holds(self) -> bool:
        return self.expected == self.found


class FirstRun:
    def __init__(self, project: str) -> None:
        self.project, self.clients = project, Clients(project)
        self.folder = ROOT / "environments" / NAME
        self.applied = ""  # what the apply said
        self.begun: list[str] = []  # environments that may hold something

    # The scratch environment

    def make(self) -> None:
        shutil.copytree(
            ROOT / "environments/dev", self.folder, ignore=shutil.ignore_patterns(".terraform*")
        )
        (self.folder / "main.tf").write_text(MAIN.replace("OPERATOR", self.operator()))
        needs = {"TF_VAR_capabilities": '["portal"]'}  # for its API, which gives out tokens
        self.begun.append("bootstrap")
        self.deploy("bootstrap", "--yes", **needs)
        self.begun.append(NAME)
        self.applied = self.deploy("apply", "--environment", NAME, "--yes")

    def take_away(self) -> None:
        """Raises Problem where something stays; its folder stays, too, to try again with."""
        for name in reversed(self.begun):
            self.deploy("destroy", "--environment", name, "--yes")
        shutil.rmtree(self.folder, ignore_errors=True)

    def deploy(self, *words: str, **environ: str) -> str:
        """A command of scripts/deploy.py, shown and returned. Raises Problem where it fails."""
        command = [sys.executable, "scripts/deploy.py", *words, "--project", self.project]
        with subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environ, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            said = []
            for line in process.stdout or ():
                said.append(line)
                sys.stdout.write(line)
        if process.returncode:
            raise Problem(f"{' '.join(command[1:])} failed, see above")
        return "".join(said)

    def operator(self) -> str:
        answer = self.clients.rest("GET", "https://openidconnect.googleapis.com/v1/userinfo") or {}
        email = str(answer.get("email", ""))
        kind = "serviceAccount" if email.endswith(".gserviceaccount.com") else "user"
        return f"{kind}:{email}"

    # Each inference

    def create_only(self) -> Settled:
        """Who may create and not delete writes an existing name with ifGenerationMatch=0."""
        bucket = f"{self.project}-{PREFIX}-{NAME}-results"
        client = storage.Client(self.project, credentials=Credentials(self._token()))
        blob = client.bucket(bucket).blob("first-run")

        def write() -> str:
            try:
                blob.upload_from_string("x", if_generation_match=0)
            except PreconditionFailed:
                return "412"
            except Forbidden as error:
                return "403" if "storage.objects.delete" in str(error) else "too early"
            return "written"

        while (first := write()) == "too early" and self._patient():
            pass
        return Settled(
            "Create-only on an existing name, by an account that may not delete",
            "412", write() if first == "written" else first,
            "nothing: the functions take both. Swap the default in tests/localcloud/services/"
            "storage/store.py (`_may_write`)",
        )  # fmt: skip

    def _token(self) -> str:
        email = f"files-first-writer@{self.project}.iam.gserviceaccount.com"
        url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"
        body = {"scope": ["https://www.googleapis.com/auth/cloud-platform"]}
        self._until = time.monotonic() + LOOKS_FOR
        while True:
            try:
                answer = self.clients.rest("POST", f"{url}/{email}:generateAccessToken", body)
                return str((answer or {})["accessToken"])
            except (Problem, KeyError):
                if not self._patient():
                    raise

    def _patient(self) -> bool:
        """Waits a moment for IAM, up to ten minutes in all."""
        time.sleep(LOOKS_EVERY)
        return time.monotonic() < self._until

    def own_copy(self) -> Settled:
        held = self._function()["buildConfig"]["source"]["storageSource"]
        named = "Google's copy" if held["bucket"].startswith("gcf-v2-sources-") else held["bucket"]
        return Settled(
            "A function that is read names", "Google's copy", named,
            "scripts/ops/doctor/resources.py may compare the object again; drop the row from "
            "tests/localcloud/README.md",
        )  # fmt: skip

    def generation(self) -> Settled:
        """The caller's own zip, with the generation of Google's copy."""
        config = self._function()["buildConfig"]
        bucket = f"{self.project}-{PREFIX}-{NAME}-sources"
        (zipped,) = self.clients.storage.list_blobs(bucket, prefix="bridge/")
        stale = config["sourceProvenance"]["resolvedStorageSource"]["generation"]

        def build(generation: str) -> str:
            source = {"bucket": bucket, "object": zipped.name, "generation": generation}
            body = {"buildConfig": config | {"source": {"storageSource": source}}}
            session = AuthorizedSession(self.clients.credentials)
            url = self._url() + "?updateMask=buildConfig"
            answer = session.patch(url, json=body, timeout=60).json()
            while not answer.get("done") and "error" not in answer:
                time.sleep(1)
                api = "https://cloudfunctions.googleapis.com/v2"
                answer = self.clients.rest("GET", f"{api}/{answer['name']}") or {}
            return "refused" if "error" in answer else "built"

        found = build(stale)
        build(str(zipped.generation))  # as it was
        return Settled(
            "The generation of Google's copy beside the caller's own zip is", "refused", found,
            "nothing: the module names the zip's own generation. Let it pass in tests/localcloud/"
            "services/functions/service.py (`_take`)",
        )  # fmt: skip

    def metrics(self) -> Settled:
        waited = "does not know the new metrics yet" in self.applied
        return Settled(
            "Cloud Monitoring knows a new log metric", "at once", "later" if waited else "at once",
            "nothing: an apply waits. Say in docs/on-google.md for how long it did",
        )  # fmt: skip

    def quota(self) -> Settled:
        try:
            told = quota.allowed(self.clients, REGION)
        except Problem as problem:
            told = {}
            print(f"first-run: {problem}")
        numbers = all(value > 0 for value in told.values())
        return Settled(
            "Cloud Run's quota, where there is one, is told as numbers", "yes",
            "yes" if numbers and (told or self._unlimited()) else "no",
            "the names of the metrics in scripts/ops/quota.py",
        )  # fmt: skip

    def _unlimited(self) -> bool:
        url = quota.URL.format(self.project) + "/consumerQuotaMetrics?view=FULL"
        return not [*self.clients.pages(url, "metrics")]

    def no_difference(self) -> Settled:
        return self._command(
            "A plan after an apply, and a file through the pipeline, find", "verify",
            "what the plan or the doctor names, and the local cloud's answer to the same call",
        )  # fmt: skip

    def _command(self, inference: str, verb: str, otherwise: str) -> Settled:
        try:
            self.deploy(verb, "--environment", NAME)
            found = "nothing wrong"
        except Problem as problem:
            found = str(problem)
        return Settled(inference, "nothing wrong", found, otherwise)

    def _url(self) -> str:
        functions = f"projects/{self.project}/locations/{REGION}/functions"
        return f"https://cloudfunctions.googleapis.com/v2/{functions}/{PREFIX}-{NAME}-bridge"

    def _function(self) -> dict[str, Any]:
        return self.clients.rest("GET", self._url()) or {}

    def checks(self) -> list[Callable[[], Settled]]:
        return [self.no_difference, self.own_copy, self.quota, self.metrics,
                self.create_only, self.generation]  # fmt: skip


def report(project: str, settled: list[Settled]) -> str:
    rows = [
        f"| {one.inference} | {one.expected} | {one.found} | "
        f"{'—' if one.holds else one.otherwise} |"
        for one in settled
    ]
    wrong = [one for one in settled if not one.holds]
    head = f"# First run in {project}\n\n{len(settled) - len(wrong)} of {len(settled)} hold.\n"
    table = "| Inference | Expected | Found | To change |\n|---|---|---|---|\n"
    return f"{head}\n{table}" + "\n".join(rows) + "\n"


def refuse_unless_new(first: FirstRun) -> None:
    """Nothing of anybody's may be in the way, nor be taken away at the end. Raises Problem."""
    bucket = f"{first.project}-{PREFIX}-tfstate"
    url = f"https://storage.googleapis.com/storage/v1/b/{bucket}"
    if first.clients.rest("GET", url) is not None or first.folder.exists():
        raise Problem(
            f"{first.project} has a state bucket, or environments/{NAME} is there: this takes away "
            "what it finds, so it begins only where nothing is. Name a scratch project"
        )


def ask(project: str) -> None:
    """Raises Problem unless somebody agrees."""
    print(
        f"This makes an environment in {project}, deploys its two functions twice, and takes "
        "all of it away. It takes some 20 minutes and less than a dollar."
    )
    try:
        if input("Type the project's id to go on: ").strip() != project:
            raise Problem("nothing was done")
    except EOFError:
        raise Problem("nobody is here to ask, and nothing was done. YES=1 asks nobody") from None


def main() -> int:
    parser = argparse.ArgumentParser(prog="first-run")
    parser.add_argument("project")
    parser.add_argument("--yes", action="store_true", help="ask nobody")
    arguments = parser.parse_args()
    project = arguments.project
    try:
        if not project:
            raise Problem("no project is named: make first-run PROJECT=…")
        first = FirstRun(project)
        refuse_unless_new(first)
        if not arguments.yes:
            ask(project)
        try:
            first.make()
            settled = [check() for check in first.checks()]
        finally:
            first.take_away()
    except Problem as problem:
        # Where taking away fails, too, what failed first is the reason.
        reason = problem.__context__ if isinstance(problem.__context__, Problem) else None
        print(f"first-run: {f'{reason}; then ' if reason else ''}{problem}", file=sys.stderr)
        return 2
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(report(project, settled))
    print(REPORT.read_text())
    return 0 if all(one.holds for one in settled) else 1


if __name__ == "__main__":
    sys.exit(main())
