"""The tables account → role → resource → reason, written into the documents from what is applied.

`python scripts/docs_permissions.py` has bootstrap and dev delivered to a local cloud, reads every
IAM binding there is, and puts the tables between their markers: that of an environment in README.md
and docs/permissions.md, those of delivery and of the capabilities in the latter, the pipeline's in
its own README. The last two are made from plans of the showcase and of dev, those of a block's
README from a plan of the example in it. `--check` only tells
whether they are there. `make test` checks the same on the deployments and plans that it has.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README, PAGE = ROOT / "README.md", ROOT / "docs/permissions.md"
PIPELINE = ROOT / "terraform/pipeline/README.md"
BEGIN, END = "<!-- {} -->", "<!-- /{} -->"
BLOCKS = ("function", "object_events", "task_queue")
INPUTS = {"project_id": "demo-project"}
HEAD = ("Account", "Role", "On", "Because")

# (account, role, resource) → why, as bootstrap and the environments say it beside each binding
# (`because`) and as their output `grants`. A binding without an entry, and an entry without a
# binding, fail.
Reasons = dict[tuple[str, str, str], str]
# Name of a table → the documents that hold it.
TABLES = {
    "permissions": (README, PAGE),
    "permissions of delivery": (PAGE,),
    "permissions of capabilities": (PAGE,),
    "permissions of the pipeline": (PIPELINE,),
} | {f"permissions of {name}": (ROOT / f"terraform/modules/{name}/README.md",) for name in BLOCKS}


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
    return re.sub(rf"^{prefix}-((dev|staging|prod|showcase)-)?", "", name)


def reasons(told: Iterable[str], delivery: bool = False, prefix: str = "files") -> Reasons:
    """What is told of the accounts that deliver, or of all others.

    told: the outputs `grants` of environments and of bootstrap, each "member role resource:
    because".
    """
    found: Reasons = {}
    for grant in told:
        member, role, rest = grant.split(" ", 2)
        resource, _, because = rest.partition(": ")
        key = _account(member, prefix), role, _resource(resource, prefix)
        if _delivers(key[0]) == delivery:
            found[key] = because
    return found


def of_delivery(applied: Iterable[Grant]) -> set[Grant]:
    """What bootstrap's accounts for GitHub hold, and who may become them."""
    return {grant for grant in applied if _delivers(grant.account)}


def _delivers(account: str) -> bool:
    return account.removeprefix("GitHub's ") in ("apply", "plan")


def table(applied: Iterable[Grant], reasons: Reasons) -> str:
    """The table as Markdown, in the order of its reasons: that of a file's way, or a change's.

    Raises:
        Stale: a grant has no reason, or a reason no grant.
    """
    present = {grant.key for grant in applied}
    if missing := present - reasons.keys():
        raise Stale(
            f"no reason is given for {sorted(missing)} in the output grants of who grants it"
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


def check_planned(showcase: Iterable[str], dev: Iterable[str], write: bool = False) -> None:
    """The same of the tables that are made from what plans of these environments tell.

    That each plan tells all that it binds, and nothing else: tests/terraform/test_environments.py.
    """
    pipeline = reasons(dev)
    capabilities = {key: why for key, why in reasons(showcase).items() if key not in pipeline}
    for name, why in (("capabilities", capabilities), ("the pipeline", pipeline)):
        check({Grant(*key) for key in why}, f"permissions of {name}", why, write)


def example(block: str) -> str:
    """The example of a block's README, with what it grants as an output."""
    (path,) = TABLES[f"permissions of {block}"]
    text = path.read_text("utf-8").partition("```hcl\n")[2].partition("```")[0]
    (label,) = re.findall(r'^module "(\w+)"', text, re.M)
    return f'{text}\noutput "grants" {{\n  value = module.{label}.grants\n}}\n'


def check_example(block: str, grants: Iterable[dict[str, str]], write: bool = False) -> None:
    """The same of a block's README; `grants` as the example's plan tells them."""
    told = (f"{it['member']} {it['role']} {it['resource']}: {it['because']}" for it in grants)
    why = reasons(told)
    check({Grant(*key) for key in why}, f"permissions of {block}", why, write)


def applied_to_a_local_cloud() -> tuple[set[Grant], list[str]]:
    """What is bound in a project with bootstrap and dev, and what the two tell of it."""
    from tests.ci.site import delivering, watched

    with delivering(watched) as site:
        return set(grants(site.deployment.cloud.get("/bindings"))), site.told()


def planned(*environments: str) -> Iterator[list[Any]]:
    """What each environment would tell, and then each block's example."""
    from tests.localcloud.client import LocalCloud
    from tests.localcloud.client.terraform import choose
    from tests.terraform.plans import PROJECT, Root

    with LocalCloud.start(PROJECT) as cloud:
        environ = dict(os.environ) | cloud.environ() | choose(cloud).environ
        for name in environments:
            with TemporaryDirectory() as scratch:
                root = Root(f"environments/{name}", Path(scratch), environ, INPUTS, {})
                yield root.plan().outputs["grants"]
        for block in BLOCKS:
            with TemporaryDirectory() as scratch:
                files = {"main.tf": example(block)}
                root = Root("example", Path(scratch), environ, {}, files)
                yield root.plan().outputs["grants"]


def main() -> int:
    parser = argparse.ArgumentParser(description="The tables of permissions in the documents.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if stale")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    applied, told = applied_to_a_local_cloud()
    delivery = of_delivery(applied)
    showcase, dev, *examples = planned("showcase", "dev")
    write = not arguments.check
    try:
        check(applied - delivery, "permissions", reasons(told), write)
        check(delivery, "permissions of delivery", reasons(told, delivery=True), write)
        check_planned(showcase, dev, write)
        for block, told_of_it in zip(BLOCKS, examples, strict=True):
            check_example(block, told_of_it, write)
    except Stale as stale:
        print(f"docs_permissions: {stale}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
