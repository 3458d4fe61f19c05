"""Calls in anybody's name, bindings that are withheld for a while, and what the journal says."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.localcloud.client import OWNER, LocalCloud
from tests.localcloud.client.calls import call
from tests.localcloud.client.deployment import Deployment

_serial = itertools.count(1)
# Roles that are granted, and those that are smaller: see tests/localcloud/core/roles.py.
CANDIDATES = json.loads(Path(__file__).with_name("candidates.json").read_text())["roles"]
Line = dict[str, Any]
Binding = list[Any]  # [resource, role, member, condition]
Key = tuple[str, str, str]  # account, role, resource, in the words of scripts/docs_permissions.py


@dataclass(frozen=True)
class Proof:
    """What cannot happen without a binding.

    Attributes:
        step: its name.
        story: sets it off, sees it refused, gives the binding back, sees it happen. It is given
            the environment, a prefix that nobody else uses, the binding and the refusal.
        refusal: fields of the journal line that tells of the refusal; `says` stands anywhere in it.
    """

    step: str
    story: Callable[[Any, str, Binding, dict[str, Any]], None]
    refusal: dict[str, Any]


def made_by(deployment: Deployment, environment: str, module: str) -> set[tuple[str, str, str]]:
    """The (resource's last part, role, member) that a module of an environment granted."""
    command = ("terraform", f"-chdir=environments/{environment}", "state", "pull")
    pulled = subprocess.run(
        command, cwd=deployment.checkout, env=deployment.environ, capture_output=True, check=True
    )
    on = ("bucket", "topic", "subscription", "service_account_id", "service", "name", "project")
    return {
        (next(v[key] for key in on if v.get(key)).rpartition("/")[2], v["role"], v["member"])
        for entry in json.loads(pulled.stdout)["resources"]
        if f"{entry.get('module', '')}.".startswith((f"module.{module}.", f"module.{module}["))
        and entry["type"].endswith("_iam_member")
        for v in (instance["attributes"] for instance in entry["instances"])
    }


def account(cloud: LocalCloud, name: str, project: str | None = None) -> str:
    """A service account as an IAM member."""
    return f"serviceAccount:files-{name}@{project or cloud.project}.iam.gserviceaccount.com"


def bind(cloud: LocalCloud, binding: Binding, present: bool = True) -> None:
    row = dict(zip(("resource", "role", "member", "condition"), binding, strict=True))
    cloud.post("/bindings", row | {"present": present})


@contextlib.contextmanager
def withheld(cloud: LocalCloud, binding: Binding) -> Iterator[None]:
    """Without this one binding, whatever happens."""
    bind(cloud, binding, present=False)
    try:
        yield
    finally:
        bind(cloud, binding)


@contextlib.contextmanager
def granted(cloud: LocalCloud, binding: Binding) -> Iterator[None]:
    """With this binding more."""
    bind(cloud, binding)
    try:
        yield
    finally:
        bind(cloud, binding, present=False)


class Watch:
    """The journal from now on."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud, self._from = cloud, len(cloud.journal())

    def lines(self, **fields: Any) -> list[Line]:
        """Those with these values; `says` is looked for anywhere in the line."""
        says = str(fields.pop("says", ""))
        return [
            line
            for line in self._cloud.journal()[self._from :]
            if all(line.get(k) == v for k, v in fields.items()) and says in str(line)
        ]


def publish_what_nobody_can_read(cloud: LocalCloud, member: str) -> str:
    """A message on the uploads' topic that the bridge refuses each time; its id."""
    topic = f"projects/{cloud.project}/topics/files-dev-uploads"
    url = f"https://pubsub.googleapis.com/v1/{topic}:publish"
    body = {"messages": [{"attributes": {"number": str(next(_serial))}}]}
    answer = call(cloud, "POST", url, member, json=body)
    answer.raise_for_status()
    return str(answer.json()["messageIds"][0])


def redeploy(cloud: LocalCloud, service: str, member: str = OWNER) -> str:
    """Builds a deployed function again, from the same source; the error, or "" if it is up."""
    api = "https://cloudfunctions.googleapis.com/v2"
    name = f"projects/{cloud.project}/locations/us-central1/functions/{service}"
    function = call(cloud, "GET", f"{api}/{name}", member).json()
    answer = call(
        cloud,
        "PATCH",
        f"{api}/{name}",
        member,
        params={"updateMask": "buildConfig"},
        json={"buildConfig": function["buildConfig"]},
    )
    operation = answer.json()
    while "error" not in operation and not operation["done"]:
        operation = call(cloud, "GET", f"{api}/{operation['name']}", member).json()
    return str(operation.get("error", {}).get("message", ""))


def used(binding: Binding, exercised: dict[str, list[list[str]]]) -> list[tuple[str, str]]:
    """The permissions that its role holds and its member used on what it covers, each with that."""
    resource, role, member, condition = binding
    project = resource.count("/") == 1
    return [
        (permission, on)
        for permission, on in exercised.get(member, [])
        if (project or on == resource or on.startswith(resource + "/"))
        and (condition is None or condition["expression"].split('"')[1] in on)
        and permission in CANDIDATES[role]["permissions"]
    ]


def narrower(role: str, permissions: set[str]) -> set[str]:
    """Smaller predefined roles that hold them all."""
    return {
        other
        for other, held in CANDIDATES.items()
        if held["size"] < CANDIDATES[role]["size"] and permissions <= set(held["permissions"])
    }


def narrower_for(binding: Binding, exercised: dict[str, list[list[str]]]) -> set[str]:
    """Smaller predefined roles than its own that would do for what its member used."""
    return narrower(binding[1], {permission for permission, _ in used(binding, exercised)})
