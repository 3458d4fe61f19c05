"""checkov's own policies and ours: what they find, and what is left out for a reason."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from scripts.checks import gates

import build_functions  # isort: skip - scripts.checks makes it known

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = "tests/policies/fixtures"
OURS = ("CKV2_FILES_1", "CKV2_FILES_2", "CKV2_FILES_3", "CKV2_FILES_4")

needs_tools = pytest.mark.skipif(
    not (gates.TOOLS / "complete").exists(), reason="make gates has not made its tools yet"
)


@cache
def fixtures() -> gates.Rows:
    return gates.checked(FIXTURES)


def declared(policy: str) -> set[str]:
    """The resources of failing.tf that stand below the policy's name."""
    text = (ROOT / FIXTURES / "failing.tf").read_text()
    rows = re.findall(r'^# (\w+)\nresource "(\w+)" "(\w+)"', text, re.M)
    return {f"{kind}.{name}" for held, kind, name in rows if held == policy}


@needs_tools
@pytest.mark.parametrize("policy", OURS)
def test_a_policy_of_ours_fails_what_it_is_for_and_nothing_else(policy: str) -> None:
    failed = {resource for held, resource, _ in fixtures()["failed"] if held == policy}
    assert failed == declared(policy) != set()


@needs_tools
@pytest.mark.parametrize("policy", OURS)
def test_a_policy_of_ours_passes_what_is_right(policy: str) -> None:
    assert [r for held, r, _ in fixtures()["passed"] if held == policy]


def test_all_of_ours_have_fixtures() -> None:
    assert gates.own_policies() == set(OURS)


def test_the_gate_tells_what_fails_what_is_left_out_for_nothing_and_what_sees_nothing() -> None:
    left_out = {(policy, "a.b", "main.tf:1: x") for policy in gates.SKIPS}
    seen = {(policy, "a.b", "main.tf:1: x") for policy in OURS}
    assert gates.judged({"failed": left_out, "passed": seen}) == []
    (failed,) = gates.judged(
        {"failed": left_out | {("CKV_1", "c.d", "main.tf:7: Ensure")}, "passed": seen}
    )
    assert failed == "main.tf:7: Ensure: CKV_1 c.d"
    one, *rest = sorted(left_out)
    (stale,) = gates.judged({"failed": set(rest), "passed": seen | {one}})
    assert stale == f"{one[0]} is left out, and nothing fails it: see SKIPS"
    one, *rest = sorted(seen)
    (blind,) = gates.judged({"failed": left_out, "passed": set(rest)})
    assert blind == f"{one[0]} sees nothing that it could judge"


def test_every_policy_that_is_left_out_has_a_test_of_its_reason() -> None:
    """CKV_GHA_7's stands beside the other tests of the workflows."""
    texts = [Path(__file__).read_text(), (ROOT / "tests/ci/test_workflows.py").read_text()]
    named = {
        name for text in texts for name in re.findall(r"The reason (?:why|for)\D*(CKV_\w+)", text)
    }
    named |= {
        name for text in texts for name in re.findall(r"reason why checkov's (CKV_\w+)", text)
    }
    assert named == gates.SKIPS.keys()


def test_buckets_let_no_public_in_so_usage_logs_tell_nothing() -> None:
    """The reason for CKV_GCP_62."""
    text = (ROOT / "terraform/modules/bucket/main.tf").read_text()
    assert re.search(r'public_access_prevention\s*=\s*"enforced"', text)
    buckets = [
        path
        for folder in ("terraform", "environments")
        for path in (ROOT / folder).rglob("*.tf")
        if 'resource "google_storage_bucket"' in path.read_text()
    ]
    assert buckets == [ROOT / "terraform/modules/bucket/main.tf"]


def test_events_carry_what_describes_a_file_and_not_the_file() -> None:
    """The reason for CKV_GCP_83: the content lies in buckets, and those take a key."""
    text = (ROOT / "terraform/modules/object_events/main.tf").read_text()
    assert re.search(r'payload_format\s*=\s*"JSON_API_V1"', text)
    assert "default_kms_key_name" in (ROOT / "terraform/modules/bucket/main.tf").read_text()


def test_images_are_built_from_this_repository_alone() -> None:
    """They hold what anybody can read here, and no settings."""
    folders = {one.folder.parent for one in build_functions.deployables()}
    assert folders == {ROOT / "functions"}
    assert build_functions.build.__defaults__[0] == ROOT / "functions"


def test_github_is_known_by_numbers() -> None:
    """The reason for CKV_GCP_125; that each part of the conditions is needed: tests/ci."""
    text = (ROOT / "environments/bootstrap/github.tf").read_text()
    assert "assertion.sub" not in text
    (both,) = re.findall(r"of_repository = (.*)", text)
    assert "assertion.repository_owner_id == " in both
    assert "assertion.repository_id == " in both
    conditions = re.findall(r"^    (?:apply|plan) += (.*)", text, re.M)[:2]
    assert all(c.startswith('"${local.of_repository} && ') for c in conditions)
