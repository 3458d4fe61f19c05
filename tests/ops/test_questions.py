"""What is asked before anything changes, and that the plan which was shown is what is applied."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from .deploying import DEV, deploy

# Notes how it is called, and what lies in the plan that it is given.
TELLING = """#!/bin/sh
echo "$*" >> "$CALLS"
for last; do :; done
case "$*" in
  version*) echo 'Terraform v1.11.4' ;;
  *show*|*" output "*) echo '{}' ;;
  *" state list"*) echo google_storage_bucket.this ;;
  *-out=*)
    test -z "$BROKEN" || exit 1
    for word; do case "$word" in -out=*) echo "made by $(wc -l < "$CALLS")" > "${word#-out=}" ;; esac; done
    exit 2 ;;
  *" apply "*) test ! -f "$last" || echo "given: $(cat "$last")" >> "$CALLS" ;;
esac
"""  # noqa: E501
BOOTSTRAP = ("--environment", "bootstrap", *DEV[2:])


class Desk:
    """A checkout, and somebody in front of it."""

    def __init__(self, machine: dict[str, str], checkout: Path, tmp_path: Path) -> None:
        (tmp_path / "bin/terraform").write_text(TELLING)
        self.checkout, self._calls = checkout, tmp_path / "calls"
        # One zip, so that each plan is quick.
        for folder in (checkout / "functions").iterdir():
            if folder.name not in ("bridge", "contract", "runtime"):
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        self.environ = machine | {"GOOGLE_OAUTH_ACCESS_TOKEN": "x", "CALLS": str(self._calls)}
        self.script = checkout / "scripts/deploy.py"

    def run(self, *words: str, **more: str) -> tuple[int, str]:
        """Without a terminal."""
        return deploy(self.environ | more, *words, script=self.script)

    def answering(self, answer: str, *words: str) -> tuple[int, str]:
        """On a terminal, with the answer typed in."""
        here, there = os.openpty()
        os.write(here, f"{answer}\n".encode())
        try:
            done = subprocess.run(
                [sys.executable, self.script, *words],
                env=self.environ, stdin=there, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
        finally:
            os.close(here)
            os.close(there)
        return done.returncode, done.stdout + done.stderr

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    def changed(self) -> list[str]:
        """What Terraform was told to do to anything that exists."""
        return [call for call in self.calls if re.search(r" (apply|destroy) ", call)]


@pytest.fixture
def desk(machine: dict[str, str], checkout: Path, tmp_path: Path) -> Desk:
    return Desk(machine, checkout, tmp_path)


@pytest.mark.parametrize(
    "words",
    [("apply", *DEV), ("destroy", *DEV), ("bootstrap", *DEV[2:]),
     ("destroy", *BOOTSTRAP)],
)  # fmt: skip
def test_without_a_terminal_and_without_yes_nothing_changes(
    desk: Desk, words: tuple[str, ...]
) -> None:
    code, said = desk.run(*words)
    assert (code, said.splitlines()[-1]) == (
        1,
        "deploy: nobody is here to ask. Say --yes (make: YES=1) to go on without a question",
    )
    assert desk.changed() == []


@pytest.mark.parametrize(
    ("words", "answer"),
    [(("apply", *DEV), "no"), (("apply", *DEV), "YES"), (("apply", *DEV), ""),
     (("destroy", *DEV), "y"), (("destroy", *BOOTSTRAP), "no")],
)  # fmt: skip
def test_any_answer_but_yes_changes_nothing(
    desk: Desk, words: tuple[str, ...], answer: str
) -> None:
    code, said = desk.answering(answer, *words)
    assert (code, said.endswith("deploy: nothing was changed\n")) == (1, True)
    assert desk.changed() == []
    assert not list((desk.checkout / "build").glob("*.tfplan"))


@pytest.mark.parametrize(("verb", "destroys"), [("apply", False), ("destroy", True)])
def test_yes_applies_the_very_plan_that_was_shown(desk: Desk, verb: str, destroys: bool) -> None:
    code, said = desk.answering("yes", verb, *DEV)
    assert code == 0, said
    (plan,) = [call for call in desk.calls if " plan " in call]
    assert (" -destroy" in plan) is destroys
    made = desk.calls.index(plan) + 1
    assert [call for call in desk.calls if call.startswith("given:")] == [f"given: made by {made}"]
    assert len(desk.changed()) == 1


def test_a_saved_plan_is_only_its_owners_to_read(desk: Desk) -> None:
    assert desk.run("plan", *DEV) == (0, "")
    (saved,) = (desk.checkout / "build").glob("*.tfplan")
    assert saved.stat().st_mode & 0o777 == 0o600


def test_a_saved_plan_is_applied_once_and_without_another(desk: Desk) -> None:
    assert desk.run("plan", *DEV) == (0, "")
    made = len(desk.calls) - 1  # after it, Terraform is asked what the plan holds
    assert desk.run("apply", *DEV) == (0, "")
    assert [call for call in desk.calls if call.startswith("given:")] == [f"given: made by {made}"]
    assert not list((desk.checkout / "build").glob("*.tfplan"))
    code, said = desk.run("apply", *DEV)
    assert (code, "nobody is here to ask" in said) == (1, True)


@pytest.mark.parametrize(
    "source",
    [
        "environments/dev/main.tf",
        "functions/bridge/main.py",
        "terraform/approvals/approvals.yaml",
        "terraform/pipeline/main.tf",
    ],
)
def test_a_plan_is_not_applied_once_what_it_was_made_from_changed(desk: Desk, source: str) -> None:
    assert desk.run("plan", *DEV) == (0, "")
    with (desk.checkout / source).open("a") as file:
        file.write("# changed\n")
    code, said = desk.run("apply", *DEV)
    assert code == 1
    assert "the configuration changed after the plan was saved, so it is dropped" in said
    assert said.endswith("Plan again: make plan ENV=dev PROJECT=demo-project")
    assert desk.changed() == []
    assert not list((desk.checkout / "build").glob("*.tfplan"))


def test_a_plan_that_did_not_end_leaves_nothing_to_apply(desk: Desk) -> None:
    """Once it failed, and once it was killed before it had written down what it was made from."""
    assert desk.run("plan", *DEV) == (0, "")
    code, _ = desk.run("plan", *DEV, BROKEN="1")
    assert code == 1
    assert not list((desk.checkout / "build").glob("*.tfplan"))
    assert desk.run("plan", *DEV) == (0, "")
    (desk.checkout / "build/dev-demo-project.json").unlink()
    before = len(desk.calls)
    code, said = desk.answering("yes", "apply", *DEV)
    assert code == 0
    assert "the last plan did not end, so what it saved is dropped, and this plans anew" in said
    assert len([call for call in desk.calls[before:] if " plan " in call]) == 1


def test_an_apply_tells_its_time_and_what_makes_the_rest_again(desk: Desk) -> None:
    before = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    code, said = desk.answering("yes", "apply", *DEV)
    assert code == 0
    told = re.search(
        r"applied at (\S+) UTC\. What was made before is made again by: make ops ENV=dev "
        r'PROJECT=demo-project ARGS="redrive --rerender --until (\S+)"$',
        said,
        re.M,
    )
    assert told
    assert told[1] == told[2]
    assert before <= datetime.fromisoformat(told[1]) <= datetime.now(UTC).replace(tzinfo=None)
    _, said = desk.answering("yes", "destroy", *DEV)
    assert "made again" not in said
