"""Projects and what stands around them: enabled APIs, billing, user info and token endpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...core.api import Call, Json, Service, rpc
from ...core.errors import ApiError
from ...core.identity import CLIENT
from ..iam.federation import exchange

if TYPE_CHECKING:
    from ...core.server import Cloud

# Of whoever signs identity tokens: Google itself, and Firebase.
CERTIFICATES = (
    "/oauth2/v1/certs",
    "/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com",
)


class Projects(Service):
    """One project, made with the cloud; its policy is the root of all inheritance."""

    documents = ("cloudresourcemanager.v1", "serviceusage.v1", "serviceusage.v1beta1",
                 "cloudbilling.v1")  # fmt: skip
    hosts = (
        r"compute\.googleapis\.com",
        r"oauth2\.googleapis\.com",
        r"openidconnect\.googleapis\.com",
        r"www\.googleapis\.com",
        r"sts\.googleapis\.com",
        r"accounts\.google\.com",
    )

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.enabled: set[str] = set()

    def _id(self, name: str) -> str:
        """A project's id, from its id or number, with or without `projects/`."""
        name = name.removeprefix("projects/")
        return self.cloud.project if name == self.cloud.number else name

    def _own(self, name: str) -> str:
        if self._id(name) != self.cloud.project:
            raise ApiError(
                403,
                f"Caller does not have required permission to use project {name} "
                "(or it may not exist).",
            )
        return f"projects/{self.cloud.project}"

    @rpc("cloudresourcemanager.projects.get")
    def get(self, call: Call) -> Json:
        resource = self._own(call.params["projectId"])
        self.cloud.iam.require(call.principal, "resourcemanager.projects.get", resource)
        return {
            "projectId": self.cloud.project,
            "projectNumber": self.cloud.number,
            "name": self.cloud.project,
            "lifecycleState": "ACTIVE",
            "createTime": "2026-01-01T00:00:00Z",
        }

    # Not by `policies`: this API takes the bare id, policies are kept by the full name.
    @rpc("cloudresourcemanager.projects.getIamPolicy")
    def get_policy(self, call: Call) -> Json:
        resource = self._own(call.params["resource"])
        self.cloud.iam.require(call.principal, "resourcemanager.projects.getIamPolicy", resource)
        return self.cloud.iam.get(resource)

    @rpc("cloudresourcemanager.projects.setIamPolicy")
    def set_policy(self, call: Call) -> Json:
        resource = self._own(call.params["resource"])
        self.cloud.iam.require(call.principal, "resourcemanager.projects.setIamPolicy", resource)
        policy = call.body["policy"]
        if "auditConfigs" in call.body.get("updateMask", ""):
            policy = {"auditConfigs": []} | policy
        return self.cloud.iam.set(resource, policy)

    @rpc("cloudbilling.projects.getBillingInfo")
    def billing(self, call: Call) -> Json:
        resource = self._own(call.params["name"])
        self.cloud.iam.require(call.principal, "resourcemanager.projects.get", resource)
        return {
            "name": f"{resource}/billingInfo",
            "projectId": self.cloud.project,
            "billingAccountName": "billingAccounts/000000-000000-000000",
            "billingEnabled": True,
        }

    def _service(self, name: str) -> Json:
        parent = f"projects/{self.cloud.number}"
        state = "ENABLED" if name in self.enabled else "DISABLED"
        config = {"name": name}
        return {
            "name": f"{parent}/services/{name}",
            "parent": parent,
            "config": config,
            "state": state,
        }

    @rpc("serviceusage.services.list")
    def list_services(self, call: Call) -> Json:
        resource = self._own(call.params["parent"])
        self.cloud.iam.require(call.principal, "serviceusage.services.list", resource)
        return {"services": [self._service(name) for name in sorted(self.enabled)]}

    @rpc("serviceusage.services.consumerQuotaMetrics.list")
    def quotas(self, call: Call) -> Json:
        """Those of Cloud Run that this cloud keeps to, if any."""
        parent, _, service = call.params["parent"].rpartition("/services/")
        self.cloud.iam.require(call.principal, "serviceusage.quotas.get", self._own(parent))
        kept = self.cloud.faults.run_quota if service == "run.googleapis.com" else {}
        names = {"cpu": "cpu_allocation", "memory": "mem_allocation"}
        return {"metrics": [
            {"metric": f"{service}/{names.get(kind, kind)}", "consumerQuotaLimits": [
                {"quotaBuckets": [{"effectiveLimit": str(limit)}]}
            ]} for kind, limit in kept.items()
        ]}  # fmt: skip

    @rpc("serviceusage.services.batchEnable")
    def batch_enable(self, call: Call) -> Json:
        return self._enable(call, call.params["parent"], call.body.get("serviceIds", []))

    @rpc("serviceusage.services.enable")
    def enable(self, call: Call) -> Json:
        parent, _, name = call.params["name"].rpartition("/services/")
        return self._enable(call, parent, [name])

    def _enable(self, call: Call, parent: str, names: list[str]) -> Json:
        resource = self._own(parent)
        self.cloud.iam.require(call.principal, "serviceusage.services.enable", resource)
        self.enabled |= set(names)
        name = f"operations/acat.p2-{self.cloud.number}-{self.cloud.clock.tick_micros()}"
        done = {"services": [self._service(service) for service in names]}
        return {"name": name, "done": True, "response": done}

    async def raw(self, request: Request) -> Response | None:
        """Token endpoints, user info and the keys that verify identity tokens."""
        identity = self.cloud.identity
        match (request.url.hostname, request.method, request.url.path):
            case ("oauth2.googleapis.com", "POST", "/token"):
                form = parse_qs((await request.body()).decode())
                principal, token = identity.redeem(form.get("refresh_token", [""])[0])
                identified = {"id_token": identity.oidc_token(principal.email, CLIENT)}
                return JSONResponse(_bearer(token) | identified)
            case ("openidconnect.googleapis.com", "GET", "/v1/userinfo"):
                principal = identity.authenticate(request.headers.get("authorization"))
                return JSONResponse({"sub": principal.email, "email": principal.email})
            case ("compute.googleapis.com", "GET", path):
                # The provider turns a project number into its id here; nothing else of Compute.
                principal = identity.authenticate(request.headers.get("authorization"))
                resource = self._own(path.removeprefix("/compute/v1/"))
                self.cloud.iam.require(principal, "resourcemanager.projects.get", resource)
                return JSONResponse({"name": self.cloud.project, "id": self.cloud.number})
            case ("www.googleapis.com", "GET", path) if path in CERTIFICATES:
                return JSONResponse(identity.certificates())
            case ("www.googleapis.com", "GET", "/oauth2/v3/certs"):
                return JSONResponse(identity.jwks())
            case ("sts.googleapis.com", "POST", "/v1/token"):
                body = await request.body()
                if "json" in request.headers.get("content-type", ""):
                    fields: dict[str, Any] = json.loads(body)
                else:
                    fields = {key: value[0] for key, value in parse_qs(body.decode()).items()}
                return exchange(self.cloud, fields)
        return None


def _bearer(token: str) -> Json:
    return {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}
