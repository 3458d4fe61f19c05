"""This repository, unmodified, deployed to a local cloud by its own commands."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..client import CACHE, ROOT, LocalCloud
from .terraform import Provider, choose

PARTS = ("Makefile", "terraform", "environments", "functions", "scripts")


class CommandFailed(RuntimeError):
    """A command of the repository failed: what it printed last."""


@dataclass
class Deployment:
    """A copy of the checkout beside a local cloud, so that runs never meet in one folder.

    Attributes:
        cloud: where it is deployed.
        provider: what Terraform runs with.
        checkout: the copy; its files are those of this checkout, byte for byte.
        environ: of every command.
    """

    cloud: LocalCloud
    provider: Provider
    checkout: Path
    environ: dict[str, str] = field(repr=False)

    @classmethod
    def prepare(cls, cloud: LocalCloud, provider: Provider | None = None) -> Deployment:
        provider = provider or choose(cloud)
        checkout = cloud.folder / "checkout"
        for part in PARTS:
            source = ROOT / part
            ignore = shutil.ignore_patterns(
                "__pycache__",
                ".terraform*",
                "*.tfstate*",
                "*.tfplan",
                "*_override.tf",
                ".mypy_cache",
            )
            if source.is_dir():
                shutil.copytree(source, checkout / part, ignore=ignore)
            elif source.exists():
                checkout.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, checkout / part)
        # Nothing of the caller's own Terraform or Google settings may reach the commands.
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(
                ("GOOGLE_", "CLOUDSDK_", "TF_VAR_", "TF_REATTACH", "MAKE", "MFLAGS")
            )
        }
        # Google's provider sleeps after some creations: more at once than the usual ten.
        many = dict.fromkeys(("TF_CLI_ARGS_apply", "TF_CLI_ARGS_destroy"), "-parallelism=30")
        terraform = {"TF_IN_AUTOMATION": "1", "TF_CLI_ARGS": "-no-color"} | many
        environ = own | cloud.environ() | provider.environ | terraform
        return cls(cloud, provider, checkout, environ)

    def run(
        self, *command: str | Path, log: Path | None = None, check: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the copy.

        Raises:
            CommandFailed: with the end of its output, when it fails and `check` is set.
        """
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=self.checkout,
            env=self.environ | {"REQUESTS_CA_BUNDLE": str(self.cloud.authority)} | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate()
        except BaseException:
            # Interrupted: the cloud and its locks go away with it, so nothing needs to end gently.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        done = subprocess.CompletedProcess(process.args, process.returncode, output)
        if log:
            with log.open("a") as file:
                file.write(f"$ {' '.join(map(str, command))}\n{done.stdout}\n")
        if check and done.returncode:
            tail = "\n".join(done.stdout.strip().splitlines()[-40:])
            raise CommandFailed(
                f"{' '.join(map(str, command))} failed ({done.returncode}):\n{tail}"
            )
        return done

    def make(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """`make TARGET NAME=VALUE …` as a user would, for this cloud's project."""
        python = f"PYTHON={sys.executable}"
        project = f"PROJECT={self.cloud.project}"
        return self.run("make", "--no-print-directory", python, *words, project, **more)

    def environ_added(self) -> dict[str, str]:
        """What this deployment adds to the caller's environment."""
        return {k: v for k, v in self.environ.items() if os.environ.get(k) != v}

    def outputs(self, environment: str = "dev", **more: str) -> dict[str, Any]:
        """What the pipeline of an environment says of itself (`terraform output`)."""
        command = ["terraform", f"-chdir=environments/{environment}", "output", "-json"]
        done = subprocess.run(
            command, cwd=self.checkout, env=self.environ | more, capture_output=True, text=True
        )
        if done.returncode:
            raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}")
        return {name: value["value"] for name, value in json.loads(done.stdout).items()}


def client(name: str) -> list[str] | None:
    """The command that runs `name` (gsutil, gcloud): the machine's, else from the package index."""
    if path := shutil.which(name):
        return [path]
    own = CACHE / name / "bin" / name
    return [str(own)] if own.exists() else None


@contextlib.contextmanager
def deployed(environment: str = "dev", provider: Provider | None = None) -> Iterator[Deployment]:
    """A local cloud with bootstrap and one environment applied."""
    with LocalCloud.start() as cloud:
        deployment = Deployment.prepare(cloud, provider)
        deployment.make("bootstrap", "YES=1")
        deployment.make("apply", f"ENV={environment}", "YES=1")
        yield deployment


def join(command: Sequence[str | Path]) -> str:
    return " ".join(str(part) for part in command)
