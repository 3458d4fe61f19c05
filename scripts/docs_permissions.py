"""The tables account → role → resource → reason, written into the documents from what is applied.

`python scripts/docs_permissions.py` has bootstrap and dev delivered to a local cloud, reads every
IAM binding there is, and puts the tables between their markers: that of an environment in README.md
and docs/permissions.md, that of delivery in the latter. `--check` only tells whether they are
there. `make test` checks the same on the deployments that it has.
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
README, PAGE = ROOT / "README.md", ROOT / "docs/permissions.md"
BEGIN, END = "<!-- {} -->", "<!-- /{} -->"
HEAD = ("Account", "Role", "On", "Because")

# (account, role, resource) → why. A binding without an entry, and an entry without a binding, fail.
Reasons = dict[tuple[str, str, str], str]
# Bootstrap's; an environment's are said where they are granted (`because`) and come as its output.
BOOTSTRAP: Reasons = {
    ("build", "roles/storage.objectViewer", "project"): (
        "reads the functions' source, which Google copies into a bucket of its own; a condition "
        "limits it to that bucket, which does not exist before the first build"
    ),
    ("build", "roles/artifactregistry.writer", "repository functions"): "pushes the built images",
    ("build", "roles/logging.logWriter", "project"): (
        "writes the builds' log; nothing narrower than the project carries this role"
    ),
}
# The same of what is there only once bootstrap is told a GitHub repository.
ACTS = "hands this account to"
DELIVERY: Reasons = {
    ("GitHub's apply", "roles/iam.workloadIdentityUser", "account apply"): (
        "runs that meet the condition of the provider github-apply become the account"
    ),
    ("apply", "roles/storage.admin", "project"): (
        "makes the buckets, says who reads and writes them, uploads zips, keeps the state"
    ),
    ("apply", "roles/pubsub.admin", "project"): (
        "makes topics and subscriptions, and says who uses them"
    ),
    ("apply", "roles/cloudtasks.queueAdmin", "project"): "makes the queues, and says who enqueues",
    ("apply", "roles/cloudfunctions.developer", "project"): "deploys the functions",
    ("apply", "roles/run.admin", "project"): "says who invokes the functions",
    ("apply", "roles/iam.serviceAccountAdmin", "project"): (
        "makes the accounts, and says who acts as them"
    ),
    ("apply", "roles/logging.configWriter", "project"): "makes the metrics that come of logs",
    ("apply", "roles/monitoring.editor", "project"): "makes alerts, objective and dashboard",
    ("apply", "roles/iam.securityReviewer", "project"): (
        "reads who holds which role on what, bootstrap's too: `make verify` compares"
    ),
    ("apply", "roles/iam.serviceAccountUser", "account build"): f"{ACTS} the functions' builds",
    ("apply", "roles/iam.serviceAccountUser", "account bridge"): f"{ACTS} the bridge",
    ("apply", "roles/iam.serviceAccountUser", "account processor"): f"{ACTS} the processors",
    ("apply", "roles/iam.serviceAccountUser", "account events-invoker"): f"{ACTS} the subscription",
    ("GitHub's plan", "roles/iam.workloadIdentityUser", "account plan"): (
        "runs that meet the condition of the provider github-plan become the account"
    ),
    ("plan", "roles/storage.objectViewer", "bucket tfstate"): "reads the state; locks nothing",
    ("plan", "roles/storage.objectCreator", "bucket plans"): (
        "keeps what is reviewed, and what is to be applied; may replace none"
    ),
    ("plan", "roles/storage.objectViewer", "bucket plans"): "compares with what was reviewed",
    ("plan", "roles/storage.objectViewer", "project"): (
        "reads the zips back; a condition limits it to the bucket that environments upload them to"
    ),
    ("plan", "roles/storage.bucketViewer", "project"): "reads the buckets, no file in them",
    ("plan", "roles/pubsub.viewer", "project"): "reads topics and subscriptions",
    ("plan", "roles/cloudtasks.viewer", "project"): "reads the queues",
    ("plan", "roles/cloudfunctions.viewer", "project"): "reads the functions",
    ("plan", "roles/iam.securityReviewer", "project"): (
        "reads the accounts, and who holds which role on what"
    ),
    ("plan", "roles/logging.viewer", "project"): "reads the metrics that come of logs",
    ("plan", "roles/monitoring.viewer", "project"): "reads alerts, objective and dashboard",
}
# Name of a table → the documents that hold it.
TABLES = {"permissions": (README, PAGE), "permissions of delivery": (PAGE,)}


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
    if member.startswith("principalSet://"):
        return f"GitHub's {member.rpartition('/')[2]}"
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


def reasons(told: Iterable[str], prefix: str = "files") -> Reasons:
    """Of an environment and of bootstrap.

    told: the environment's output `grants`, each "member role resource: because"; those of the
    accounts that deliver it are in DELIVERY.
    """
    found: Reasons = {}
    for grant in told:
        member, role, rest = grant.split(" ", 2)
        resource, _, because = rest.partition(": ")
        key = _account(member, prefix), role, _resource(resource, prefix)
        if key[0] not in {account for account, _, _ in DELIVERY}:
            found[key] = because
    return found | BOOTSTRAP


def of_delivery(applied: Iterable[Grant]) -> set[Grant]:
    """What bootstrap's accounts for GitHub hold, and who may become them."""
    accounts = {account for account, _, _ in DELIVERY}
    return {grant for grant in applied if grant.account in accounts}


