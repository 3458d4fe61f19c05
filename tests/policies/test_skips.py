"""A skipped proof is a failure in make check, and a line in make test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import _may_skip

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = """
import pytest

def test_one():
    pytest.skip("{}")

@pytest.mark.skipif(True, reason="{}")
def test_two(): ...
"""


@pytest.mark.parametrize(
    ("why", "environ", "code"),
    [
        ("Chromium is not here", {}, 0),
        ("Chromium is not here", {"SKIPS": "fail"}, 1),
        ("gcloud is not here", {"SKIPS": "fail"}, 0),
        ("gcloud is not here", {"SKIPS": "fail", "CI": "true"}, 1),
    ],
)
def test_a_skipped_proof_fails_where_it_must_not_be_missing(
    tmp_path: Path, why: str, environ: dict[str, str], code: int
) -> None:
    (tmp_path / "test_it.py").write_text(SKIPPED.format(why, why))
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:xdist", "-c",
               "/dev/null", "--rootdir", tmp_path, "--import-mode=importlib", tmp_path]  # fmt: skip
    bare = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT), "TMPDIR": os.environ["TMPDIR"]}
    done = subprocess.run(command, cwd=ROOT, env=bare | environ, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("1 failed, 1 error" if code else "2 skipped") in done.stdout


def test_what_may_be_missing_is_told_by_the_reason_and_not_by_the_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CI", raising=False)
    path = "/home/node/gcloud/test_it.py"
    assert _may_skip((path, 1, "Skipped: gcloud is not here"))
    assert not _may_skip((path, 1, "Skipped: Chromium is not here"))
