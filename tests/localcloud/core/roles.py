"""The tables of roles, made anew from a document of Google's: needed only when a role or a
permission comes into use that they do not hold (tests say so).

python -m tests.localcloud.core.roles DOCUMENT            writes roles.json and candidates.json
python -m tests.localcloud.core.roles --compare DOCUMENT  says where they, or the permissions that
                                                          the methods here ask for, are not Google's

DOCUMENT is a JSON file of Google's predefined roles and of what methods need, {"source", "roles":
{role: [permission, …]}, "methods": {discovery id: [permission, …]}}, such as one made from
github.com/iann0036/iam-dataset. Of it the table keeps the roles that this repository names, and of
their permissions those that the local cloud asks for.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..client import ROOT

TABLE = Path(__file__).with_name("roles.json")
# Roles smaller than one that is granted: a test asks whether one of them would do.
CANDIDATES = ROOT / "tests/permissions/candidates.json"
# Google writes these into the policy of each new bucket, for owners, editors and viewers.
LEGACY = [f"roles/storage.legacy{k}" for k in ("BucketOwner", "BucketReader", "ObjectReader")]
# Roles that the data set leaves out, from Google's own pages.
# https://docs.cloud.google.com/iam/docs/roles-permissions
LEFT_OUT = {
    # https://docs.cloud.google.com/build/docs/iam-roles-permissions
    "roles/cloudbuild.builds.editor": [
        *(f"cloudbuild.builds.{verb}" for verb in ("create", "get", "list", "update")),
        *(f"cloudbuild.locations.{verb}" for verb in ("get", "list")),
        *(f"cloudbuild.operations.{verb}" for verb in ("get", "list")),
        *(f"resourcemanager.projects.{verb}" for verb in ("get", "list")),
        *(f"remotebuildexecution.blobs.{verb}" for verb in ("get",)),
    ],
    "roles/iam.roleAdmin": [
        *("iam.roles.create", "iam.roles.delete", "iam.roles.get", "iam.roles.list"),
        *("iam.roles.undelete", "iam.roles.update"),
    ],
    "roles/run.jobsExecutorWithOverrides": [
        *("run.executions.cancel", "run.jobs.run", "run.jobs.runWithOverrides"),
    ],
    "roles/workflows.editor": [
        *(f"workflows.workflows.{verb}" for verb in ("create", "delete", "get", "list", "update")),
        *("workflows.operations.get", "workflows.callbacks.list", "workflows.callbacks.send"),
        *(f"workflows.executions.{verb}" for verb in ("cancel", "create", "get", "list")),
    ],
    "roles/workflows.invoker": [
        *("workflows.callbacks.list", "workflows.callbacks.send"),
        *(f"workflows.executions.{verb}" for verb in ("cancel", "create", "get", "list")),
    ],
    "roles/workflows.viewer": [
        *("workflows.callbacks.list", "workflows.executions.get", "workflows.executions.list"),
        *("workflows.operations.get", "workflows.workflows.get", "workflows.workflows.list"),
    ],
}
BASIC = ("roles/owner", "roles/editor", "roles/viewer")
SECRETS = ("Token", ".signBlob")  # of an account, which not even an owner takes
GRANTED = re.compile(r'"(roles/[A-Za-z.]+)"')


def named() -> set[str]:
    """Every role that the repository's Terraform code and its tests name."""
    files = [*ROOT.glob("terraform/**/*.tf"), *ROOT.glob("environments/**/*.tf*")]
    files += ROOT.glob("tests/**/*.py")
    return {
        role
        for file in files
        if ".terraform" not in file.parts
        for role in GRANTED.findall(file.read_text())
    }


def asked_for(known: set[str]) -> set[str]:
    """Every permission that a handler of the local cloud names, among those that Google knows."""
    here = Path(__file__).parents[1]
    files = [*here.glob("core/*.py"), *here.glob("services/**/*.py")]
    texts = [file.read_text() for file in files]
    words = {
        word for text in texts for word in re.findall(r'"([a-z][A-Za-z./]+\.[A-Za-z]+)"', text)
    }
    # Services with policies name only what comes before the verb.
    words |= {f"{word}.{verb}IamPolicy" for word in set(words) for verb in ("get", "set")}
    return words & known


