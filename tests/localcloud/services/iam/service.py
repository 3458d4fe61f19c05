"""The IAM API: service accounts, their policies, impersonation, custom roles, federation pools."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ...core.api import Call, Json, Service, rpc
from ...core.clock import rfc3339
from ...core.errors import ApiError
from ...core.identity import Principal

if TYPE_CHECKING:
    from ...core.server import Cloud

ACCOUNTS = "iam.projects.serviceAccounts"
CREDENTIALS = "iamcredentials.projects.serviceAccounts"


class Accounts(Service):
    documents = ("iam.v1", "iamcredentials.v1")
    policies = {ACCOUNTS: "iam.serviceAccounts"}

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.accounts: dict[str, Json] = {}  # by projects/P/serviceAccounts/EMAIL

    def exists(self, resource: str) -> bool:
        return resource in self.accounts

    def snapshot(self) -> list[str]:
        return list(self.accounts)

    def resource(self, name: str) -> str:
        """The full name of an existing account; `projects/-/…` and unique ids are understood."""
        email = name.rpartition("/")[2]
        full = f"projects/{self.cloud.project}/serviceAccounts/{email}"
        if full in self.accounts:
            return full
        for resource, account in self.accounts.items():
            if account["uniqueId"] == email:
                return resource
        raise ApiError(404, f"Unknown service account: {name}")

    @rpc(f"{ACCOUNTS}.create", "iam.serviceAccounts.create", on="{name}")
    def create(self, call: Call) -> Json:
        project = self.cloud.project
        account_id = call.body["accountId"]
        email = f"{account_id}@{project}.iam.gserviceaccount.com"
        name = f"projects/{project}/serviceAccounts/{email}"
        if name in self.accounts:
            raise ApiError(409, f"Service account {account_id} already exists within project.")
        if not 6 <= len(account_id) <= 30:
            raise ApiError(400, f"Account id {account_id!r} must be 6 to 30 characters long.")
        self.accounts[name] = {
            "name": name,
            "projectId": project,
            "uniqueId": str(10**20 + self.cloud.clock.tick_micros()),
            "email": email,
            "etag": "MDEwMjE5MjA=",
            "oauth2ClientId": "1",
        } | {k: v for k, v in call.body.get("serviceAccount", {}).items() if v}
        return self.accounts[name]

    @rpc(f"{ACCOUNTS}.get")
    def get(self, call: Call) -> Json:
        name = self.resource(call.params["name"])
        self.cloud.iam.require(call.principal, "iam.serviceAccounts.get", name)
        return self.accounts[name]

    @rpc(f"{ACCOUNTS}.patch")
    def patch(self, call: Call) -> Json:
        name = self.resource(call.params["name"])
        self.cloud.iam.require(call.principal, "iam.serviceAccounts.update", name)
        self.accounts[name] |= {
            k: v
            for k, v in call.body["serviceAccount"].items()
            if k in ("displayName", "description")
        }
        return self.accounts[name]

    @rpc(f"{ACCOUNTS}.delete")
    def delete(self, call: Call) -> Json:
        name = self.resource(call.params["name"])
        self.cloud.iam.require(call.principal, "iam.serviceAccounts.delete", name)
        del self.accounts[name]
        self.cloud.iam.forget(name)
        return {}

    @rpc(f"{CREDENTIALS}.generateAccessToken")
    def access_token(self, call: Call) -> Json:
        name = self.resource(call.params["name"])
        self.cloud.iam.require(call.principal, "iam.serviceAccounts.getAccessToken", name)
        seconds = float(call.body.get("lifetime", "3600s").removesuffix("s"))
        principal = Principal(f"serviceAccount:{self.accounts[name]['email']}")
        return {
            "accessToken": self.cloud.identity.access_token(principal, seconds),
            "expireTime": rfc3339(time.time() + seconds),
        }
