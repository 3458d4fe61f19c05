"""Custom roles of the project: permissions under a name of one's own.

A deleted role counts for nothing, and can be restored for 7 days.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...core.api import Call, Json, Service, rpc
from ...core.errors import ApiError, invalid

if TYPE_CHECKING:
    from ...core.server import Cloud

ROLES = "iam.projects.roles"
KEPT = 7 * 86400.0  # seconds


def _project(call: Call) -> str:
    return "/".join((call.params.get("name") or call.params["parent"]).split("/")[:2])


class Roles(Service):
    documents = ("iam.v1",)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.roles: dict[str, Json] = {}

    def snapshot(self) -> list[str]:
        return [name for name, role in self.roles.items() if not role.get("deleted")]

    @rpc(f"{ROLES}.create", "iam.roles.create", on=_project)
    def create(self, call: Call) -> Json:
        identifier = call.body.get("roleId", "")
        if not re.fullmatch(r"[a-zA-Z0-9_.]{3,64}", identifier):
            raise invalid(f"The role id {identifier!r} is not valid.", "roleId")
        name = f"{call.params['parent']}/roles/{identifier}"
        if name in self.roles:
            raise ApiError(409, f"A role named {identifier} in {_project(call)} already exists.")
        return self._keep(name, call.body.get("role") or {})

    @rpc(f"{ROLES}.get", "iam.roles.get", on=_project)
    def get(self, call: Call) -> Json:
        return self._role(call)

    @rpc(f"{ROLES}.list", "iam.roles.list", on=_project)
    def list_roles(self, call: Call) -> Json:
        shown = [r for r in self.roles.values() if not r.get("deleted")]
        return {"roles": shown} if shown else {}

    @rpc(f"{ROLES}.patch", "iam.roles.update", on=_project)
    def patch(self, call: Call) -> Json:
        role = self._role(call)
        if role.get("deleted"):
            raise ApiError(400, f"The role {role['name']} is deleted.", "FAILED_PRECONDITION")
        mask = call.params.get("updateMask")
        changed = {f: call.body.get(f) for f in mask.split(",")} if mask else call.body
        return self._keep(role["name"], role | changed)

    @rpc(f"{ROLES}.delete", "iam.roles.delete", on=_project)
    def delete(self, call: Call) -> Json:
        role = self._role(call)
        role["deleted"] = True
        self.cloud.iam.custom.pop(role["name"], None)
        self.cloud.clock.call_later(KEPT, lambda: self._purge(role["name"]))
        return role

    @rpc(f"{ROLES}.undelete", "iam.roles.undelete", on=_project)
    def undelete(self, call: Call) -> Json:
        return self._keep(self._role(call)["name"], self._role(call) | {"deleted": False})

    def _purge(self, name: str) -> None:
        if self.roles.get(name, {}).get("deleted"):
            del self.roles[name]

    def _role(self, call: Call) -> Json:
        name = call.params["name"]
        if name not in self.roles:
            raise ApiError(404, f"The role named {name} was not found.")
        return self.roles[name]

    def _keep(self, name: str, role: Json) -> Json:
        permissions = sorted(set(role.get("includedPermissions") or []))
        for permission in permissions:
            if not re.fullmatch(r"[a-z.]+(\.com/)?\w+\.[A-Za-z]+", permission):
                raise invalid(f"Permission {permission} is not valid.", "includedPermissions")
        kept = {k: v for k, v in role.items() if v not in (None, "", False, [])}
        kept |= {"name": name, "etag": "BwWKmjvelug=", "stage": role.get("stage") or "ALPHA"}
        self.roles[name] = kept | ({"includedPermissions": permissions} if permissions else {})
        self.cloud.iam.custom[name] = frozenset(permissions)
        return self.roles[name]