def table(document: dict[str, Any]) -> dict[str, Any]:
    """What roles.json should hold."""
    roles: dict[str, list[str]] = LEFT_OUT | document["roles"]
    asked = asked_for({p for permissions in roles.values() for p in permissions})
    kept = {role: set(roles[role]) & asked for role in named() | set(LEGACY) if role in roles}
    # Basic roles are not in such documents: these are inferred. A viewer may what the services' own
    # viewers may. Objects are read not by these roles, but by the legacy ones that each bucket's
    # policy gives to projectOwner and so on; and not even an owner takes an account's tokens.
    own = {p for p in asked if not p.startswith("storage.objects.") and not p.endswith(SECRETS)}
    kept["roles/owner"] = own
    kept["roles/editor"] = {p for p in own if not p.endswith(".setIamPolicy")}
    viewers = [held for role, held in roles.items() if role.endswith((".viewer", "Viewer"))]
    kept["roles/viewer"] = {p for held in viewers for p in held} & own
    return {
        "source": document["source"].partition(";")[0],
        "roles": {role: sorted(kept[role]) for role in sorted(kept)},
    }


def candidates(document: dict[str, Any]) -> dict[str, Any]:
    """What candidates.json should hold: for each role that Terraform grants, all smaller ones.

    {"size": number of permissions at Google, "permissions": those that the local cloud asks for}
    """
    roles: dict[str, list[str]] = LEFT_OUT | document["roles"]
    asked = asked_for({p for permissions in roles.values() for p in permissions})
    asked.discard("resourcemanager.projects.get")  # which most roles hold
    granted = {
        role
        for folder in ("terraform", "environments")
        for file in (ROOT / folder).glob("**/*.tf*")
        for role in GRANTED.findall(file.read_text())
    } & set(roles)
    kept = {
        other
        for role in granted
        for other in roles
        if len(roles[other]) <= len(roles[role])
        and set(roles[other]) & set(roles[role]) & asked
        and not other.endswith("serviceAgent")
    }
    return {
        "source": document["source"].partition(";")[0],
        "roles": {
            role: {"size": len(roles[role]), "permissions": sorted(set(roles[role]) & asked)}
            for role in sorted(kept)
        },
    }


def text(made: dict[str, Any]) -> str:
    """As it lies in the file: a role a line."""
    lines = (f"  {json.dumps(role)}: {json.dumps(held)}" for role, held in made["roles"].items())
    body = ",\n".join(lines)
    return f'{{\n "source": {json.dumps(made["source"])},\n "roles": {{\n{body}\n }}\n}}\n'


# The data set takes this method's permission for that of workforce pools.
MISTAKEN = {"iam.projects.locations.workloadIdentityPools.providers.patch"}


def differences(document: dict[str, Any]) -> list[str]:
    """Where this repository's tables and methods are not what the document says, a line each."""
    from .server import Cloud

    said = [
        f"{file.name} is not what {document['source']} makes: make it anew"
        for file, made in ((TABLE, table(document)), (CANDIDATES, candidates(document)))
        if file.read_text() != text(made)
    ]
    with tempfile.TemporaryDirectory() as folder:
        methods = Cloud(Path(folder), "some-project", "a@b.c", Path(folder)).api.methods.values()
    known = {m: {p.replace(".com-", ".com/") for p in ps} for m, ps in document["methods"].items()}
    compared = [m for m in methods if m.handler and m.permission and m.id in known]
    said += [
        f"{m.id} asks for {m.permission} here, for one of {sorted(known[m.id])} at Google"
        for m in compared
        if m.permission not in known[m.id] and m.id not in MISTAKEN
    ]
    if len(compared) < 50:
        said.append(f"{len(compared)} methods compared: the document's ids are not as expected")
    return said


def main(argv: list[str]) -> int:
    document = json.loads(Path(argv[-1]).read_text())
    if argv[0] == "--compare":
        said = differences(document)
        sys.stdout.writelines(f"{line}\n" for line in said or ["no difference"])
        return 1 if said else 0
    TABLE.write_text(text(table(document)))
    CANDIDATES.write_text(text(candidates(document)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