def table(applied: Iterable[Grant], reasons: Reasons) -> str:
    """The table as Markdown, in the order of its reasons: that of a file's way, or a change's.

    Raises:
        Stale: a grant has no reason, or a reason no grant.
    """
    present = {grant.key for grant in applied}
    if missing := present - reasons.keys():
        raise Stale(
            f"no reason is given for {sorted(missing)}: where it is granted, or in {__file__}"
        )
    if gone := reasons.keys() - present:
        raise Stale(f"a reason is given for what is not granted: {sorted(gone)}")
    rows = [(a, f"`{role}`", on, why) for (a, role, on), why in reasons.items()]
    lines = ("| " + " | ".join(row) + " |" for row in (HEAD, ("---",) * 4, *rows))
    return "\n".join(lines)


def renewed(text: str, name: str, made: str, document: str) -> str:
    """A document with the table of that name between its markers.

    Raises:
        Stale: there are no markers.
    """
    begin, end = BEGIN.format(name), END.format(name)
    before, opened, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise Stale(f"{document} has no place for the table: {begin} … {end}")
    return f"{before}{begin}\n{made}\n{end}{after}"


def check(applied: Iterable[Grant], name: str, reasons: Reasons, write: bool = False) -> None:
    """Raises Stale unless each document holds the table of that name; or writes it there."""
    made = table(applied, reasons)
    for path in TABLES[name]:
        text = path.read_text("utf-8")
        fresh = renewed(text, name, made, path.name)
        if write:
            path.write_text(fresh, "utf-8")
        elif fresh != text:
            raise Stale(
                f"{path.relative_to(ROOT)} is not what is applied. "
                "Write it anew with: .venv/bin/python scripts/docs_permissions.py"
            )


def applied_to_a_local_cloud() -> tuple[dict[Grant, list[Any]], Reasons]:
    sys.path.insert(0, str(ROOT))
    from tests.ci.site import delivering, watched

    with delivering(watched) as site:
        told = site.deployment.outputs()["grants"]
        return grants(site.deployment.cloud.get("/bindings")), reasons(told)


def main() -> int:
    parser = argparse.ArgumentParser(description="The tables of permissions in the documents.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if stale")
    arguments = parser.parse_args()
    found, why = applied_to_a_local_cloud()
    applied = set(found)
    delivery = of_delivery(applied)
    try:
        check(applied - delivery, "permissions", why, write=not arguments.check)
        check(delivery, "permissions of delivery", DELIVERY, write=not arguments.check)
    except Stale as stale:
        print(f"docs_permissions: {stale}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
