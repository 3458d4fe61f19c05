"""The table of roles beside this file, made anew: `python -m tests.localcloud.roles DOCUMENT`.

DOCUMENT is a JSON file of Google's predefined roles, {"source", "roles": {role: [permission, …]}},
such as one made from github.com/iann0036/iam-dataset. Of it the table keeps the roles that this
repository names, and of their permissions those that the local cloud asks for. Needed only when a
new role or a new permission comes into use; with GOOGLE_IAM_JSON set to a document's path, a test
compares the two.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from .client import ROOT

TABLE = Path(__file__).with_name("roles.json")
# Roles smaller than one that is granted: a test asks whether one of them would do.
CANDIDATES = ROOT / "tests/permissions/candidates.json"
# Google writes these into the policy of each new bucket, for owners, editors and viewers.
LEGACY = [f"roles/storage.legacy{k}" for k in ("BucketOwner", "BucketReader", "ObjectReader")]
BASIC = ("roles/owner", "roles/editor", "roles/viewer")
GRANTED = re.compile(r'"(roles/[A-Za-z.]+)"')


def named() -> set[str]:
    """Every role that the repository's Terraform code and its tests name."""
    files = [*ROOT.glob("terraform/**/*.tf"), *ROOT.glob("environments/**/*.tf")]
    files += ROOT.glob("tests/**/*.py")
    return {
        role
        for file in files
        if ".terraform" not in file.parts
        for role in GRANTED.findall(file.read_text())
    }


def asked_for(known: set[str]) -> set[str]:
    """Every permission that a handler of the local cloud names, among those that Google knows."""
    texts = [file.read_text() for file in Path(__file__).parent.glob("*.py")]
    words = {
        word for text in texts for word in re.findall(r'"([a-z][A-Za-z./]+\.[A-Za-z]+)"', text)
    }
    # Services with policies name only what comes before the verb.
    words |= {f"{word}.{verb}IamPolicy" for word in set(words) for verb in ("get", "set")}
    return words & known


def table(document: dict[str, Any]) -> dict[str, Any]:
    """What roles.json should hold."""
    roles: dict[str, list[str]] = document["roles"]
    asked = asked_for({p for permissions in roles.values() for p in permissions})
    kept = {role: set(roles[role]) & asked for role in named() | set(LEGACY) if role in roles}
    # Basic roles are not in such documents: these are inferred. A viewer may what the services' own
    # viewers may. Objects are read not by these roles, but by the legacy ones that each bucket's
    # policy gives to projectOwner and so on; and not even an owner takes an account's tokens.
    own = {p for p in asked if not p.startswith("storage.objects.") and not p.endswith("Token")}
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
    roles: dict[str, list[str]] = document["roles"]
    asked = asked_for({p for permissions in roles.values() for p in permissions})
    asked = {p for p in asked if not p.startswith("resourcemanager.")}
    granted = {
        role
        for folder in ("terraform", "environments")
        for file in (ROOT / folder).glob("**/*.tf")
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


def main(argv: list[str]) -> None:
    document = json.loads(Path(argv[0]).read_text())
    TABLE.write_text(text(table(document)))
    CANDIDATES.write_text(text(candidates(document)))


if __name__ == "__main__":
    main(sys.argv[1:])
