"""What a run of bootstrap is not given stays as it is applied."""

from __future__ import annotations

import json
from typing import Any

import pytest

import scripts.ops  # noqa: F401 - makes scripts/ known

import recall  # isort: skip
from runner import Environment  # isort: skip

APPLIED: dict[str, Any] = {
    "approvers": [],
    "capabilities": ["portal", "sweep"],
    "github": {"environment": "dev", "owner_id": "1", "repository_id": "2"},
    "kms_key_name": "",
    "region": "europe-west1",
}


def recalled(
    monkeypatch: pytest.MonkeyPatch, outputs: dict[str, Any], **named: str
) -> dict[str, str]:
    """The variables that Terraform is given then."""
    environ = {f"TF_VAR_{name}": value for name, value in named.items()}
    monkeypatch.setattr(recall.os, "environ", environ)
    monkeypatch.setattr(recall, "terraform", lambda *_, **__: json.dumps(outputs))
    recall.recall(Environment("bootstrap", "demo-project", "files"))
    return {name.removeprefix("TF_VAR_"): value for name, value in environ.items()}


def test_what_is_not_named_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = recalled(monkeypatch, {"settings": {"value": APPLIED}})
    assert json.loads(given["capabilities"]) == ["portal", "sweep"]
    assert json.loads(given["github"]) == APPLIED["github"]
    assert (given["region"], given["kms_key_name"]) == ("europe-west1", "")
    said = capsys.readouterr().out
    assert ": capabilities portal sweep; github dev 1 2; region europe-west1." in said


def test_what_is_named_replaces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = recalled(monkeypatch, {"settings": {"value": APPLIED}}, capabilities="[]", github="{}")
    assert (given["capabilities"], given["github"]) == ("[]", "{}")


def test_before_the_first_run_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recalled(monkeypatch, {}) == {}
    assert capsys.readouterr().out == ""
