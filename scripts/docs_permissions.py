"""The table account → role → resource → reason, written into the documents from what is applied.

`python scripts/docs_permissions.py` applies bootstrap and dev to a local cloud, reads every IAM
binding there is, and puts the table between the markers in README.md and docs/permissions.md;
`--check` only tells whether it is there. `make test` checks the same on the deployment that it has.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "docs/permissions.md")
BEGIN, END = "<!-- permissions -->", "<!-- /permissions -->"
HEAD = ("Account", "Role", "On", "Because")

# (account, role, resource) → why. A binding without an entry, and an entry without a binding, fail.
REASONS = {
    ("Cloud Storage's agent", "roles/pubsub.publisher", "topic uploads"): (
        "announces each finished upload"
    ),
    ("events-invoker", "roles/run.invoker", "function bridge"): (
        "Pub/Sub pushes the announcements to the bridge in its name"
    ),
    ("bridge", "roles/cloudtasks.enqueuer", "queue default"): "makes a task of each upload",
    ("bridge", "roles/iam.serviceAccountUser", "account tasks-invoker"): (
        "a task may carry an account's name only if whoever makes it may act as that account"
    ),
    ("tasks-invoker", "roles/run.invoker", "function processor-default"): (
        "Cloud Tasks calls the processor in its name"
    ),
    ("processor", "roles/storage.objectViewer", "bucket uploads"): (
        "reads the upload; may list, because a file that is gone reads as forbidden otherwise"
    ),
    ("processor", "roles/storage.objectCreator", "bucket results"): (
        "writes attempts, outputs and records, and may replace or delete none"
    ),
    ("Pub/Sub's agent", "roles/pubsub.publisher", "topic dead-letters"): (
        "keeps events that could not be delivered"
    ),
    ("Pub/Sub's agent", "roles/pubsub.subscriber", "subscription bridge"): (
        "takes those events off the subscription"
    ),
    ("build", "roles/storage.objectViewer", "project"): (
        "reads the functions' source, which Google copies into a bucket of its own; a condition "
        "limits it to that bucket, which does not exist before the first build"
    ),
    ("build", "roles/artifactregistry.writer", "repository functions"): "pushes the built images",
    ("build", "roles/logging.logWriter", "project"): (
        "writes the builds' log; nothing narrower than the project carries this role"
    ),
}


class Stale(Exception):
    """What is written, or explained, is not what is applied."""


@dataclass(frozen=True, order=True)
class Grant:
    """A binding in the words of this repository: what the table's rows are made of."""

    account: str
    role: str
    resource: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.account, self.role, self.resource


def grants(bindings: Iterable[list[Any]], prefix: str = "files") -> dict[Grant, list[Any]]:
    """Grant → its binding [resource, role, member, condition].

    Left out are the project's owner, who was there before, and what Cloud Storage itself writes
    into each new bucket's policy for the project's owners, editors and viewers.
    """
    return {
        Grant(_account(member, prefix), role, _resource(resource, prefix)): [
            resource,
            role,
            member,
            condition,
        ]
        for resource, role, member, condition in bindings
        if role != "roles/owner" and not member.startswith("project")
    }


def _account(member: str, prefix: str) -> str:
    name, _, host = member.partition(":")[2].partition("@")
    if host.startswith("gs-project-accounts."):
        return "Cloud Storage's agent"
    if host.startswith("gcp-sa-pubsub."):
        return "Pub/Sub's agent"
    return _short(name, prefix) if host else member


def _resource(resource: str, prefix: str) -> str:
    kind, name = (["", "", *resource.split("/")])[-2:]
    if resource.count("/") == 1:
        return "project"
    title = {"serviceAccounts": "account", "services": "function"}.get(kind, kind.removesuffix("s"))
    title = "repository" if kind == "repositories" else title
    name = name.partition("@")[0]
    if kind == "buckets":
        name = name[name.index(f"{prefix}-") :]  # the project's id stands in front
    if kind == "queues":
        name = name.rpartition("-")[0]  # a suffix changes with each creation
    return f"{title} {_short(name, prefix)}"


def _short(name: str, prefix: str) -> str:
    """files-dev-bridge → bridge, files-build → build."""
    return re.sub(rf"^{prefix}-((dev|staging|prod)-)?", "", name)


def table(applied: Iterable[Grant]) -> str:
    """The table as Markdown, in the order of REASONS: that of a file's way.

    Raises:
        Stale: a grant has no reason, or a reason no grant.
    """
    present = {grant.key for grant in applied}
    if missing := present - REASONS.keys():
        raise Stale(f"no reason is given for {sorted(missing)}: see REASONS in {__file__}")
    if gone := REASONS.keys() - present:
        raise Stale(f"a reason is given for what is not granted: {sorted(gone)}")
    rows = [(a, f"`{role}`", on, why) for (a, role, on), why in REASONS.items()]
    lines = ("| " + " | ".join(row) + " |" for row in (HEAD, ("---",) * 4, *rows))
    return "\n".join(lines)


def renewed(text: str, made: str, name: str) -> str:
    """A document with the table between its markers.

    Raises:
        Stale: there are no markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Stale(f"{name} has no place for the table: {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def documents() -> list[Path]:
    return [path for path in DOCUMENTS if path.exists()]


def check(applied: Iterable[Grant]) -> None:
    """Raises Stale unless every document holds the table of what is applied."""
    made = table(applied)
    for path in documents():
        text = path.read_text("utf-8")
        if renewed(text, made, path.name) != text:
            raise Stale(
                f"{path.relative_to(ROOT)} is not what is applied. "
                "Mend it with: .venv/bin/python scripts/docs_permissions.py"
            )


def applied_to_a_local_cloud() -> dict[Grant, list[Any]]:
    sys.path.insert(0, str(ROOT))
    from tests.localcloud.deployment import deployed

    with deployed("dev") as deployment:
        return grants(deployment.cloud.get("/bindings"))


def main() -> int:
    parser = argparse.ArgumentParser(description="The table of permissions in the documents.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if stale")
    arguments = parser.parse_args()
    applied = applied_to_a_local_cloud()
    try:
        if arguments.check:
            check(applied)
        else:
            made = table(applied)
            for path in documents():
                path.write_text(renewed(path.read_text("utf-8"), made, path.name), "utf-8")
    except Stale as stale:
        print(f"docs_permissions: {stale}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
