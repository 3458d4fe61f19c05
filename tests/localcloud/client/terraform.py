"""Which provider Terraform runs with: Google's own where `terraform init` finds it."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..client import CACHE, ROOT, LocalCloud

REAL, STANDIN = "hashicorp/google", "stand-in"


@dataclass(frozen=True)
class Provider:
    """A provider for one local cloud: its kind, how to name it, and what Terraform must be told."""

    kind: str
    title: str
    environ: dict[str, str]


def pinned() -> str:
    """The version that the environments pin."""
    text = (ROOT / "environments/dev/versions.tf").read_text()
    match = re.search(r'source\s*=\s*"hashicorp/google"\s*version\s*=\s*"=?\s*([\d.]+)"', text)
    assert match, "environments/dev/versions.tf pins no version of hashicorp/google"
    return match[1]


def choose(cloud: LocalCloud, wanted: str | None = None) -> Provider:
    """Tries `terraform init` with the pinned version; falls back to the stand-in.

    Args:
        cloud: the stand-in runs beside it and ends with it.
        wanted: "real" or "standin" to insist (also PROVIDER in the environment).

    Raises:
        RuntimeError: "real" was wanted and cannot be had.
    """
    wanted = wanted or os.environ.get("PROVIDER") or None
    if wanted not in (None, "real", "standin"):
        raise RuntimeError(f"PROVIDER is {wanted!r}: use real or standin, or leave it out")
    if wanted != "standin":
        error = _probe(cloud)
        if error is None:
            plugins = {
                "TF_PLUGIN_CACHE_DIR": str(_plugin_cache()),
                "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE": "1",
            }
            return Provider(REAL, f"hashicorp/google {pinned()} (Google's own)", plugins)
        if wanted == "real":
            raise RuntimeError(f"terraform init does not find hashicorp/google {pinned()}: {error}")
    announced = cloud.post("/standin")
    title = (
        f"stand-in for hashicorp/google {pinned()} (terraform init cannot get the real one here)"
    )
    return Provider(STANDIN, title, {"TF_REATTACH_PROVIDERS": announced["reattach"]})


def _plugin_cache() -> Path:
    path = CACHE / "terraform-plugins"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _probe(cloud: LocalCloud) -> str | None:
    """None when `terraform init` gets the pinned provider, else the last line of why not."""
    folder = cloud.folder / "probe"
    folder.mkdir(exist_ok=True)
    (folder / "versions.tf").write_text(
        'terraform {\n  required_providers {\n    google = {\n      source  = "hashicorp/google"\n'
        f'      version = "{pinned()}"\n    }}\n  }}\n}}\n'
    )
    environ = os.environ | {
        "CHECKPOINT_DISABLE": "1",
        "TF_PLUGIN_CACHE_DIR": str(_plugin_cache()),
        "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE": "1",
    }
    done = subprocess.run(
        ["terraform", f"-chdir={folder}", "init", "-no-color", "-input=false"],
        env=environ,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]
