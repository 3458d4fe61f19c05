"""Terraform plans as `terraform show -json` tells them: normalised, compared, summed up.

A normalised plan holds what a reviewer agreed to and nothing that changes by itself. It holds
values, so it is kept where the state is kept. A summary holds addresses, actions, names of
attributes and access rights, no other value: it may be shown to anyone.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

Json = dict[str, Any]

# Attributes that Google changes by itself, for instance when somebody else's binding is added to
# the same policy. They are left out of objects and blocks, never out of maps, whose keys are ours.
VOLATILE = frozenset({"etag", "fingerprint", "metageneration", "update_time", "updated"})
NOTHING = (["no-op"], ["read"])
ACCESS = re.compile(r"_iam_(member|binding|policy|custom_role)$")
# What an access right may be held on; the first that a resource has names it.
HELD_ON = (
    "bucket",
    "topic",
    "subscription",
    "service_account_id",
    "service",
    "cloud_function",
    "repository",
    "secret_id",
    "name",
    "project",
)
WIDE = re.compile(r"^roles/(owner|editor)$|[aA]dmin$")
PUBLIC = ("allUsers", "allAuthenticatedUsers")
UNKNOWN = "(known after apply)"
NOW = "(when it is planned)"


def normalised(shown: Json) -> Json:
    """A plan without what changes by itself.

    Kept: for every resource and output that is not left alone its actions, its values before and
    after, what is known only after the apply, what forces a replacement, and moves and imports.
    Left out: timestamps, relevant_attributes, prior state, drift, and VOLATILE attributes. Queues
    are named by the second of the plan that makes them; two plans of one thing call it the same.
    """
    resources = {}
    for resource in shown.get("resource_changes", []):
        change = resource["change"]
        moved = resource.get("previous_address")
        if change["actions"] in NOTHING and not moved and not change.get("importing"):
            continue
        key = resource["address"] + (f" ({resource['deposed']})" if resource.get("deposed") else "")
        resources[key] = {
            "type": resource["type"],
            "actions": change["actions"],
            "before": _stable(change.get("before")),
            "after": _stable(change.get("after")),
            "after_unknown": _stable(change.get("after_unknown")),
            "replace_paths": sorted(change.get("replace_paths", []), key=json.dumps),
            "moved_from": moved,
            "importing": change.get("importing"),
        }
    outputs = {
        name: {key: change.get(key) for key in ("actions", "before", "after", "after_unknown")}
        for name, change in shown.get("output_changes", {}).items()
        if change["actions"] not in NOTHING
    }
    plan: Json = {"resources": resources, "outputs": outputs}
    second = re.sub(r"\D", "", shown.get("timestamp", ""))[2:]
    return json.loads(json.dumps(plan).replace(second, NOW)) if second else plan


def _stable(value: Any) -> Any:
    if isinstance(value, list):
        return [_stable(item) for item in value]
    if isinstance(value, dict):
        return {
            key: _stable(item) if isinstance(item, list) else item
            for key, item in value.items()
            if key not in VOLATILE
        }
    return value


def digest(plan: Json) -> str:
    """The name of a normalised plan: equal plans have equal digests."""
    text = json.dumps(plan, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def changes_anything(plan: Json) -> bool:
    return bool(plan["resources"] or plan["outputs"])


def difference(reviewed: Json, fresh: Json) -> list[str]:
    """Sentences on where a fresh plan departs from the reviewed one, without values."""
    found = []
    for kind in ("resources", "outputs"):
        before, after = reviewed[kind], fresh[kind]
        for address in sorted(before.keys() | after.keys()):
            name = address if kind == "resources" else f"output {address}"
            if address not in after:
                found.append(f"{name}: reviewed as {action(before[address])}, now left alone")
            elif address not in before:
                found.append(f"{name}: now {action(after[address])}, which nobody reviewed")
            elif (was := action(before[address])) != (now := action(after[address])):
                found.append(f"{name}: reviewed as {was}, now {now}")
            elif before[address] != after[address]:
                named = ", ".join(_differing(before[address], after[address]))
                found.append(f"{name}: {now} as reviewed, but with other values: {named}")
    return found


def _differing(one: Json, other: Json) -> list[str]:
    names = set()
    for part in one.keys() | other.keys():
        a, b = one.get(part), other.get(part)
        if isinstance(a, dict) and isinstance(b, dict):
            names |= {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}
        elif a != b:
            names.add(part)
    return sorted(names)


def action(change: Json) -> str:
    """One word for a change's actions: create, update, delete, replace, forget, move, import."""
    actions = change["actions"]
    if "create" in actions and len(actions) > 1:
        return "replace"
    if actions not in NOTHING:
        return str(actions[0])
    return "move" if change.get("moved_from") else "import"


