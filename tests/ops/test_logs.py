"""`make logs` without a cloud: what it says where it cannot look."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import logs
from scripts.ops import ROOT

NONE = "no project is named. Say which with --project (make: PROJECT=…)"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--project", "", "--object", "gs://up/x"], NONE),
        (["--event", "done"], NONE),
        (["--project", "my-project", "--event", ""], "name an object for its story"),
        (["--project", "my-project", "--event", "dnoe"], "there is no event dnoe; name an object"),
        (["--project", "my-project", "--object", "x"], "x is not an object: write gs://"),
    ],
)
def test_what_is_missing_or_misspelt_is_one_line(words: list[str], line: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/logs.py", *words],
        env={"GOOGLE_OAUTH_ACCESS_TOKEN": "x", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"logs: {line}")
    assert done.stderr.count("\n") == 1


def test_without_a_login_it_says_how_to_get_one(tmp_path: Path) -> None:
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(
        "#!/bin/sh\necho 'ERROR: (gcloud.auth.print-access-token) No active account.' >&2; exit 1\n"
    )
    gcloud.chmod(0o755)
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/logs.py", "--project", "my-project", "--event", "done"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("logs: No active account. Log in with: gcloud auth login")


def test_its_events_are_those_of_the_page() -> None:
    page = (ROOT / "docs/reasons.md").read_text()
    rows = re.findall(r"^\| `\w+` \| `(\w+)` \| \d|^\| `(\w+)` \| (?:\d+[, \d]*)?\|", page, re.M)
    found = {bridge or other for bridge, other in rows}
    assert sorted(found) == sorted(logs.EVENTS)


@pytest.mark.parametrize("words", [("--file", "photos-12"), ("--file", "x")])
def test_what_is_not_a_file_id_is_refused(words: tuple[str, str]) -> None:
    command = [sys.executable, "scripts/logs.py", "--project", "p", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not a file_id: it is FOLDER-, then 32 hex digits" in done.stderr
