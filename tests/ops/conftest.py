"""The operator's tool puts the functions' folders on the path."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.ops import ROOT

from .deploying import TERRAFORM


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with Python, a Terraform, and no login."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "terraform").write_text(TERRAFORM)
    (folder / "terraform").chmod(0o755)
    return {
        "PATH": f"{folder}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what deploys, that a test may change."""
    for part in ("terraform", "environments", "scripts", "functions"):
        ignore = shutil.ignore_patterns(".terraform*", "__pycache__")
        shutil.copytree(ROOT / part, tmp_path / "checkout" / part, ignore=ignore)
    return tmp_path / "checkout"
