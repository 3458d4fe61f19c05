"""What reviewers and people on call read, as pure functions of plans and paths."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.ci import ROOT, affected, cli, plans, texts

from deployables import deployables  # isort: skip - scripts.ci makes it known

ENVIRONMENTS = ["dev", "staging", "prod"]
RUN = "https://github.example/run/1"


def change(address: str, actions: list[str], **parts: Any) -> dict[str, Any]:
    """A resource change as `terraform show -json` has it."""
    resource = {"address": address, "type": address.split(".")[-2], "mode": "managed"}
    values = {"before": parts.pop("before", None), "after": parts.pop("after", None)}
    more = {"after_unknown": parts.pop("after_unknown", {})}
    more |= {"replace_paths": parts.pop("replace_paths")} if "replace_paths" in parts else {}
    return resource | parts | {"change": {"actions": actions} | values | more}


def told(*changes: dict[str, Any], **more: Any) -> str:
    shown = {"resource_changes": list(changes)} | more
    return texts.plan(plans.summary("prod", "c0ffee", shown, {}))


def bucket(**values: Any) -> dict[str, Any]:
    return {"name": "uploads", "location": "US", "labels": {"etag": "mine"}} | values


# What a reviewer sees


def test_a_deleted_bucket_comes_first_and_says_what_goes_with_it() -> None:
    text = told(
        change("google_pubsub_topic.new", ["create"], after={"name": "t"}),
        change("module.uploads.google_storage_bucket.this", ["delete"], before=bucket()),
    )
    lines = [line for line in text.splitlines() if line]
    assert lines[:4] == [
        "### prod: 1 to add, 1 to destroy",
        "> [!CAUTION]",
        "> **DESTROYED**",
        "> - `module.uploads.google_storage_bucket.this` **with its objects**",
    ]


def test_a_replacement_names_what_forces_it() -> None:
    text = told(
        change(
            "google_storage_bucket.uploads",
            ["delete", "create"],
            before=bucket(),
            after=bucket(location="EU"),
            replace_paths=[["location"]],
        )
    )
    assert "REPLACED" in text
    assert "**with its objects**, forced by `location`" in text


def test_a_widened_role_stands_by_itself_with_old_and_new() -> None:
    held = {"bucket": "results", "member": "serviceAccount:p@x", "condition": []}
    text = told(
        change(
            "google_storage_bucket_iam_member.processor",
            ["delete", "create"],
            before=held | {"role": "roles/storage.objectCreator"},
            after=held | {"role": "roles/storage.admin"},
        )
    )
    rows = text.partition("```diff\n")[2].partition("\n```")[0].splitlines()
    assert rows == [
        "- roles/storage.objectCreator  serviceAccount:p@x  on bucket results",
        "+ roles/storage.admin  serviceAccount:p@x  on bucket results  <-- WIDE",
    ]


@pytest.mark.parametrize(
    ("role", "member", "wide"),
    [
        ("roles/owner", "user:a@x", True),
        ("roles/iam.serviceAccountAdmin", "user:a@x", True),
        ("roles/run.invoker", "allUsers", True),
        ("roles/run.invoker", "serviceAccount:a@x", False),
    ],
)
def test_roles_that_give_much_and_members_that_are_everyone_are_marked(
    role: str, member: str, wide: bool
) -> None:
    after = {"role": role, "member": member, "project": "p"}
    assert ("<-- WIDE" in told(change("google_project_iam_member.a", ["create"], after=after))) == (
        wide
    )


def test_a_condition_and_a_member_that_is_not_known_yet_are_told() -> None:
    condition = [{"title": "t", "expression": "resource.name == 'x'"}]
    after = {"role": "roles/storage.objectViewer", "project": "p", "condition": condition}
    text = told(
        change(
            "google_project_iam_member.a", ["create"], after=after, after_unknown={"member": True}
        )
    )
    assert "(known after apply)  on project p if resource.name == 'x'" in text


def test_values_are_not_told() -> None:
    before, after = {"name": "f", "secret": "hunter2"}, {"name": "f", "secret": "hunter3"}
    text = told(change("google_thing.f", ["update"], before=before, after=after))
    assert "update google_thing.f: secret" in text
    assert "hunter" not in text


def test_nothing_in_a_plan_can_end_a_code_block() -> None:
    text = told(change('google_thing.a["```\n# x"]', ["create"], after={}))
    assert text.count("```") == 2


def test_the_comment_says_where_planning_failed_and_stays_below_github_s_limit() -> None:
    def comment(length: int) -> str:
        lost = [change(f"a.{'x' * length}{n}", ["delete"], before={}) for n in range(300)]
        summary = plans.summary("dev", "c0ffee", {"resource_changes": lost}, {})
        return texts.comment([], ["dev"], [summary], RUN)

    assert "… and 200 more: see the run's log" in comment(9)
    assert "Cut here" not in comment(9)
    text = comment(900)
    assert text.endswith(f"**Cut here: too long for GitHub.** [The run]({RUN}) tells it all.")
    assert texts.COMMENT_MARK in text
    assert len(text) < 65_536
    assert f"Planning failed: [see the run]({RUN})" in texts.comment([], ["dev"], [], RUN)


# Where a change is made


@pytest.mark.parametrize(
    ("path", "touched"),
    [
        ("environments/dev/main.tf", ["dev"]),
        ("terraform/modules/bucket/main.tf", ENVIRONMENTS),
        ("functions/bridge/main.py", ENVIRONMENTS),
        ("functions/bridge/requirements.txt", ENVIRONMENTS),
        ("scripts/build_functions.py", ENVIRONMENTS),
        ("environments/bootstrap/main.tf", []),
        ("terraform/pipeline/README.md", []),
        ("docs/delivery.md", []),
        ("tests/ci/test_texts.py", []),
    ],
)
def test_a_path_touches(path: str, touched: list[str]) -> None:
    assert affected.environments([path], ENVIRONMENTS) == touched


def test_prod_and_dev_together_are_told() -> None:
    paths = ["environments/prod/main.tf", "environments/dev/main.tf"]
    touched = affected.environments(paths, ENVIRONMENTS)
    (note,) = affected.notes(paths, touched, fork=False)
    assert "touches dev and prod together" in note


def test_a_change_of_the_modules_alone_is_no_such_thing() -> None:
    paths = ["terraform/pipeline/main.tf"]
    assert affected.notes(paths, affected.environments(paths, ENVIRONMENTS), fork=False) == []


@pytest.mark.parametrize("path", [".github/workflows/plan.yml", "scripts/ci/plans.py", "Makefile"])
def test_a_change_of_the_delivery_itself_is_told(path: str) -> None:
    (note,) = affected.notes([path], [], fork=False)
    assert "changes the delivery itself" in note
    assert f"`{path}`" in note


def test_a_change_of_bootstrap_says_who_applies_it() -> None:
    (note,) = affected.notes(["environments/bootstrap/main.tf"], [], fork=False)
    assert "An owner applies it by hand" in note


def test_a_fork_is_told_why_nothing_is_planned() -> None:
    (note,) = affected.notes(["terraform/pipeline/main.tf"], ENVIRONMENTS, fork=True)
    assert "comes from a fork" in note
    assert "only the static checks run" in note


# Comparing


def normal(*changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return plans.normalised({"resource_changes": list(changes)} | more)


def test_what_changes_by_itself_makes_no_difference() -> None:
    def shown(etag: str, **more: Any) -> dict[str, Any]:
        block = [{"update_time": etag, "size": 1}]
        before = bucket(etag=etag, blocks=block)
        row = change("google_storage_bucket.a", ["update"], before=before, after=bucket(x=1))
        return normal(row, change("a.b", ["no-op"], before={"x": etag}), **more)

    one = shown("1", timestamp="a", relevant_attributes=[1], resource_drift=[{}])
    other = shown("2", timestamp="b", relevant_attributes=[2])
    assert plans.digest(one) == plans.digest(other)
    assert plans.difference(one, other) == []


def test_a_queue_that_is_named_by_the_second_of_its_plan_is_the_same_in_two_plans() -> None:
    def shown(second: str) -> dict[str, Any]:
        digits = f"2611211230{second}"
        after = {"name": f"files-dev-default-{digits}", "labels": {"made": digits}}
        row = change("google_cloud_tasks_queue.a", ["create"], after=after)
        output = {"queue": {"actions": ["create"], "after": {"default": f"q-{digits}"}}}
        return normal(row, timestamp=f"2026-11-21T12:30:{second}Z", output_changes=output)

    assert plans.digest(shown("40")) == plans.digest(shown("59"))
    other = change("google_cloud_tasks_queue.a", ["create"], after={"name": "q-261121123041"})
    assert plans.difference(normal(other, timestamp="2026-11-21T12:30:40Z"), shown("40")) != []


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("actions", ["delete", "create"], "reviewed as update, now replace"),
        ("after", bucket(labels={"etag": "other"}), "with other values: labels"),
        ("after_unknown", {"location": True}, "with other values: location"),
        ("replace_paths", [["name"]], "with other values: replace_paths"),
        ("before", bucket(location="ASIA"), "with other values: location"),
    ],
)
def test_each_thing_that_a_reviewer_agreed_to_is_compared(
    field: str, value: Any, sentence: str
) -> None:
    parts: dict[str, Any] = {"before": bucket(), "after": bucket(), "actions": ["update"]}
    reviewed = normal(change("google_storage_bucket.a", **parts))
    fresh = normal(change("google_storage_bucket.a", **(parts | {field: value})))
    assert plans.digest(reviewed) != plans.digest(fresh)
    (found,) = plans.difference(reviewed, fresh)
    assert sentence in found


def test_more_and_less_than_was_reviewed_is_told() -> None:
    one, other = change("x.a", ["create"], after={}), change("x.b", ["delete"], before={})
    assert plans.difference(normal(one), normal(other)) == [
        "x.a: reviewed as create, now left alone",
        "x.b: now delete, which nobody reviewed",
    ]


def test_a_moved_resource_and_a_changed_output_count() -> None:
    moved = change("x.b", ["no-op"], before={}, after={}, previous_address="x.a")
    output = {"url": {"actions": ["update"], "before": "a", "after": "b"}}
    plan = normal(moved, output_changes=output)
    assert plans.changes_anything(plan)
    assert plans.action(plan["resources"]["x.b"]) == "move"
    assert plans.difference(normal(), plan) == [
        "x.b: now move, which nobody reviewed",
        "output url: now update, which nobody reviewed",
    ]


# Drift and releases


def summary(*changes: dict[str, Any], drift: bool) -> dict[str, Any]:
    row = change("x.a", ["update"], before={"a": 1}, after={"a": 2})
    shown: dict[str, Any] = {"resource_changes": list(changes)}
    shown["resource_drift"] = [row] if drift else []
    return plans.summary("dev", "c0ffee", shown, {})


def test_the_issue_tells_what_was_changed_by_hand_from_what_was_not_applied() -> None:
    row = change("x.a", ["update"], before={"a": 2}, after={"a": 1})
    by_hand = texts.issue(summary(row, drift=True), RUN)
    assert "Changed outside Terraform since the last apply:\n\n- `x.a`" in by_hand
    assert "was not applied yet" not in by_hand
    late = texts.issue(summary(row, drift=False), RUN)
    assert "main holds changes that were not applied yet" in late
    assert all(texts.issue_mark("dev") in text for text in (by_hand, late))


def test_release_notes_are_the_section_of_that_version() -> None:
    log = (
        "# Changelog\n\n## Unreleased\n\n- c\n\n## [1.1.0] - 2026-02-01\n\n- b\n\n## 1.0.0\n\n- a\n"
    )
    assert texts.release_notes(log, "v1.1.0") == "- b"
    assert texts.release_notes(log, "v1.0.0") == "- a"
    with pytest.raises(ValueError, match=r"says nothing about v2\.0\.0"):
        texts.release_notes(log, "v2.0.0")


def test_the_notes_of_the_version_to_come_name_every_zip_and_the_upgrade() -> None:
    version = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[0]
    notes = texts.release_notes((ROOT / "CHANGELOG.md").read_text("utf-8"), f"v{version}")
    for deployable in deployables():
        assert f"`{deployable.name}`" in notes
    assert "### Upgrading" in notes


# What a runner keeps meanwhile


def test_a_plan_is_its_owners_alone_to_read_as_it_is_made_and_as_it_is_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds values that its summary leaves out."""
    environment = cli.Environment("dev", "demo-project", "files")

    def plan(environment: object, *words: str, **more: object) -> None:
        Path(words[-1].partition("=")[2]).write_bytes(b"plan")

    monkeypatch.setattr(cli, "HERE", tmp_path)
    monkeypatch.setattr(cli, "use_bucket", lambda environment: None)
    monkeypatch.setattr(cli, "terraform", plan)
    monkeypatch.setattr(cli, "SavedPlan", lambda *_: SimpleNamespace(shown={}))
    monkeypatch.setattr(cli.deploy, "check_spelling", lambda environment: None)
    made_from = {one.name: "" for one in deployables()}
    monkeypatch.setattr(cli.deploy, "sources", lambda environment: made_from)
    _, _, path = cli.fresh_plan(environment)
    assert path.stat().st_mode & 0o777 == 0o600
    path = cli.unbundle(cli.bundle(path, {}))
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"plan", 0o600)
