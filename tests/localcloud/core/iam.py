"""Authorization: allow policies by resource, inherited from the project, over a table of roles."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ApiError, not_implemented
from .identity import Principal

if TYPE_CHECKING:
    from .server import Cloud

# Role → permissions, limited to what the services here ask for; made by roles.py.
ROLES: dict[str, frozenset[str]] = {
    role: frozenset(permissions)
    for role, permissions in json.loads(Path(__file__).with_name("roles.json").read_text())[
        "roles"
    ].items()
}
KNOWN = frozenset().union(*ROLES.values())
OBJECTS = 100  # of a bucket that are remembered for each caller and permission
MEMBER_KINDS = (
    "user:",
    "group:",
    "domain:",
    "serviceAccount:",
    "principal://",
    "principalSet://",
    "projectOwner:",
    "projectEditor:",
    "projectViewer:",
    "deleted:",
)


@functools.cache
def program(expression: str) -> Any:
    """A CEL expression, compiled: `.evaluate({name: json_to_cel(value)})`."""
    import celpy  # only federation and conditional bindings pay for the import

    environment = celpy.Environment()
    return environment.program(environment.compile(expression))


class Iam:
    """Policies of all resources, by name ("projects/P/topics/T", "projects/_/buckets/B", …)."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.custom: dict[str, frozenset[str]] = {}  # custom roles by full name
        self.owners: dict[str, str] = {}  # resources whose name does not hold their project
        # (effective from, policy), oldest first: a late change leaves the old one in force.
        self._policies: dict[str, list[tuple[float, dict[str, Any]]]] = {}
        self._serial = 0
        self._exercised: dict[tuple[str, str, str], set[str]] = {}

    def get(self, resource: str) -> dict[str, Any]:
        """The policy as written last, whether in force yet or not."""
        versions = self._policies.get(resource)
        return versions[-1][1] if versions else {"version": 1, "etag": "ACAB", "bindings": []}

    def set(self, resource: str, policy: dict[str, Any]) -> dict[str, Any]:
        """Replaces a policy.

        Raises:
            ApiError: 409 when the etag is stale; 400 for an unknown role or member kind, or for a
                service account of this project that is newly named and does not exist.
        """
        current = self.get(resource)
        if policy.get("etag") and policy["etag"] != current["etag"]:
            raise ApiError(
                409,
                "There were concurrent policy changes. Please retry the whole read-modify-write "
                "with exponential backoff.",
                "ABORTED",
            )
        bindings = [b for b in policy.get("bindings", []) if b.get("members")]
        held = {member for binding in current["bindings"] for member in binding["members"]}
        for binding in bindings:
            self._check(binding, resource)
            for member in {*binding["members"]} - held:
                self._check_account(member)
        self._serial += 1
        etag = base64.b64encode(b"\x00\x00" + self._serial.to_bytes(6)).decode()
        version = 3 if any("condition" in b for b in bindings) else 1
        new = {"version": version, "etag": etag, "bindings": bindings}
        if audit := policy.get("auditConfigs", current.get("auditConfigs")):
            new["auditConfigs"] = audit
        now = self.cloud.clock.now()
        delay = self.cloud.faults.iam_delay(resource)
        # What is in force stays so until the first of the later ones is.
        kept = self._policies.get(resource, []) if delay else []
        old = [i for i, (since, _) in enumerate(kept) if since <= now]
        self._policies[resource] = [*kept[old[-1] if old else 0 :], (now + delay, new)]
        return new

    def forget(self, resource: str) -> None:
        self._policies.pop(resource, None)
        self.owners.pop(resource, None)

    def bindings(self) -> Iterator[tuple[str, str, str, Any]]:
        """All (resource, role, member, condition or None) as written."""
        for resource in self._policies:
            for binding in self.get(resource)["bindings"]:
                for member in binding["members"]:
                    yield resource, binding["role"], member, binding.get("condition")

    def bind(
        self, resource: str, role: str, member: str, present: bool, condition: Any = None
    ) -> dict[str, Any]:
        """Adds or takes away one member of one role, behind Terraform's back."""
        bindings = [dict(b, members=list(b["members"])) for b in self.get(resource)["bindings"]]
        own: dict[str, Any] = {"role": role, "members": []}
        own |= {"condition": condition} if condition else {}
        for binding in bindings:
            if binding["role"] == role and binding.get("condition") == condition:
                own = binding
        own["members"] = [m for m in own["members"] if m != member] + [member] * present
        others = [binding for binding in bindings if binding is not own]
        bindings = [binding for binding in (*others, own) if binding["members"]]
        return self.set(resource, {"bindings": bindings})

    def exercised(self) -> dict[str, list[tuple[str, str]]]:
        """Who used which permissions on which resources; at most so many objects of a bucket."""
        used: dict[str, list[tuple[str, str]]] = {}
        for (member, permission, _), resources in self._exercised.items():
            used.setdefault(member, []).extend((permission, on) for on in resources)
        return {member: sorted(pairs) for member, pairs in used.items()}

    def forget_exercised(self) -> None:
        self._exercised.clear()

    def refused(self, member: str) -> list[tuple[str, str]]:
        """(permission, resource) that `member` has used and would be refused by now."""
        used = self.exercised().get(member, [])
        return [u for u in used if not self.allowed(Principal(member), *u)]

    def allowed(self, principal: Principal, permission: str, resource: str) -> bool:
        return any(
            permission in self._permissions(binding["role"])
            and self._matches(principal, binding["members"], place)
            and self._holds(binding.get("condition"), resource)
            for place in self._chain(resource)
            for binding in self._in_force(place)
        )

    def require(self, principal: Principal, permission: str, resource: str) -> None:
        """Raises ApiError 401 or 403 unless `principal` holds `permission` on `resource`."""
        if permission not in KNOWN:
            raise not_implemented(f"{permission}, which no role in roles.json holds; see roles.py")
        if self.allowed(principal, permission, resource):
            place = "/".join(resource.split("/", 4)[:4])  # an object's bucket
            used = self._exercised.setdefault((principal.member, permission, place), set())
            if len(used) < OBJECTS:
                used.add(resource)
            return
        if principal.member == "allUsers":
            raise ApiError(
                401,
                f"Anonymous caller does not have {permission} access to the resource.",
                reason="required",
            )
        raise ApiError(
            403,
            f"{principal.email} does not have {permission} access. Permission '{permission}' "
            f"denied on resource '{resource}' (or it may not exist).",
            details=[
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "IAM_PERMISSION_DENIED",
                    "domain": "iam.googleapis.com",
                    "metadata": {"permission": permission, "resource": resource},
                }
            ],
        )

    def _in_force(self, resource: str) -> list[dict[str, Any]]:
        now = self.cloud.clock.now()
        for since, policy in reversed(self._policies.get(resource, ())):
            if since <= now:
                bindings: list[dict[str, Any]] = policy["bindings"]
                return bindings
        return []

    def _chain(self, resource: str) -> Iterator[str]:
        """A resource and what it inherits from, narrowest first."""
        yield resource
        if resource.startswith("projects/_/buckets/"):
            bucket = "/".join(resource.split("/", 4)[:4])
            if bucket != resource:
                yield bucket
            yield self.owners.get(bucket, "")
            return
        parts = resource.split("/")
        if len(parts) > 2:
            yield "/".join(parts[:2])

    def _permissions(self, role: str) -> frozenset[str]:
        return ROLES.get(role) or self.custom.get(role, frozenset())

    def _matches(self, principal: Principal, members: list[str], place: str) -> bool:
        for member in members:
            if member == principal.member or member in principal.attributes or member == "allUsers":
                return True
            if member == "allAuthenticatedUsers" and principal.member != "allUsers":
                return True
            kind, _, project = member.partition(":")
            if kind in ("projectOwner", "projectEditor", "projectViewer"):
                role = "roles/" + kind.removeprefix("project").lower()
                for binding in self._in_force(f"projects/{project}"):
                    if binding["role"] == role and principal.member in binding["members"]:
                        return True
        return False

    def _holds(self, condition: dict[str, Any] | None, resource: str) -> bool:
        if not condition:
            return True
        from celpy import json_to_cel

        name = resource
        service = "storage.googleapis.com" if name.startswith("projects/_/buckets/") else ""
        kind = "Object" if "/objects/" in name else "Bucket"
        facts = {
            "name": name,
            "service": service,
            "type": f"{service}/{kind}" if service else "",
        }
        return bool(program(condition["expression"]).evaluate({"resource": json_to_cel(facts)}))

    def _check(self, binding: dict[str, Any], resource: str) -> None:
        role = binding["role"]
        known = role in ROLES or role in self.custom
        bucket = resource.startswith("projects/_/buckets/")
        if not known or (role.startswith("roles/storage.legacy") and not bucket):
            raise ApiError(400, f"Role {role} is not supported for this resource.")
        for member in binding["members"]:
            if member not in ("allUsers", "allAuthenticatedUsers") and not member.startswith(
                MEMBER_KINDS
            ):
                raise ApiError(400, f"Invalid member: {member}")

    def _check_account(self, member: str) -> None:
        email = member.removeprefix("serviceAccount:")
        project = f"projects/{self.cloud.project}"
        if email.endswith(f"@{self.cloud.project}.iam.gserviceaccount.com") and not (
            email == member or self.cloud.accounts.exists(f"{project}/serviceAccounts/{email}")
        ):
            raise ApiError(400, f"Service account {email} does not exist.")
