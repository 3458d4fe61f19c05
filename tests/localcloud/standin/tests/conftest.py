from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud import standin

from .fake import Fake, running

HEAD = """
terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}
provider "google" {
  project = "p"
  region  = "r"
}
"""


class Terraform:
    """One configuration in a folder of its own."""

    def __init__(self, folder: Path, reattach: str) -> None:
        self.folder = folder
        names = ("HOME", "PATH", "TMPDIR")
        self.environ = {name: os.environ[name] for name in names if name in os.environ} | {
            "CHECKPOINT_DISABLE": "1",
            "GOOGLE_OAUTH_ACCESS_TOKEN": "token",
            "TF_IN_AUTOMATION": "1",
            "TF_REATTACH_PROVIDERS": reattach,
        }

    def __call__(self, *command: str, fails: bool = False) -> str:
        """Output of a command; with `fails`, its error, on one line."""
        done = subprocess.run(
            ["terraform", *command, "-no-color"],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return " ".join(done.stderr.replace("│", " ").split()) if fails else done.stdout

    def write(self, text: str) -> None:
        (self.folder / "main.tf").write_text(HEAD + text)
        if not (self.folder / ".terraform").exists():
            self("init")

    def plan(self, text: str) -> dict[str, dict[str, Any]]:
        """The planned changes by address, of what would change."""
        self.write(text)
        self("plan", "-out=plan")
        changes = json.loads(self("show", "-json", "plan")).get("resource_changes", [])
        return {c["address"]: c["change"] for c in changes if c["change"]["actions"] != ["no-op"]}

    def apply(self, text: str) -> None:
        self.write(text)
        self("apply", "-auto-approve")

    def refuses(self, text: str, command: str = "apply") -> str:
        """The error of a configuration that must fail."""
        self.write(text)
        return self(command, *(["-auto-approve"] if command != "plan" else []), fails=True)

    def state(self) -> dict[str, dict[str, Any]]:
        module = json.loads(self("show", "-json"))["values"]["root_module"]
        return {item["address"]: item["values"] for item in module["resources"]}


@pytest.fixture
def cloud() -> Iterator[Fake]:
    with running() as fake:
        yield fake


@pytest.fixture
def terraform(cloud: Fake, tmp_path: Path) -> Iterator[Terraform]:
    with standin.serve(tmp_path, cloud.url) as reattach:
        yield Terraform(tmp_path, reattach)
