"""Every binding of approvals is needed, they are enough, and none could be narrower."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.localcloud.client.calls import call
from tests.permissions.tools import (
    Binding,
    Watch,
    made_by,
    narrower_for,
    withheld,
)
from tests.system.pipeline import jpeg, until

from .conftest import APPROVER, Approvals

LONG = 700.0  # seconds: more than the longest back-off of a push
STORAGE = "https://storage.googleapis.com/storage/v1/b"
Key = tuple[str, str, str]  # account, role, resource, each by its last part
Story = Callable[[Approvals, str, Binding], None]


def short(text: str) -> str:
    return text.rpartition("/")[2].partition("@")[0].rpartition(":")[2]


def key_of(resource: str, role: str, member: str) -> Key:
    account, (_, mark, name) = short(member), short(resource).partition("files-")
    account = "agent" if account.startswith("service-") else account
    return account, role.rpartition("/")[2], mark + name


@pytest.fixture(scope="module")
def applied(approvals: Approvals) -> dict[Key, Binding]:
    """The bindings of approvals: of its module, and of bootstrap's two roles."""
    rows = approvals.cloud.get("/bindings")
    ours = made_by(approvals.deployment, "dev", "approvals")
    found = {
        key_of(*row[:3]): row
        for row in rows
        if (row[0].rpartition("/")[2], row[1], row[2]) in ours or "_approvals_" in row[1]
    }
    assert len(found) == len(ours) + 2
    return found


# Necessary


def execution_fails(approvals: Approvals, fresh: str, binding: Binding) -> None:
    """It names what it lacks, the file has no end, and one command has it end later."""
    with withheld(approvals.cloud, binding):
        key = f"{fresh}.jpg/{approvals.process(f'{fresh}.jpg', jpeg(32, 32))}"
        until(lambda: [e["state"] for e in approvals.executions(key)] == ["FAILED"], seconds=20)
        (execution,) = approvals.executions(key)
        assert "storage.objects." in execution["error"]["payload"]
        assert approvals.end(key) == ("", "")
    approvals.tool("approvals", "--restart", "--min-age", "0", "--prefix", key, "--apply")
    until(lambda: approvals.end(key) == ("published", "rules"), seconds=20)


def nothing_begins(approvals: Approvals, fresh: str, binding: Binding) -> None:
    watch = Watch(approvals.cloud)
    with withheld(approvals.cloud, binding):
        key = f"{fresh}.jpg/{approvals.process(f'{fresh}.jpg', jpeg(32, 32))}"
        approvals.cloud.advance(60)
        assert watch.lines(kind="pubsub.push", subscription="files-dev-approvals", status=403)
        assert approvals.executions(key) == []
    approvals.cloud.advance(LONG)
    until(lambda: approvals.end(key) == ("published", "rules"), seconds=20)


def nobody_is_told(approvals: Approvals, fresh: str, binding: Binding) -> None:
    approvals.pull()
    watch = Watch(approvals.cloud)
    with withheld(approvals.cloud, binding):
        key = f"{fresh}.jpg/{approvals.process(f'{fresh}.jpg', jpeg(32, 32))}"
        until(lambda: approvals.end(key)[0], seconds=20)
        until(lambda: watch.lines(kind="storage.unpublished"), seconds=20)
        assert approvals.pull() == []
    approvals.cloud.advance(LONG)
    approvals.settle()
    assert ("published", f"published/{key}.json") in approvals.pull()


def pulled(approvals: Approvals, fresh: str, binding: Binding) -> None:
    url = (
        f"https://pubsub.googleapis.com/v1/{approvals.outputs['approvals']['subscriptions']['app']}"
    )
    refused_without(
        approvals, binding, "POST", f"{url}:pull", {"maxMessages": 1, "returnImmediately": True}
    )


def published_is_read(approvals: Approvals, fresh: str, binding: Binding) -> None:
    key = f"{fresh}.jpg/{approvals.process(f'{fresh}.jpg', jpeg(32, 32))}"
    until(lambda: approvals.end(key)[0], seconds=20)
    name = quote(f"published/{key}.json", safe="")
    refused_without(
        approvals, binding, "GET", f"{STORAGE}/{approvals.published}/o/{name}?alt=media"
    )


def output_is_read(approvals: Approvals, fresh: str, binding: Binding) -> None:
    key = f"{fresh}.jpg/{approvals.process(f'{fresh}.jpg', jpeg(32, 32))}"
    (output,) = json.loads(approvals.read(f"manifests/{key}.json"))["outputs"]
    name = quote(output["object"], safe="")
    refused_without(approvals, binding, "GET", f"{STORAGE}/{approvals.results}/o/{name}?alt=media")


