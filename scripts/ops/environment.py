"""Which environment: its names, as Terraform tells them, and the bridge's settings."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import runner
from known import Refused
from runner import PREFIX, prefix_of

from bridge.settings import Config
from runtime.settings import ConfigError

from . import ROOT
from .problems import Problem

BOOTSTRAP = "bootstrap"
NEEDED = ("bridge_settings", "dead_letter_subscription", "results_bucket", "uploads_bucket")


@dataclass(frozen=True)
class Environment:
    """config holds what the bridge decides by: buckets, lanes with their queues, prefixes.
    outputs: all of Terraform's, of capabilities too."""

    name: str
    config: Config
    dead_letters: str
    outputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def project(self) -> str:
        return self.config.project_id

    @property
    def uploads(self) -> str:
        return self.config.uploads_bucket

    @property
    def results(self) -> str:
        return self.config.results_bucket

    @property
    def queues(self) -> list[str]:
        """Every lane's, those of what is due later too."""
        return sorted({queue for lane in self.config.lanes.values() for queue in lane.queues})

    @property
    def prefix(self) -> str:
        """What the names of its functions and accounts begin with, such as files-dev."""
        return f"{named_prefix(ROOT / 'environments' / self.name)}-{self.config.environment}"

    @cached_property
    def region(self) -> str:
        """The region of the queues, and so of all."""
        return next(iter(self.config.lanes.values())).queue.split("/")[3]

    def object_name(self, url: str) -> str:
        """The name in gs://<uploads>/<name>. Raises Problem for another bucket."""
        match = re.fullmatch(r"gs://([^/]+)/(.+)", url, re.S)
        if match is None:
            raise Problem(f"{url} is not an object: write gs://{self.uploads}/NAME")
        if match[1] != self.uploads:
            raise Problem(
                f"{match[1]} is not the uploads bucket of {self.name}, which is {self.uploads}. "
                "Name the right environment with --environment"
            )
        return match[2]


def load(
    name: str,
    project: str = "",
    outputs: Path | None = None,
    overrides: Mapping[str, str] = MappingProxyType({}),
) -> Environment:
    """Reads `terraform output -json` of environments/<name>, or the file `outputs` that holds it.

    overrides: uploads_bucket, results_bucket, dead_letter_subscription; empty ones do not count.
    Raises Problem.
    """
    if name == BOOTSTRAP:
        raise Problem("bootstrap has no files: name the environment that has (make: ENV=dev)")
    found = _values(
        _read(outputs) if outputs else terraform(name, "output", "-json", project=project)
    )
    found |= {key: value for key, value in overrides.items() if value}
    if not found:
        raise Problem(f"{name} is not applied: make apply ENV={name} PROJECT={project or '…'}")
    if missing := [output for output in NEEDED if output not in found]:
        raise Problem(
            f"{name} lacks the output {', '.join(missing)}: it was applied by an older version. "
            f"Apply it again: make apply ENV={name} PROJECT={project or '…'}"
        )
    try:
        config = Config.from_env(found["bridge_settings"])
    except ConfigError as error:
        raise Problem(f"the output bridge_settings of {name} is wrong: {error}") from None
    config = dataclasses.replace(
        config, uploads_bucket=found["uploads_bucket"], results_bucket=found["results_bucket"]
    )
    if project and project != config.project_id:
        raise Problem(
            f"these outputs are of {config.project_id}, not of {project}. "
            "Name the right project with --project, or pass the right --outputs"
        )
    return Environment(name, config, found["dead_letter_subscription"], found)


def terraform(name: str, *arguments: str, project: str = "") -> str:
    """What Terraform prints about the environment, of that project where one is named.

    Raises Problem, which names the project.
    """
    folder = ROOT / "environments" / name
    if not (folder / "main.tf").is_file():
        there = sorted(path.parent.name for path in folder.parent.glob("*/main.tf"))
        raise Problem(f"there is no environment {name}; there are {', '.join(there)}")
    asked = runner.Environment(name, project, named_prefix(folder))
    try:
        if project and initialized_with(folder) != asked.state_bucket:
            bucket = f"-backend-config=bucket={asked.state_bucket}"
            runner.terraform(asked, "init", "-input=false", "-reconfigure", bucket, quiet=True)
        return runner.terraform(asked, *arguments, quiet=True)
    except FileNotFoundError:
        raise Problem(
            "terraform is not on PATH: install it, or pass --outputs FILE with what "
            "`terraform output -json` printed elsewhere"
        ) from None
    except Refused as error:
        raise Problem(str(error)) from None
    except runner.Failed as error:
        raise _explained(name, error.said) from None


def named_prefix(folder: Path) -> str:
    """The prefix of an environment's names."""
    written = prefix_of(folder) if (folder / "main.tf").is_file() else None
    return written or os.environ.get("TF_VAR_prefix", PREFIX)  # noqa: SIM112


def initialized_with(folder: Path) -> str:
    """The state bucket that an environment of this checkout last worked on; "" for none."""
    try:
        backend = json.loads((folder / ".terraform/terraform.tfstate").read_text())["backend"]
        return str(backend["config"]["bucket"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _explained(name: str, errors: str) -> Problem:
    text = " ".join(re.sub(r"[│╷╵]", "", errors).split())
    if "403" in text or "denied" in text.lower():
        return Problem(
            f"your login may not read the state of {name}. Have roles/storage.objectViewer granted "
            "on the state bucket, or pass --outputs FILE"
        )
    return Problem(f"terraform says of {name}: {text.removeprefix('Error: ')[:300]}")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise Problem(f"--outputs {path} cannot be read: {error.strerror}") from None


def _values(text: str) -> dict[str, Any]:
    """Output name → value, from Terraform's {name: {value: …}} or plain {name: value}."""
    try:
        outputs: Mapping[str, Any] = json.loads(text or "{}")
    except ValueError:
        raise Problem("the outputs are no JSON. Make them with: terraform output -json") from None
    return {
        name: output["value"] if isinstance(output, dict) and "value" in output else output
        for name, output in outputs.items()
    }
