"""`who`: what the workflows log in as, from the repository's variable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.ci.cli import WHO

ROOT = Path(__file__).resolve().parents[2]


def who(variable: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.ci", "who", "--environment", "dev"],
        cwd=ROOT,
        env=os.environ | {"ENVIRONMENTS": variable, "GITHUB_OUTPUT": ""},
        capture_output=True,
        text=True,
    )


def test_an_environment_s_settings_become_outputs() -> None:
    settings = {name: f"a {name}" for name in WHO}
    done = who(json.dumps({"dev": settings}))
    assert done.stdout.splitlines() == [f"{name}=a {name}" for name in WHO]


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("", "lacks project, plan_provider"),
        ('{"dev": {"project": "p"}}', "lacks plan_provider, plan_account"),
        ("{", "is not a JSON object"),
        ("[]", "is not a JSON object"),
    ],
)
def test_what_is_missing_is_named(variable: str, message: str) -> None:
    done = who(variable)
    assert done.returncode == 1
    assert message in done.stderr