def refused_without(
    approvals: Approvals, binding: Binding, verb: str, url: str, body: Any = None
) -> None:
    with withheld(approvals.cloud, binding):
        assert call(approvals.cloud, verb, url, binding[2], json=body).status_code == 403
    assert call(approvals.cloud, verb, url, binding[2], json=body).ok


def nobody_answers(approvals: Approvals, fresh: str, binding: Binding) -> None:
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    with withheld(approvals.cloud, binding):
        said = approvals.tool("approve", key, code=2, member=APPROVER)
        assert "your login lacks workflows." in said
        assert approvals.end(key) == ("", "")
    approvals.tool("approve", key, member=APPROVER)
    assert approvals.end(key) == ("published", "person")


WORKFLOW, APP, EDITOR = "files-dev-approvals", "files-dev-app", "editor"
STARTER, AGENT = "files-approvals-starter", "agent"
PROOFS: dict[Key, Story] = {
    (AGENT, "pubsub.publisher", "files-dev-approvals"): nobody_is_told,
    (WORKFLOW, "storage.objectViewer", "files-dev-results"): execution_fails,
    (WORKFLOW, "storage.objectViewer", "files-dev-published"): execution_fails,
    (WORKFLOW, "storage.objectCreator", "files-dev-published"): execution_fails,
    (APP, "pubsub.subscriber", "files-dev-approvals-app"): pulled,
    (APP, "storage.objectViewer", "files-dev-published"): published_is_read,
    (EDITOR, "storage.objectViewer", "files-dev-published"): published_is_read,
    (EDITOR, "storage.objectViewer", "files-dev-results"): output_is_read,
    (STARTER, "files_approvals_starter", ""): nothing_begins,
    (EDITOR, "files_approvals_approver", ""): nobody_answers,
}


def test_every_binding_has_its_proof(applied: dict[Key, Binding]) -> None:
    assert set(applied) == set(PROOFS)


@pytest.mark.parametrize("key", PROOFS, ids=" ".join)
def test_without_it_the_step_is_refused_and_with_it_it_happens(
    approvals: Approvals, applied: dict[Key, Binding], fresh: str, key: Key
) -> None:
    PROOFS[key](approvals, fresh, applied[key])


@pytest.mark.parametrize("permission", ["callbacks.list", "callbacks.send", "executions.get"])
def test_an_approver_needs_each_permission_of_the_role(
    approvals: Approvals, fresh: str, permission: str
) -> None:
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    url = "https://iam.googleapis.com/v1/projects/PROJECT/roles/files_approvals_approver"
    held = approvals.ask("GET", url)["includedPermissions"]
    mask = f"{url}?updateMask=includedPermissions"
    rest = [one for one in held if one != f"workflows.{permission}"]
    approvals.ask("PATCH", mask, {"includedPermissions": rest})
    try:
        said = approvals.tool("approve", key, code=2, member=APPROVER)
        assert f"your login lacks workflows.{permission}" in said
    finally:
        approvals.ask("PATCH", mask, {"includedPermissions": held})
    assert approvals.end(key) == ("", "")
    approvals.tool("reject", key, member=APPROVER)


# Sufficient, and narrow

# A narrower role that would cover what is used. Without list, a manifest that was erased reads as
# forbidden, and its execution would fail.
EXCEPTIONS = {
    (WORKFLOW, "storage.objectViewer", "files-dev-results"): {"roles/storage.legacyObjectReader"},
}


def test_it_works_on_these_bindings_alone_and_on_no_wider_role(
    approvals: Approvals, applied: dict[Key, Binding], fresh: str
) -> None:
    approvals.cloud.delete("/permissions")
    key = approvals.asked(f"sensitive/{fresh}.jpg")
    approvals.tool("approvals", "--prefix", f"sensitive/{fresh}", member=APPROVER)
    approvals.tool("approve", key, member=APPROVER)
    assert approvals.end(key) == ("published", "person")
    exercised = dict(approvals.cloud.get("/permissions"))
    for key, binding in applied.items():
        if key[0] in (WORKFLOW, AGENT):
            assert narrower_for(binding, exercised) == EXCEPTIONS.get(key, set())
    account = f"serviceAccount:{approvals.outputs['approvals']['account']}"
    used = {permission for permission, _ in exercised[account]}
    assert used == {f"storage.objects.{verb}" for verb in ("create", "get", "list")}
    starter = next(binding[2] for (who, _, _), binding in applied.items() if who == STARTER)
    assert {permission for permission, _ in exercised[starter]} == {"workflows.executions.create"}
