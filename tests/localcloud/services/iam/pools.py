"""Workload identity pools and their providers, and the outside issuer that they trust here: GitHub.

A deleted pool or provider is kept for 30 days, and its id with it, as Google keeps them.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...core.api import Call, Json, Service, rpc
from ...core.clock import rfc3339
from ...core.errors import ApiError

if TYPE_CHECKING:
    from ...core.server import Cloud

POOLS = "iam.projects.locations.workloadIdentityPools"
PROVIDERS = f"{POOLS}.providers"
GITHUB = "https://token.actions.githubusercontent.com"
KEPT = 30 * 86400  # seconds that a deleted one can still be restored


def project_of(call: Call) -> str:
    return "/".join((call.params.get("name") or call.params["parent"]).split("/")[:2])


class Pools(Service):
    documents = ("iam.v1",)
    hosts = (r"token\.actions\.githubusercontent\.com",)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.held: dict[str, Json] = {}  # pools and providers by name, with the project's number
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def snapshot(self) -> list[str]:
        return [name for name in self.held if self.find(name)]

    def full(self, name: str) -> str:
        """The name with the project's number, as Google answers, whichever it was given by."""
        return name.replace(f"projects/{self.cloud.project}/", f"projects/{self.cloud.number}/", 1)

    def find(self, name: str, deleted: bool = False) -> Json | None:
        """An enabled one or, with `deleted`, one that can still be restored."""
        held = self.held.get(self.full(name))
        if held and held.get("expireTime", "~") < rfc3339(self.cloud.clock.now()):
            del self.held[self.full(name)]
            return None
        return held if held and (deleted or held["state"] == "ACTIVE") else None

    @rpc(f"{POOLS}.create", "iam.googleapis.com/workloadIdentityPools.create", on=project_of)
    def create_pool(self, call: Call) -> Json:
        return self._create(call, "workloadIdentityPools", call.params["workloadIdentityPoolId"])

    @rpc(
        f"{PROVIDERS}.create",
        "iam.googleapis.com/workloadIdentityPoolProviders.create",
        on=project_of,
    )
    def create_provider(self, call: Call) -> Json:
        if self.find(call.params["parent"]) is None:
            raise ApiError(404, f"Requested entity was not found: {call.params['parent']}")
        self._check(call.body)
        return self._create(call, "providers", call.params["workloadIdentityPoolProviderId"])

    def _create(self, call: Call, kind: str, name: str) -> Json:
        if not re.fullmatch(r"[a-z0-9-]{4,32}", name) or name.startswith("gcp-"):
            raise ApiError(400, f"{kind}: the id {name!r} is not allowed.")
        full = self.full(f"{call.params['parent']}/{kind}/{name}")
        if self.find(full, deleted=True):
            raise ApiError(409, "Requested entity already exists")
        self.held[full] = {"name": full, "state": "ACTIVE"} | call.body
        return self._done(full)

    @rpc(f"{POOLS}.get", "iam.googleapis.com/workloadIdentityPools.get", on=project_of)
    @rpc(f"{PROVIDERS}.get", "iam.googleapis.com/workloadIdentityPoolProviders.get", on=project_of)
    def get(self, call: Call) -> Json:
        held = self.find(call.params["name"], deleted=True)
        if held is None:
            raise ApiError(404, "Requested entity was not found.")
        return held

    @rpc(f"{POOLS}.patch", "iam.googleapis.com/workloadIdentityPools.update", on=project_of)
    @rpc(
        f"{PROVIDERS}.patch",
        "iam.googleapis.com/workloadIdentityPoolProviders.update",
        on=project_of,
    )
    def patch(self, call: Call) -> Json:
        held = self.get(call)
        fields = {field.partition(".")[0] for field in call.params["updateMask"].split(",")}
        new = {k: v for k, v in held.items() if k not in fields}
        new |= {k: v for k, v in call.body.items() if k in fields}
        if "oidc" in new:
            self._check(new)
        self.held[held["name"]] = new
        return self._done(held["name"])

    @rpc(f"{POOLS}.delete", "iam.googleapis.com/workloadIdentityPools.delete", on=project_of)
    @rpc(
        f"{PROVIDERS}.delete",
        "iam.googleapis.com/workloadIdentityPoolProviders.delete",
        on=project_of,
    )
    def delete(self, call: Call) -> Json:
        held = self.get(call)
        if held["state"] == "DELETED":
            raise ApiError(400, "The entity is already deleted.", "FAILED_PRECONDITION")
        expires = rfc3339(self.cloud.clock.now() + KEPT)
        held |= {"state": "DELETED", "expireTime": expires}
        return self._done(held["name"])

    @rpc(f"{POOLS}.undelete", "iam.googleapis.com/workloadIdentityPools.undelete", on=project_of)
    @rpc(
        f"{PROVIDERS}.undelete",
        "iam.googleapis.com/workloadIdentityPoolProviders.undelete",
        on=project_of,
    )
    def undelete(self, call: Call) -> Json:
        held = self.get(call)
        if held["state"] != "DELETED":
            raise ApiError(400, "The entity is not deleted.", "FAILED_PRECONDITION")
        held["state"] = "ACTIVE"
        del held["expireTime"]
        return self._done(held["name"])

    def _done(self, name: str) -> Json:
        return {"name": f"{name}/operations/done", "done": True, "response": self.held[name]}

    def _check(self, provider: Json) -> None:
        """What Google asks of a provider.

        Raises:
            ApiError: 400 without a subject, an https issuer, or, for GitHub, a condition.
        """
        issuer = provider.get("oidc", {}).get("issuerUri", "")
        if not issuer.startswith("https://"):
            raise ApiError(400, "An OIDC provider with an https issuer is needed.")
        mapping = provider.get("attributeMapping", {})
        if "google.subject" not in mapping:
            raise ApiError(400, "The attribute mapping must map google.subject.")
        for name in mapping:
            if not re.fullmatch(r"google\.(subject|groups)|attribute\.[a-z0-9_]{1,100}", name):
                raise ApiError(400, f"Invalid mapped attribute key: {name}")
        condition = provider.get("attributeCondition", "")
        if issuer == GITHUB and "assertion." not in condition + " ".join(
            mapping[name] for name in mapping if name in condition
        ):
            raise ApiError(
                400, "The attribute condition must reference one of the provider's claims."
            )

    # GitHub

    async def raw(self, request: Request) -> Response | None:
        """The issuer's keys; and, unlike GitHub, a token of whatever claims are asked for."""
        if request.url.hostname != GITHUB.removeprefix("https://"):
            return None
        if (request.method, request.url.path) == ("GET", "/.well-known/jwks"):
            jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            return JSONResponse({"keys": [jwk | {"kid": "github", "use": "sig", "alg": "RS256"}]})
        if (request.method, request.url.path) == ("POST", "/forge"):
            now = int(time.time())
            claims: dict[str, Any] = {"iss": GITHUB, "iat": now, "nbf": now, "exp": now + 300}
            claims |= await request.json()
            token = jwt.encode(claims, self.key, "RS256", headers={"kid": "github"})
            return JSONResponse({"value": token})
        return JSONResponse({"message": "Not Found"}, 404)
