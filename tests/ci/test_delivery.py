"""A change on its way, in a scratch repository with the local cloud as Google: planned, commented,
compared, applied, watched; and everything that stops it. Each runs as the account
that does it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from .conftest import door
from .site import Site

RUN = "https://github.example/run/1"


@pytest.fixture(autouse=True)
def tidy(site: Site) -> Iterator[None]:
    """Each test begins with nothing left over of the one before."""
    shutil.rmtree(site.root / "build/ci", ignore_errors=True)
    yield
    site.deployment.cloud.delete("/faults")


def test_a_reviewed_change_is_applied_and_one_comment_tells_of_it(site: Site) -> None:
    base = site.git("rev-parse", "HEAD")
    head = site.rate()
    told = site.ci("affected", "--base", base, "--head", head)
    assert 'environments=["dev"]' in told
    site.ci("plan", "--head", head)
    for _ in range(2):
        site.ci("comment", "--number", "7", "--environments", '["dev"]', "--run", RUN)
    (comment,) = site.github.comments
    assert "### dev: 1 to change" in comment["body"]
    assert "google_cloud_tasks_queue.this: rate_limits" in comment["body"]
    # Merged by squashing: another commit with the same content.
    site.git("commit", "-q", "--amend", "-m", "squashed")
    assert site.git("rev-parse", "HEAD") != head
    site.ci("prepare", "--head", head)
    assert "applied, and a new plan has no changes" in site.ci("apply")


def test_a_change_that_nobody_reviewed_is_refused_until_somebody_has_read_it(site: Site) -> None:
    site.rate()
    told = site.ci("prepare", fails=True)
    assert "dev is not applied: there is no reviewed plan for this commit" in told
    digest = told.rpartition("reviewed = ")[2].split()[0]
    assert "nothing is prepared" in site.ci("apply", fails=True)
    assert "accepted was 123" in site.ci("prepare", "--reviewed", "123", fails=True)
    site.ci("prepare", "--reviewed", digest)
    site.ci("apply")


def test_what_changed_since_the_review_is_named_and_not_applied(site: Site) -> None:
    head = site.rate()
    site.ci("plan", "--head", head)
    site.lose_a_binding()
    told = site.ci("prepare", "--head", head, fails=True)
    assert "now create, which nobody reviewed" in told
    assert "iam_member" in told
    site.lose_a_binding(present=True)
    site.ci("prepare", "--head", head)
    site.ci("apply")


def test_an_environment_with_approval_shows_the_departure_and_waits(site: Site) -> None:
    head = site.rate()
    told = site.ci("prepare", "--head", head, "--approval")
    assert "An approval of this run accepts the plan above" in told
    assert site.prepared()["changes"] is True


def test_a_plan_that_was_exchanged_or_overtaken_is_not_applied(site: Site) -> None:
    head = site.rate()
    site.ci("plan", "--head", head)
    site.ci("prepare", "--head", head)
    early = site.prepared()
    told = site.ci("apply", "--name", early["name"], "--sha256", "0" * 64, fails=True)
    assert "is not what was prepared" in told
    site.ci("prepare", "--head", head)
    site.ci("apply")
    told = site.ci("apply", "--name", early["name"], "--sha256", early["sha256"], fails=True)
    assert "the plan is older than the state" in told
    assert "half applied" not in told


def test_nothing_that_was_kept_can_be_overwritten(site: Site) -> None:
    head = site.rate()
    run = {"GITHUB_RUN_ID": "1", "GITHUB_RUN_ATTEMPT": "1"}
    site.ci("plan", "--head", head, **run)
    assert "has written the same name" in site.ci("plan", "--head", head, fails=True, **run)


def test_a_held_lock_names_its_holder_and_the_way_on(site: Site) -> None:
    head = site.rate()
    site.ci("plan", "--head", head)
    site.ci("prepare", "--head", head)
    lock = {
        "ID": "1",
        "Who": "ada@laptop",
        "Operation": "OperationTypeApply",
        "Created": "2026-01-01T00:00:00Z",
    }
    bucket = f"{site.project}-files-tfstate"
    http = door(site.deployment.cloud)
    upload = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o"
    query = {"uploadType": "media", "name": "dev/default.tflock"}
    http("POST", upload, params=query, data=json.dumps(lock)).raise_for_status()
    told = site.ci("apply", fails=True)
    assert "locked by ada@laptop" in told
    assert "unlock" in told
    assert "half applied" not in told
    name = f"https://storage.googleapis.com/storage/v1/b/{bucket}/o/dev%2Fdefault.tflock"
    http("DELETE", name).raise_for_status()


def test_an_expired_token_says_so(site: Site) -> None:
    told = site.ci("drift", fails=True, GOOGLE_OAUTH_ACCESS_TOKEN="expired")
    assert "Google does not accept the login" in told


def test_a_half_applied_environment_says_what_is_so_and_goes_on_from_there(site: Site) -> None:
    head = site.rate()
    site.ci("plan", "--head", head)
    site.ci("prepare", "--head", head)
    rule = {"method": "cloudtasks.projects.locations.queues.patch", "code": 403}
    site.deployment.cloud.post("/faults", {"rules": [rule]})
    told = site.ci("apply", fails=True)
    assert "dev is half applied" in told
    site.deployment.cloud.delete("/faults")
    site.ci("prepare", "--head", head)
    site.ci("apply")
    assert "dev: no changes" in site.ci("drift")


def test_drift_opens_one_issue_keeps_it_and_closes_it(site: Site) -> None:
    def issue() -> str:
        site.ci("drift")
        return site.ci("issue", "--run", RUN)

    assert "dev: issue: nothing" in issue()
    site.lose_a_binding()
    assert "dev: issue: opened" in issue()
    assert "dev: issue: updated" in issue()
    (held,) = site.github.issues
    assert held["title"] == "Drift: dev differs from main"
    assert "+ roles/storage.objectViewer" in held["body"]
    site.lose_a_binding(present=True)
    assert "dev: issue: closed" in issue()
    assert held["state"] == "closed"
    assert "is as main says again" in site.github.comments[-1]["body"]


def test_the_targets_of_the_makefile_do_the_same(site: Site) -> None:
    site.rate()
    site.deployment.make("ci-plan", "ENV=dev")
    assert "a new plan has no changes" in site.deployment.make("ci-apply", "ENV=dev").stdout
    assert "dev: no changes" in site.deployment.make("drift", "ENV=dev").stdout