def summary(environment: str, commit: str, shown: Json, zips: dict[str, str]) -> Json:
    """What may be shown to anyone about a plan, and what names it: the manifest of a plan.

    Returns:
        environment; commit; digest of the normalised plan; zips: function → sha256; changes:
        [{address, type, action, attributes, forced_by}]; access: [{sign, role, member, on, address,
        wide}] (sign + given, - taken away); outputs: names; drift: addresses of what was changed
        outside Terraform.
    """
    plan = normalised(shown)
    changes, access = [], []
    for address, change in plan["resources"].items():
        changes.append(
            {
                "address": address,
                "type": change["type"],
                "action": action(change),
                "attributes": _changed(change),
                "forced_by": [".".join(map(str, path)) for path in change["replace_paths"]],
            }
        )
        if ACCESS.search(change["type"]):
            access += _access(address, change)
    return {
        "environment": environment,
        "commit": commit,
        "digest": digest(plan),
        "zips": zips,
        "changes": sorted(changes, key=lambda c: str(c["address"])),
        "access": access,
        "outputs": sorted(plan["outputs"]),
        "drift": sorted(r["address"] for r in shown.get("resource_drift", []) if _drifted(r)),
    }


def _drifted(resource: Json) -> bool:
    change = resource["change"]
    return bool(_stable(change.get("before")) != _stable(change.get("after")))


def _changed(change: Json) -> list[str]:
    """The attributes that an update or a replacement changes."""
    before, after = change["before"], change["after"]
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return []
    unknown = change["after_unknown"] if isinstance(change["after_unknown"], dict) else {}
    known = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return sorted(known | {name for name, value in unknown.items() if value is True})


def _access(address: str, change: Json) -> list[Json]:
    rows = {"-": _rights(change["before"], {}), "+": _rights(change["after"], change)}
    kept = rows["-"] & rows["+"]
    return [
        {
            "sign": sign,
            "role": role,
            "member": member,
            "on": on,
            "address": address,
            "wide": sign == "+" and (bool(WIDE.search(role)) or member in PUBLIC),
        }
        for sign in "-+"
        for role, member, on in sorted(rows[sign] - kept)
    ]


def _rights(values: Any, change: Json) -> set[tuple[str, str, str]]:
    """(role or permission, member, what it is held on) of one resource about access."""
    if not isinstance(values, dict):
        return set()
    unknown = change.get("after_unknown") or {}

    def known(name: str) -> str:
        return UNKNOWN if unknown.get(name) is True else str(values.get(name) or "")

    if "permissions" in values:  # a custom role: its members are told where it is granted
        role = known("role_id")
        return {(permission, f"holders of {role}", role) for permission in values["permissions"]}
    on = next((name for name in HELD_ON if values.get(name) or unknown.get(name) is True), "")
    members = values.get("members") or ([] if unknown.get("members") else [known("member")])
    held_on = f"{on} {known(on)}" if on else "?"
    conditions = [c for c in values.get("condition") or [] if isinstance(c, dict)]
    if conditions:
        held_on += " if " + " and ".join(str(c.get("expression", UNKNOWN)) for c in conditions)
    return {(known("role") or "a whole policy", str(m) or "?", held_on) for m in members or [""]}
