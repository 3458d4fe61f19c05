"""`make first-run` on the local cloud: every inference holds, and a flipped one is named alone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.deployment import Deployment

QUICK = """
from scripts.ops import first_run
first_run.LOOKS_EVERY = 0.2
raise SystemExit(first_run.main())
"""


def run(deployment: Deployment, typed: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", QUICK, deployment.cloud.project]
    return subprocess.run(
        command, cwd=deployment.checkout, env=deployment.environ, input=typed,
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flipped", "named"),
    [
        ({}, ""),
        ({"rates": {"storage.create_only_403": 1.0}}, "Create-only on an existing name"),
        ({"metric_seconds": 3}, "Cloud Monitoring knows a new log metric"),
    ],
    ids=["as inferred", "create-only", "metrics"],
)
def test_a_first_run_names_what_differs_and_leaves_nothing(
    flipped: dict[str, Any], named: str
) -> None:
    with LocalCloud.start() as cloud:
        deployment = Deployment.prepare(cloud)
        before = cloud.get("/snapshot")
        refused = run(deployment, "yes\n")
        assert refused.returncode == 2
        assert "nothing was done" in refused.stderr
        cloud.post("/faults", flipped)
        done = run(deployment, f"{cloud.project}\n")
        report = (deployment.checkout / "build/first-run.md").read_text()
        rows = [line.split(" | ") for line in report.splitlines() if line.startswith("| ")][1:]
        differing = [row[0].removeprefix("| ") for row in rows if row[1] != row[2]]
        assert len(rows) == 6
        assert len(differing) == bool(named), report
        assert all(one.startswith(named) for one in differing), report
        assert done.returncode == (1 if named else 0), done.stdout[-3000:] + done.stderr
        assert cloud.get("/snapshot") == before
        assert not (deployment.checkout / "environments/first").exists()
