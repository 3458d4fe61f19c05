"""Every text that delivery shows to people, as pure functions of summaries: see plans.summary."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

COMMENT_MARK = "<!-- plans of this repository's environments -->"
LIMIT = 60_000  # characters; GitHub refuses comments and issues above 65,536
ROWS = 100  # of one list; a reviewer reads no more, and the rest is in the run's log
# What is gone with these is gone: what people put into them, or what is on its way in them.
KEEPS_DATA = {
    "google_storage_bucket": "its objects",
    "google_pubsub_topic": "events on their way",
    "google_pubsub_subscription": "events on their way",
    "google_cloud_tasks_queue": "tasks on their way",
    "google_artifact_registry_repository": "its images",
}
WORDS = {
    "create": "to add",
    "update": "to change",
    "replace": "to replace",
    "delete": "to destroy",
    "forget": "to forget",
    "move": "to move",
    "import": "to import",
}


def code(text: str) -> str:
    """A code span: nothing in it can end it or become markup."""
    return "`" + re.sub(r"[`\r\n]+", " ", text) + "`"


def counts(summary: Json) -> str:
    """For instance: 2 to add, 1 to destroy."""
    actions = [change["action"] for change in summary["changes"]]
    told = [f"{actions.count(name)} {word}" for name, word in WORDS.items() if name in actions]
    if summary["outputs"]:
        told.append(f"{len(summary['outputs'])} outputs to change")
    return ", ".join(told) or "no changes"


def plan(summary: Json) -> str:
    """One environment's plan as Markdown: what is lost first, then who may do what, then all."""
    parts = [f"### {summary['environment']}: {counts(summary)}"]
    for name, title in (("delete", "DESTROYED"), ("replace", "REPLACED: destroyed and made anew")):
        lost = [c for c in summary["changes"] if c["action"] == name]
        if lost:
            parts.append(f"> [!CAUTION]\n> **{title}**\n" + _rows(_lost(c) for c in lost))
    if summary["access"]:
        rows = (
            f"{right['sign']} {right['role']}  {right['member']}  on {right['on']}"
            + ("  <-- WIDE" if right["wide"] else "")
            for right in summary["access"]
        )
        parts.append(
            "**Access**\n```diff\n" + "\n".join(_cut(_plain(row) for row in rows)) + "\n```"
        )
    rest = [c for c in summary["changes"] if c["action"] not in ("delete", "replace")]
    if rest:
        rows = (
            f"{c['action']} {c['address']}"
            + (f": {', '.join(c['attributes'])}" if c["attributes"] else "")
            for c in rest
        )
        listed = "\n".join(_cut(_plain(row) for row in rows))
        parts.append(
            f"<details><summary>{len(rest)} others</summary>\n\n```\n{listed}\n```\n</details>"
        )
    if summary["outputs"]:
        parts.append("Outputs: " + ", ".join(code(name) for name in summary["outputs"]))
    parts.append(f"Plan {code(summary['digest'])} of commit {code(summary['commit'])}")
    return "\n\n".join(parts)


def _lost(change: Json) -> str:
    with_it = KEEPS_DATA.get(change["type"])
    forced = ", ".join(code(path) for path in change["forced_by"])
    return (
        f"> - {code(change['address'])}"
        + (f" **with {with_it}**" if with_it else "")
        + (f", forced by {forced}" if forced else "")
    )


def _plain(row: str) -> str:
    return re.sub(r"[`\r\n]+", " ", row)


def _cut(lines: Iterable[str]) -> list[str]:
    rows = list(lines)
    more = [f"… and {len(rows) - ROWS} more: see the run's log"] if len(rows) > ROWS else []
    return rows[:ROWS] + more


def _rows(rows: Iterable[str]) -> str:
    return "\n".join(row if row.startswith(">") else f"> {row}" for row in _cut(rows))


def comment(notes: list[str], expected: list[str], summaries: list[Json], run: str) -> str:
    """The one comment of a pull request.

    Args:
        notes: see affected.notes.
        expected: environments that were to be planned.
        summaries: those that were.
        run: address of the run.
    """
    have = {summary["environment"]: summary for summary in summaries}
    parts = [COMMENT_MARK, "## Plans", *notes]
    if not expected:
        parts.append("No environment is touched.")
    for name in expected:
        if name in have:
            parts.append(plan(have[name]))
        else:
            parts.append(f"### {name}: no plan\n\nPlanning failed: [see the run]({run}).")
    parts.append(
        "After the merge each environment is planned again. dev is applied if that plan is this "
        "one; the others wait for an approval."
    )
    return limited("\n\n".join(parts), run)


def limited(text: str, run: str) -> str:
    if len(text) <= LIMIT:
        return text
    return text[:LIMIT] + f"\n\n**Cut here: too long for GitHub.** [The run]({run}) tells it all."


def departed(environment: str, differences: list[str], fresh: str) -> str:
    """Why a fresh plan is not applied by itself, and the way on."""
    listed = "\n".join(f"  - {line}" for line in _cut(differences))
    return (
        f"{environment} is not applied: its plan is not the one that was reviewed.\n{listed}\n"
        "Something changed since the review: another merge, a change by hand, or a run that ended "
        "half-way. Read the plan above. If it is what you want, start the workflow apply by hand "
        f"with reviewed = {fresh}; else open a pull request, whose plan shows what is now true"
    )


def unreviewed(environment: str, fresh: str) -> str:
    return (
        f"{environment} is not applied: there is no reviewed plan for this commit.\n"
        "It came without a pull request, or that was planned before the environment existed. Read "
        "the plan above. If it is what you want, start the workflow apply by hand with "
        f"reviewed = {fresh}"
    )


def half_applied(environment: str) -> str:
    return (
        f"{environment} is half applied. What was done is in the state, nothing is undone and "
        "nothing is forgotten. Read the error above, fix its cause, then start the workflow apply "
        "by hand: it plans what is left and says how to accept it"
    )


def issue_title(environment: str) -> str:
    return f"Drift: {environment} differs from main"


def issue_mark(environment: str) -> str:
    return f"<!-- drift of {environment} -->"


def issue(summary: Json, run: str) -> str:
    """The text of the issue while an environment differs."""
    drift = summary["drift"]
    if drift:
        cause = "Changed outside Terraform since the last apply:\n\n" + "\n".join(
            _cut(f"- {code(address)}" for address in drift)
        )
    else:
        cause = "Nothing was changed by hand: main holds changes that were not applied yet."
    parts = [
        issue_mark(summary["environment"]),
        cause,
        "To make it as main says, this would be applied:",
        plan(summary),
        "To fix it, start the workflow apply by hand with reviewed = "
        f"{code(summary['digest'])}; to keep what is there, write it into the configuration. "
        f"This issue is kept up to date each night and closed by itself. [Last run]({run})",
    ]
    return limited("\n\n".join(parts), run)


def issue_closed(environment: str, run: str) -> str:
    return f"{environment} is as main says again, so this is closed. [The run]({run})"


def release_notes(changelog: str, version: str) -> str:
    """The section of a version in a changelog (keepachangelog.com).

    Raises:
        ValueError: there is no such section, or it is empty.
    """
    heading = rf"^## \[?{re.escape(version.removeprefix('v'))}\]?[^\n]*\n(.*?)(?=^## |\Z)"
    found = re.search(heading, changelog, re.M | re.S)
    if not found or not found[1].strip():
        raise ValueError(
            f"CHANGELOG.md says nothing about {version}: add a section for it before tagging"
        )
    return found[1].strip()
