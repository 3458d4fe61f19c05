"""The workflows: thin, pinned, with the least rights, and each command that they call exists."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.ci import cli
from scripts.ci.cli import WHO, parser

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github/workflows"
TEXTS = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.yml"))}
FLOWS: dict[str, Any] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = [(flow, job) for flow in FLOWS for job in FLOWS[flow]["jobs"]]
# Who may do more than read the code, and what.
RIGHTS = {
    ("plan", "plan"): {"id-token": "write"},
    ("plan", "comment"): {"pull-requests": "write"},
    ("apply", "reviewed"): {"pull-requests": "read"},
    ("apply", "dev"): {"id-token": "write"},
    ("apply", "staging"): {"id-token": "write"},
    ("apply", "prod"): {"id-token": "write"},
    ("environment", "plan"): {"id-token": "write"},
    ("environment", "apply"): {"id-token": "write"},
    ("drift", "drift"): {"id-token": "write"},
    ("drift", "issue"): {"issues": "write"},
    ("release", "publish"): {"id-token": "write", "attestations": "write", "contents": "write"},
}


def job(flow: str, name: str) -> dict[str, Any]:
    found = FLOWS[flow]["jobs"][name]
    assert isinstance(found, dict)
    return found


def steps(flow: str, name: str) -> list[dict[str, Any]]:
    return list(job(flow, name).get("steps", []))


def test_the_workflows_are_those_that_are_documented() -> None:
    assert set(FLOWS) == {"apply", "check", "drift", "environment", "plan", "release"}


@pytest.mark.parametrize("flow", FLOWS)
def test_a_workflow_begins_without_rights(flow: str) -> None:
    assert FLOWS[flow]["permissions"] == {}


@pytest.mark.parametrize(("flow", "name"), JOBS)
def test_a_job_has_the_least_rights_and_an_end(flow: str, name: str) -> None:
    rights = job(flow, name)["permissions"]
    assert rights == {"contents": "read"} | RIGHTS.get((flow, name), {})
    assert "uses" in job(flow, name) or job(flow, name)["timeout-minutes"] <= 60


@pytest.mark.parametrize("flow", TEXTS)
def test_actions_are_pinned_by_commit_with_the_version_beside_it(flow: str) -> None:
    for line in re.findall(r"uses: (.*)", TEXTS[flow]):
        own = re.match(r"\./(\S+)", line)
        assert (
            (ROOT / own[1]).exists() if own else re.fullmatch(r"\S+@[0-9a-f]{40} # v[\d.]+", line)
        )


def test_one_action_has_one_pin() -> None:
    pins = {tuple(u.split("@")) for u in re.findall(r"uses: (\S+@\S+)", "".join(TEXTS.values()))}
    assert len({action for action, _ in pins}) == len(pins)


def test_no_apply_is_ever_cancelled() -> None:
    for flow in ("apply", "drift"):
        assert FLOWS[flow]["concurrency"]["cancel-in-progress"] is False
    assert job("environment", "apply")["concurrency"]["cancel-in-progress"] is False


def test_check_has_no_login_and_is_exactly_make_check() -> None:
    assert "id-token" not in TEXTS["check"]
    assert "secrets." not in TEXTS["check"]
    assert [step["run"] for step in steps("check", "check") if "run" in step] == ["make check"]


def test_no_workflow_runs_a_pull_request_s_code_with_the_rights_of_main() -> None:
    for text in TEXTS.values():
        assert "pull_request_target" not in text
        assert "workflow_run" not in text
        assert "secrets." not in text


def test_a_fork_gets_neither_plan_nor_comment() -> None:
    own = "github.event.pull_request.head.repo.full_name == github.repository"
    assert own in job("plan", "plan")["if"]
    assert own in job("plan", "comment")["if"]


def test_the_comment_is_written_by_the_base_s_code() -> None:
    (checkout,) = [s for s in steps("plan", "comment") if "checkout" in s.get("uses", "")]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"


def test_only_the_job_behind_an_approval_logs_in_to_write() -> None:
    for flow, name in JOBS:
        text = str(job(flow, name))
        writes = "apply_account" in text or "apply_provider" in text
        assert writes == ((flow, name) == ("environment", "apply"))
    assert job("environment", "apply")["environment"] == "${{ inputs.environment }}"


def test_what_verify_needs_is_installed_before_there_is_a_login() -> None:
    held = steps("environment", "apply")
    prepare = [step.get("run") for step in held].index("make prepare")
    login = [step.get("id") for step in held].index("login")
    assert prepare < login
    assert "make verify" in held[-1]["run"]


def test_staging_and_prod_wait_for_an_approval_and_dev_does_not() -> None:
    approval = {name: job("apply", name)["with"]["approval"] for name in ("dev", "staging", "prod")}
    assert approval == {"dev": False, "staging": True, "prod": True}


def test_no_plan_becomes_an_artifact() -> None:
    for flow, name in JOBS:
        for step in steps(flow, name):
            if "upload-artifact" in step.get("uses", ""):
                allowed = ("build/ci/${{ matrix.environment }}.json", "build/*.zip")
                assert step["with"]["path"] in allowed


def test_a_shell_gets_no_expression() -> None:
    for flow, name in JOBS:
        for step in steps(flow, name):
            assert "${{" not in step.get("run", "")


def test_each_command_that_is_called_exists() -> None:
    called = set(re.findall(r"python3 -m scripts\.ci (\w+)", "".join(TEXTS.values())))
    called |= {"plan", "drift", "apply", "prepare"}  # through make
    commands = set(parser()._subparsers._group_actions[0].choices)  # type: ignore
    assert called == commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"run: make ([a-z-]+)", "".join(TEXTS.values()))) <= targets


def test_what_who_tells_is_what_logins_ask_for() -> None:
    assert set(re.findall(r"steps\.who\.outputs\.(\w+)", "".join(TEXTS.values()))) == set(WHO)


def test_a_run_by_hand_chooses_and_builds_nothing_else() -> None:
    """The reason why checkov's CKV_GHA_7 is left out."""
    inputs = FLOWS["apply"][True]["workflow_dispatch"]["inputs"]  # YAML reads `on` as true
    assert set(inputs) == {"environment", "reviewed"}
    assert inputs["environment"]["options"] == ["dev", "staging", "prod"]
    assert "make build" not in TEXTS["apply"] + TEXTS["environment"]


