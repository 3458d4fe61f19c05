"""`make first-run` on the local cloud: every inference holds, and a flipped one is named alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.ops import first_run
from scripts.ops.first_run import FirstRun
from scripts.ops.problems import Problem
from tests.localcloud.client import LocalCloud
from tests.localcloud.client.deployment import Deployment

BEGIN = """
import json, sys
from scripts.ops import first_run
first_run.LOOKS_EVERY = 0.2
"""
MAIN = BEGIN + "raise SystemExit(first_run.main())"
MAKE = BEGIN + "first_run.FirstRun(sys.argv[1]).make()"
# All but the plan and the file, which take longest and which the first test has.
LOOK = (
    BEGIN
    + """
first = first_run.FirstRun(sys.argv[1])
first.applied = sys.argv[2]
settled = [check() for check in first.checks() if check.__name__ != "no_difference"]
print(json.dumps([one.inference for one in settled if not one.holds]))
"""
)


def run(deployment: Deployment, code: str, *words: str, typed: str = "") -> Any:
    command = [sys.executable, "-c", code, deployment.cloud.project, *words]
    return subprocess.run(
        command, cwd=deployment.checkout, env=deployment.environ, input=typed,
        capture_output=True, text=True,
    )  # fmt: skip


def test_a_first_run_finds_what_is_inferred_and_leaves_nothing() -> None:
    with LocalCloud.start() as cloud:
        deployment = Deployment.prepare(cloud)
        before = cloud.get("/snapshot")
        refused = run(deployment, MAIN, typed="yes\n")
        assert refused.returncode == 2
        assert "nothing was done" in refused.stderr
        assert "nobody is here to ask" in run(deployment, MAIN).stderr
        done = run(deployment, MAIN, "--yes")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        report = (deployment.checkout / "build/first-run.md").read_text()
        rows = [line.split(" | ") for line in report.splitlines() if line.startswith("| ")][1:]
        assert [row[1] for row in rows] == [row[2] for row in rows]
        assert len(rows) == 6
        assert cloud.get("/snapshot") == before
        assert not (deployment.checkout / "environments/first").exists()


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Deployment, str]]:
    """The scratch environment, and what its apply said where metrics are known late."""
    with LocalCloud.start() as cloud:
        deployment = Deployment.prepare(cloud)
        cloud.post("/faults", {"metric_seconds": 3})
        done = run(deployment, MAKE)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        yield deployment, done.stdout


FLIPPED = [
    ({}, "Cloud Monitoring knows a new log metric"),
    ({"rates": {"storage.create_only_403": 1.0}}, "Create-only on an existing name, by an account"),
    ({"rates": {"functions.own_source": 1.0}}, "A function that is read names"),
    ({"rates": {"functions.any_generation": 1.0}}, "The generation of Google's copy beside"),
    ({"run_quota": {"vcpus": 1}}, "Cloud Run's quota, where there is one, is told as numbers"),
]


@pytest.mark.parametrize(("flipped", "named"), FLIPPED, ids=[named for _, named in FLIPPED])
def test_it_names_exactly_what_differs(
    made: tuple[Deployment, str], flipped: dict[str, Any], named: str
) -> None:
    deployment, applied = made
    deployment.cloud.delete("/faults")
    deployment.cloud.post("/faults", flipped)
    done = run(deployment, LOOK, "" if flipped else applied)
    (found,) = json.loads(done.stdout.splitlines()[-1])
    assert found.startswith(named)


@pytest.mark.parametrize("failing", ["bootstrap", "apply", ""])
def test_what_was_begun_is_taken_away_where_something_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: str
) -> None:
    said: list[str] = []

    def deploy(_: FirstRun, verb: str, *words: str, **__: str) -> str:
        said.append(" ".join((verb, *(w for w in words if not w.startswith("--")))))
        if verb == failing:
            raise Problem(f"{verb} failed")
        return ""

    def look(_: FirstRun) -> Any:
        raise Problem("it cannot look")

    monkeypatch.setattr(FirstRun, "deploy", deploy)
    monkeypatch.setattr(FirstRun, "operator", lambda _: "user:ada@example.com")
    monkeypatch.setattr(FirstRun, "checks", lambda first: [lambda: look(first)])
    monkeypatch.setattr(first_run, "Clients", lambda project: None)
    monkeypatch.setattr(first_run, "refuse_unless_new", lambda first: None)
    monkeypatch.setattr(first_run.shutil, "copytree", lambda *_, **__: None)
    monkeypatch.setattr(first_run.shutil, "rmtree", lambda *_, **__: said.append("rmtree"))
    monkeypatch.setattr("pathlib.Path.write_text", lambda *_: 0)
    monkeypatch.setattr(sys, "argv", ["first-run", "my-project", "--yes"])
    assert first_run.main() == 2
    assert f"first-run: {failing or 'it cannot look'}" in capsys.readouterr().err
    made, gone = ["bootstrap", "apply first"], ["destroy first", "destroy bootstrap", "rmtree"]
    if failing == "bootstrap":
        made, gone = made[:1], gone[1:]
    assert said == made + gone
