"""A change on its way, in a scratch repository with the local cloud as Google: planned, commented,
compared, applied, watched; and everything that stops it. Each runs as the account
that does it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scripts.ci.cli import parser
from scripts.ci.store import Store
from tests.localcloud.client.calls import caller

from .site import MAIN, SCRATCH, Site

from known import Refused  # isort: skip - scripts.ci makes it known

PIPELINE = "terraform/pipeline/main.tf"
WIDE = """
resource "google_project_iam_member" "wide" {
  project = var.project_id
  role    = "roles/editor"
  member  = "user:mallory@example.com"
}
"""
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


@pytest.fixture
def base(site: Site) -> Iterator[str]:
    """The commit that main is at, and is at again."""
    commit = site.git("rev-parse", "HEAD")
    yield commit
    site.git("reset", "-q", "--hard", commit)


def test_a_pull_request_that_does_what_none_should_shows_it_first(site: Site, base: str) -> None:
    """Deletes a bucket, widens roles, touches prod and dev together, and the delivery itself."""
    dev, prod, main = (site.root / p for p in (MAIN, MAIN.replace("dev", "prod"), PIPELINE))
    assert SCRATCH in dev.read_text()
    dev.write_text(dev.read_text().replace(SCRATCH, WIDE))
    prod.write_text(prod.read_text() + "# Later.\n")
    narrow = 'role    = "roles/storage.objectCreator"'
    assert narrow in main.read_text()
    main.write_text(main.read_text().replace(narrow, narrow.replace("objectCreator", "objectUser")))
    (site.root / ".github/workflows").mkdir(parents=True)
    (site.root / ".github/workflows/apply.yml").write_text("on: push\n")
    site.git("add", ".")
    site.git("commit", "-qm", "all at once")
    head = site.git("rev-parse", "HEAD")
    told = site.ci("affected", "--base", base, "--head", head)
    outputs = dict(re.findall(r"^(\w+)=(.*)$", told, re.M))
    assert outputs["environments"] == '["dev", "staging", "prod"]'
    site.ci("plan", "--head", head)
    words = ("--environments", '["dev"]', "--notes", outputs["notes"], "--run", RUN)
    site.ci("comment", "--number", "8", *words)
    body = site.github.comments[-1]["body"]
    processor = f"serviceAccount:files-dev-processor@{site.project}"
    seen = (
        "**This pull request changes the delivery itself.**",
        "`.github/workflows/apply.yml`",
        "**This pull request touches dev and prod together.**",
        "### dev: 1 to add, 1 to replace, 2 to destroy",
        "> **DESTROYED**",
        "> - `module.scratch.google_storage_bucket.this` **with its objects**",
        "> **REPLACED: destroyed and made anew**",
        "**Access**",
        f"+ roles/editor  user:mallory@example.com  on project {site.project}  <-- WIDE",
        f"- roles/storage.objectCreator  {processor}",
        f"+ roles/storage.objectUser  {processor}",
        "<details>",
    )
    places = [body.find(text) for text in seen]
    assert -1 not in places
    assert places == sorted(places)
    from_a_fork = site.ci("affected", "--base", base, "--head", head, "--fork", "true")
    assert "environments=[]" in from_a_fork
    assert "comes from a fork. It gets no login" in from_a_fork


def test_a_change_that_nobody_reviewed_is_refused_until_somebody_has_read_it(site: Site) -> None:
    site.rate()
    told = site.ci("prepare", fails=True)
    assert "dev is not applied: there is no reviewed plan for this commit" in told
    digest = told.rpartition("reviewed = ")[2].split()[0]
    assert "nothing is prepared" in site.ci("apply", fails=True)
    assert "accepted was 123" in site.ci("prepare", "--reviewed", "123", fails=True)
    site.ci("prepare", "--reviewed", digest)
    assert site.prepared()["changes"] is True


def test_what_changed_since_the_review_is_named_and_applied_by_an_approval_alone(
    site: Site,
) -> None:
    head = site.rate()
    site.ci("plan", "--head", head)
    site.lose_a_binding()
    told = site.ci("prepare", "--head", head, fails=True)
    assert "now create, which nobody reviewed" in told
    assert "iam_member" in told
    told = site.ci("prepare", "--head", head, "--approval")
    assert "An approval of this run accepts the plan above" in told
    assert site.prepared()["changes"] is True
    site.lose_a_binding(present=True)


def test_nothing_that_was_kept_can_be_overwritten(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor by the store's own doing: the account that plans may create, and nothing else."""
    for name, value in site.login("plan").items():
        monkeypatch.setenv(name, value)
    # urllib keeps the proxies that it saw at the first request of this process.
    monkeypatch.setattr("urllib.request._opener", None)
    bucket = f"{site.project}-files-plans"
    Store(bucket).write("reviewed/once", b"1")
    with pytest.raises(Refused, match="has written the same name"):
        Store(bucket).write("reviewed/once", b"2")
    upload = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o"
    query = {"uploadType": "media", "name": "reviewed/once"}
    member = site.member("plan")
    refused = caller(site.deployment.cloud)("POST", upload, member, params=query, data=b"2")
    assert refused.status_code == 403
    assert Store(bucket).read("reviewed/once") == b"1"