def triggers(flow: str) -> Any:
    return FLOWS[flow][True]  # YAML reads `on` as true


def test_each_workflow_begins_when_it_should_and_at_no_other_time() -> None:
    assert triggers("plan") == {"pull_request": None}
    assert triggers("check") == {"pull_request": None, "push": {"branches": ["main"]}}
    assert set(triggers("apply")) == {"push", "workflow_dispatch"}
    assert triggers("apply")["push"] == {"branches": ["main"]}
    assert triggers("release") == {"push": {"tags": ["v*"]}}
    assert set(triggers("environment")) == {"workflow_call"}
    assert set(triggers("drift")) == {"schedule", "workflow_dispatch"}
    (night,) = triggers("drift")["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \*", night["cron"])


def test_a_change_reaches_prod_only_after_staging_and_staging_only_after_dev() -> None:
    needs = {name: job("apply", name).get("needs") for name in ("dev", "staging", "prod")}
    assert needs == {
        "dev": "reviewed", "staging": ["reviewed", "dev"], "prod": ["reviewed", "staging"],
    }  # fmt: skip
    # `!cancelled()` lets a job run although one before it failed: so each says what must not have.
    for name, before in (("staging", "dev"), ("prod", "staging")):
        terms = [term.strip(" ()") for term in re.split(r"&&|\|\|", job("apply", name)["if"])]
        assert terms == [
            "!cancelled", "needs.reviewed.result == 'success'",
            f"needs.{before}.result != 'failure'",
            "github.event_name == 'push'", f"inputs.environment == '{name}'",
        ]  # fmt: skip
    assert job("environment", "apply")["needs"] == "plan"


def test_runs_that_must_not_meet_have_one_group_and_others_have_none() -> None:
    groups = {flow: FLOWS[flow].get("concurrency", {}).get("group") for flow in FLOWS}
    assert groups == {
        "apply": "apply-${{ github.run_id }}",
        "check": "check-${{ github.ref }}",
        "drift": "drift",
        "environment": None,
        "plan": "plan-${{ github.event.pull_request.number }}",
        "release": "release-${{ github.ref }}",
    }
    assert job("environment", "apply")["concurrency"]["group"] == (
        "environment-${{ inputs.environment }}"
    )


