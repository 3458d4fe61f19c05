"""The IAM API: service accounts, their policies, impersonation, custom roles, federation pools."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

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
        self.keys: dict[str, rsa.RSAPrivateKey] = {}  # by email: Google's own, made when asked for

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
        self.keys.pop(self.accounts.pop(name)["email"], None)
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

    @rpc(f"{CREDENTIALS}.generateIdToken")
    def id_token(self, call: Call) -> Json:
        name = self.resource(call.params["name"])
        self.cloud.iam.require(call.principal, "iam.serviceAccounts.getOpenIdToken", name)
        if not call.body.get("audience"):
            raise ApiError(400, "The audience of the identity token is missing.")
        email = self.accounts[name]["email"]
        return {"token": self.cloud.identity.oidc_token(email, call.body["audience"])}

    @rpc(f"{CREDENTIALS}.signBlob")
    async def sign_blob(self, call: Call) -> Json:
        name = self.resource(call.params["name"])
        self.cloud.iam.require(call.principal, "iam.serviceAccounts.signBlob", name)
        try:
            payload = base64.b64decode(call.body["payload"], validate=True)
        except ValueError as error:
            raise ApiError(400, f"payload is not base64: {error}") from error
        email = self.accounts[name]["email"]
        if email not in self.keys:
            key = await asyncio.to_thread(rsa.generate_private_key, 65537, 2048)
            self.keys.setdefault(email, key)
        signature = self.keys[email].sign(payload, padding.PKCS1v15(), SHA256())
        number = self.accounts[name]["uniqueId"]
        return {"keyId": number, "signedBlob": base64.b64encode(signature).decode()}
