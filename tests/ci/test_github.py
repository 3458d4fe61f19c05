"""Which commit is reviewed, and which comments are the bot's, whatever others write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from scripts.ci.github import PAGE, GitHub

from .github import Fake, fake


@pytest.fixture(scope="module")
def served() -> Iterator[Fake]:
    with fake() as github:
        yield github


@pytest.fixture
def github(served: Fake) -> Iterator[Fake]:
    served.comments, served.issues, served.pulls = [], [], {}
    return served


def client(github: Fake) -> GitHub:
    return GitHub("o/r", "token-of-the-job", github.url)


def pull(head: str, merged_at: str | None, commit: str | None) -> dict[str, Any]:
    return {"merged_at": merged_at, "merge_commit_sha": commit, "head": {"sha": head}}


DAY = "2026-11-26T10:00:00Z"


@pytest.mark.parametrize(
    ("pulls", "head"),
    [
        ([pull("reviewed", DAY, "c0ffee")], "reviewed"),
        # GitHub fills merge_commit_sha of an open one with a merge that it tried.
        ([pull("open", None, "c0ffee")], ""),
        ([pull("closed", None, "c0ffee"), pull("reviewed", DAY, "c0ffee")], "reviewed"),
        # The commit is on its branch, but another one merged it.
        ([pull("elsewhere", DAY, "decade")], ""),
        ([], ""),
    ],
)
def test_reviewed_is_the_head_of_the_pull_request_that_was_merged_as_this_commit(
    github: Fake, pulls: list[dict[str, Any]], head: str
) -> None:
    github.pulls["c0ffee"] = pulls
    assert client(github).reviewed_head("c0ffee") == head


def test_a_comment_with_the_mark_is_the_bot_s_or_is_left_alone(github: Fake) -> None:
    github.add_comment(7, "mark, by somebody", "mallory")
    client(github).comment(7, "mark", "mark: first")
    client(github).comment(7, "mark", "mark: second")
    told = [(comment["user"]["login"], comment["body"]) for comment in github.comments]
    assert told == [("mallory", "mark, by somebody"), ("github-actions[bot]", "mark: second")]


@pytest.mark.parametrize("before", [0, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE])
def test_the_bot_s_comment_is_found_behind_any_number_of_others(github: Fake, before: int) -> None:
    for number in range(before):
        github.add_comment(7, f"talk {number}", "ada")
    github.add_comment(7, "mark: first")
    client(github).comment(7, "mark", "mark: second")
    assert len(github.comments) == before + 1
    assert github.comments[-1]["body"] == "mark: second"


def test_an_issue_with_the_mark_is_the_bot_s_or_is_left_alone(github: Fake) -> None:
    theirs = {"number": 1, "state": "open", "user": {"login": "mallory"}, "body": "mark"}
    github.issues.append(theirs)
    kept = client(github)
    assert kept.keep_issue("mark", "drift", None, "gone") == "nothing"
    assert kept.keep_issue("mark", "drift", "mark: 1", "gone") == "opened"
    assert kept.keep_issue("mark", "drift", "mark: 2", "gone") == "updated"
    assert kept.keep_issue("mark", "drift", None, "gone") == "closed"
    assert [issue["state"] for issue in github.issues] == ["open", "closed"]
    assert github.issues[1]["body"] == "mark: 2"