def test_what_stops_an_apply_says_what_is_so_and_the_way_on(site: Site) -> None:
    """One plan: exchanged, its login expired, its state locked, half applied, overtaken."""
    site.rate()
    site.ci("prepare", "--approval")
    kept = site.prepared()
    plan = ("--name", kept["name"], "--sha256", kept["sha256"])

    told = site.ci("apply", "--name", kept["name"], "--sha256", "0" * 64, fails=True)
    assert "is not what was prepared" in told

    told = site.ci("apply", *plan, fails=True, GOOGLE_OAUTH_ACCESS_TOKEN="expired")
    assert "Google does not accept the login" in told

    with locked(site):
        told = site.ci("apply", *plan, fails=True)
    assert "locked by ada@laptop" in told
    assert "unlock" in told
    assert "half applied" not in told

    rule = {"method": "cloudtasks.projects.locations.queues.patch", "code": 403}
    site.deployment.cloud.post("/faults", {"rules": [rule]})
    assert "dev is half applied" in site.ci("apply", *plan, fails=True)
    site.deployment.cloud.delete("/faults")
    site.ci("prepare", "--approval")
    site.ci("apply")

    told = site.ci("apply", *plan, fails=True)
    assert "the plan is older than the state" in told
    assert "half applied" not in told


@contextmanager
def locked(site: Site) -> Iterator[None]:
    """Somebody else holds the lock of the state."""
    lock = {
        "ID": "1",
        "Who": "ada@laptop",
        "Operation": "OperationTypeApply",
        "Created": "2026-01-01T00:00:00Z",
    }
    http, bucket = caller(site.deployment.cloud), f"{site.project}-files-tfstate"
    upload = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o"
    query = {"uploadType": "media", "name": "dev/default.tflock"}
    http("POST", upload, params=query, data=json.dumps(lock)).raise_for_status()
    yield
    name = f"https://storage.googleapis.com/storage/v1/b/{bucket}/o/dev%2Fdefault.tflock"
    http("DELETE", name).raise_for_status()


def test_an_expired_token_says_so_before_anything_is_planned(site: Site) -> None:
    told = site.ci("drift", fails=True, GOOGLE_OAUTH_ACCESS_TOKEN="expired")
    assert "Google does not accept the login" in told


def test_drift_opens_one_issue_keeps_it_and_closes_it(site: Site) -> None:
    def issue() -> str:
        return site.ci("issue", "--run", RUN)

    site.lose_a_binding()
    site.ci("drift")
    assert "dev: issue: opened" in issue()
    assert "dev: issue: updated" in issue()
    (held,) = site.github.issues
    assert held["title"] == "Drift: dev differs from main"
    assert "+ roles/storage.objectViewer" in held["body"]
    site.lose_a_binding(present=True)
    assert "dev: no changes" in site.ci("drift")
    assert "dev: issue: closed" in issue()
    assert held["state"] == "closed"
    assert "is as main says again" in site.github.comments[-1]["body"]
    assert "dev: issue: nothing" in issue()


@pytest.mark.parametrize(
    ("target", "commands"),
    [
        ("ci-plan", ["plan"]),
        ("ci-apply", ["prepare", "apply"]),
        ("drift", ["drift"]),
    ],
)
def test_the_targets_of_the_makefile_do_the_same(
    site: Site, target: str, commands: list[str]
) -> None:
    told = site.deployment.make("-n", target, "ENV=dev", "HEAD=c0ffee", "REVIEWED=1").stdout
    lines = [line.partition("-m scripts.ci ")[2] for line in told.splitlines()]
    for line, command in zip(lines, commands, strict=True):
        parsed = vars(parser().parse_args(shlex.split(line)))
        expected = {"command": command, "environment": "dev", "project": site.project}
        expected |= {"plan": {"head": "c0ffee"}}.get(command, {})
        expected |= {"prepare": {"head": "c0ffee", "reviewed": "1"}}.get(command, {})
        assert parsed == parsed | expected