def test_a_release_is_what_two_pythons_built_alike_with_its_provenance() -> None:
    assert job("release", "build")["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    assert job("release", "publish")["needs"] == "build"
    held = steps("release", "publish")
    told = [step.get("run", "") or step.get("uses", "").partition("@")[0] for step in held]
    (compared,) = [n for n, text in enumerate(told) if text.startswith("diff -r build/zips")]
    attested = told.index("actions/attest")
    (made,) = [n for n, text in enumerate(told) if text.startswith("gh release create")]
    assert compared < attested < made
    assert held[attested]["with"]["subject-path"] == "build/zips-3.13/*.zip"
    assert "--verify-tag" in told[made]


def test_what_terraform_said_of_a_failure_without_a_known_way_on_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: Any) -> None:
        """As Terraform does."""
        raise cli.Failed(3, "Error: the provider says why\n")

    monkeypatch.setitem(cli.COMMANDS, "who", fails)
    monkeypatch.setattr("sys.argv", ["ci", "who", "--environment", "dev"])
    assert cli.main() == 3
    assert capsys.readouterr().err == "Error: the provider says why\n"


@pytest.mark.parametrize("fails", ["nothing", "lint gates", "test"])
def test_check_fails_with_lint_gates_or_a_test(tmp_path: Path, fails: str) -> None:
    stub = tmp_path / "make"
    stub.write_text(
        f'#!/bin/sh\necho "$* ${{SKIPS:-}}" >> {tmp_path}/ran\n'
        f'case "$*" in *" {fails}") exit 3;; esac\n'
    )
    stub.chmod(0o755)
    command = ["make", "-o", "prepare", f"MAKE={stub}", "check"]
    own = {name: value for name, value in os.environ.items() if name != "SKIPS"}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True)
    assert (done.returncode == 0) == (fails == "nothing"), done.stderr
    tools, *told = (tmp_path / "ran").read_text().splitlines()
    assert tools == "--no-print-directory gates GATES=links "  # tests use what gates install
    assert sorted(told) == ["--no-print-directory lint gates ", "--no-print-directory test fail"]


def linted(tmp_path: Path, fails: str = "nothing") -> tuple[int, list[list[str]]]:
    """`make lint` with tools that only tell how they were called: its code, and the calls."""
    for name in ("ruff", "mypy", "terraform"):
        tool = tmp_path / name
        tool.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/ran\n'
            f'case "{name} $*" in *"{fails}") exit 3;; esac\n'
        )
        tool.chmod(0o755)
    own = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["make", "-o", "prepare", f"BIN={tmp_path}", "lint"]
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True)
    return done.returncode, [line.split() for line in (tmp_path / "ran").read_text().splitlines()]


FUNCTIONS = sorted(f"functions/{path.parent.name}" for path in ROOT.glob("functions/*/main.py"))


def test_lint_has_the_types_of_the_repository_and_of_each_function_checked(tmp_path: Path) -> None:
    code, calls = linted(tmp_path)
    assert code == 0
    shared = {f"functions/{path.parent.name}" for path in ROOT.glob("functions/*/__init__.py")}
    whole, *each = [words[1:] for words in calls if words[0] == "mypy"]
    assert whole == []  # what pyproject.toml says
    assert sorted(words[-1] for words in each) == FUNCTIONS
    assert all(shared == set(words[:-1]) for words in each)
    for words in (["ruff", "check", "."], ["ruff", "format", "--check", "."]):
        assert words in calls
    assert ["terraform", "fmt", "-check", "-recursive", "terraform", "environments"] in calls


@pytest.mark.parametrize(
    "fails", ["ruff check .", "ruff format --check .", "mypy ", FUNCTIONS[0], "environments"]
)
def test_lint_fails_with_each_of_its_tools(tmp_path: Path, fails: str) -> None:
    code, calls = linted(tmp_path, fails)
    assert code != 0
    assert " ".join(calls[-1]).endswith(fails.strip())  # and goes no further


def test_check_is_format_lint_types_gates_and_all_tests() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    recipes = dict(re.findall(r"^([a-z-]+):[^\n]*\n((?:\t[^\n]*\n)+)", text, re.M))
    assert "scripts.checks.gates $(GATES)" in recipes["gates"]
    assert "pytest --numprocesses" in recipes["test"]
    # A recipe that begins with "-" goes on after an error.
    assert not re.search(r"^\t@?-", text, re.M)


def test_dependabot_looks_after_actions_pip_and_terraform() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    kinds = {update["package-ecosystem"]: update for update in updates}
    assert set(kinds) == {"github-actions", "pip", "terraform"}
    folders = {str(p.parent.relative_to(ROOT)) for p in ROOT.glob("functions/*/requirements.txt")}
    named = {path for path in kinds["pip"]["directories"] if "*" not in path}
    for pattern in set(kinds["pip"]["directories"]) - named:
        named |= {f"/{path.relative_to(ROOT)}" for path in ROOT.glob(pattern.lstrip("/"))}
    assert {f"/{folder}" for folder in folders} | {"/tests"} <= named
