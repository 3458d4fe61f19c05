"""The other resource types that differ from the general case in engine.py."""

from __future__ import annotations

from typing import Any

from .engine import Resource, State
from .rest import ApiError, Cloud
from .values import known


class Queue(Resource):
    def create_body(self, state: State) -> dict[str, Any]:
        return {"name": self.fill(self.table.path, state)} | super().create_body(state)

    def created(self, cloud: Cloud, state: State, answer: dict[str, Any]) -> None:
        if state["desired_state"] == "PAUSED":
            self.send(cloud, "POST", state, {}, self.table.path + ":pause")

    def change(self, cloud: Cloud, state: State, prior: State) -> None:
        super().change(cloud, state, prior)
        if state["desired_state"] != prior["desired_state"]:
            verb = "pause" if state["desired_state"] == "PAUSED" else "resume"
            self.send(cloud, "POST", state, {}, f"{self.table.path}:{verb}")


class Subscription(Resource):
    def create_body(self, state: State) -> dict[str, Any]:
        body = super().create_body(state)
        if "/" not in body["topic"]:
            body["topic"] = f"projects/{state['project']}/topics/{body['topic']}"
        return body


class Function(Queue):
    def body(self, state: State, names: list[str]) -> dict[str, Any]:
        body = super().body(state, names)
        build = body.get("buildConfig")
        if build is not None and build["onDeployUpdatePolicy"] is not None:
            build.pop("automaticUpdatePolicy", None)
        return body

    created = Resource.created
    change = Resource.change


class ServiceAccount(Resource):
    def plan(self, cloud: Cloud, config: State, prior: State | None) -> State:
        planned = super().plan(cloud, config, prior)
        account, project = planned["account_id"], planned["project"]
        if prior is None and isinstance(project, str) and isinstance(account, str):
            email = f"{account}@{project}.iam.gserviceaccount.com"
            planned |= {"email": email, "member": f"serviceAccount:{email}"}
        return planned

    def create(self, cloud: Cloud, planned: State) -> State:
        state = self.complete(cloud, known(planned))
        about = self.body(state, ["description", "display_name"])
        body = {"accountId": state["account_id"], "serviceAccount": about}
        path = f"projects/{state['project']}/serviceAccounts"
        try:
            answer = cloud.call("POST", "iam", path, body)
        except ApiError as error:
            if error.code != 409 or not state["create_ignore_already_exists"]:
                raise
            answer = self.fetch(cloud, state)
        if state["disabled"]:
            cloud.call("POST", "iam", f"{answer['name']}:disable", {})
        return self.read(cloud, state | {"email": answer["email"]}) or state

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        email, name = answer["email"], answer["name"]
        found = super().decode(cloud, answer, state)
        return found | {
            "account_id": email.split("@")[0],
            "id": name,
            "member": f"serviceAccount:{email}",
            "project": name.split("/")[1],
        }

    def change(self, cloud: Cloud, state: State, prior: State) -> None:
        current = self.fetch(cloud, state)
        changed = self.changed(state, prior)
        if "disabled" in changed:
            verb = "disable" if state["disabled"] else "enable"
            self.send(cloud, "POST", state, {}, f"{self.table.path}:{verb}")
        mask = [name for name in ("description", "display_name") if name in changed]
        if mask:
            about = self.body(state, ["description", "display_name"])
            about |= {"etag": current["etag"]} if "etag" in current else {}
            self.send(
                cloud, "PATCH", state, {"serviceAccount": about, "updateMask": ",".join(mask)}
            )


class CustomRole(Resource):
    """A deleted role stays for a while, and is taken up again."""

    def create(self, cloud: Cloud, planned: State) -> State:
        state = self.complete(cloud, known(planned))
        path = f"projects/{state['project']}/roles"
        try:
            if not self.fetch(cloud, state).get("deleted"):
                raise ApiError(
                    0,
                    f"Custom project role {path}/{state['role_id']} already exists and must be "
                    "imported",
                )
            self.change(cloud, state, state)
        except ApiError as error:
            if error.code != 404:
                raise
            body = {"roleId": state["role_id"], "role": self.create_body(state)}
            cloud.call("POST", "iam", path, body)
        return self.read(cloud, state) or state

    def change(self, cloud: Cloud, state: State, prior: State) -> None:
        if self.fetch(cloud, state).get("deleted"):
            self.send(cloud, "POST", state, {}, self.table.path + ":undelete")
        self.send(cloud, "PATCH", state, self.create_body(state))


class SoftDeleted(Resource):
    """Workload identity pools and providers: still readable, with state DELETED, for 30 days."""

    def fetch(self, cloud: Cloud, state: State) -> Any:
        answer = super().fetch(cloud, state)
        return None if answer.get("state") == "DELETED" else answer

    def mask(self, name: str) -> str:
        return (
            "oidc.allowed_audiences,oidc.issuer_uri,oidc.jwks_json"
            if name == "oidc"
            else (super().mask(name))
        )


class ProjectService(Resource):
    def _enabled(self, cloud: Cloud, state: State) -> set[str]:
        names, page = set(), ""
        while True:
            query = {
                "filter": "state:ENABLED",
                "pageSize": "200",
                "fields": "services/name,nextPageToken",
            }
            query |= {"pageToken": page} if page else {}
            path = f"projects/{state['project']}/services"
            listed = cloud.call("GET", "serviceusage", path, query=query)
            names |= {service["name"].split("/")[-1] for service in listed.get("services", [])}
            page = listed.get("nextPageToken", "")
            if not page:
                return names

    def create(self, cloud: Cloud, planned: State) -> State:
        state = self.complete(cloud, known(planned))
        if state["service"] not in self._enabled(cloud, state):
            path = f"projects/{state['project']}/services:batchEnable"
            body = {"serviceIds": [state["service"]]}
            cloud.wait("serviceusage", cloud.call("POST", "serviceusage", path, body))
        return self.read(cloud, state) or state

    def fetch(self, cloud: Cloud, state: State) -> Any:
        project = cloud.call("GET", "cloudresourcemanager", f"projects/{state['project']}")
        there = state["service"] in self._enabled(cloud, state)
        return {} if there and project.get("lifecycleState") != "DELETE_REQUESTED" else None

    def change(self, cloud: Cloud, state: State, prior: State) -> None:
        """Nothing of it is told to the server."""

    def remove(self, cloud: Cloud, state: State) -> None:
        if state["disable_on_destroy"]:
            body = {"disableDependentServices": bool(state["disable_dependent_services"])}
            answer = self.send(cloud, "POST", state, body, self.table.path + ":disable")
            cloud.wait("serviceusage", answer)


class Repository(Resource):
    """Clean-up policies are a list in Terraform, and an object by their ids in REST."""

    def body(self, state: State, names: list[str]) -> dict[str, Any]:
        body = super().body(state, names)
        policies = body.get("cleanupPolicies")
        if policies:
            body["cleanupPolicies"] = {policy.pop("id"): policy for policy in policies}
        return body

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        policies = answer.get("cleanupPolicies") or {}
        # An empty list is not stored, and is one in the state all the same.
        lists = ("packageNamePrefixes", "tagPrefixes", "versionNamePrefixes")
        empty: dict[str, dict[str, Any]] = {
            "condition": {name: [] for name in lists}, "mostRecentVersions": {lists[0]: []},
        }  # fmt: skip
        listed = [
            {"id": name} | {k: empty.get(k, {}) | v if k in empty else v for k, v in policy.items()}
            for name, policy in sorted(policies.items())
        ]
        found = super().decode(cloud, answer | {"cleanupPolicies": listed}, state)
        return found | {"name": state["repository_id"]}


class SchedulerJob(Resource):
    """Paused and resumed by calls of their own; what the API fills in is not in the state."""

    def create_body(self, state: State) -> dict[str, Any]:
        return {"name": self.fill(self.table.path, state)} | super().create_body(state)

    def created(self, cloud: Cloud, state: State, answer: dict[str, Any]) -> None:
        self._set(cloud, state)

    def change(self, cloud: Cloud, state: State, prior: State) -> None:
        super().change(cloud, state, prior)
        if bool(state["paused"]) != bool(prior["paused"]):
            self._set(cloud, state)

    def _set(self, cloud: Cloud, state: State) -> None:
        verb = "pause" if state["paused"] else "resume"
        self.send(cloud, "POST", state, {}, f"{self.table.path}:{verb}")

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        answer = {"attemptDeadline": "180s"} | answer
        if target := answer.get("httpTarget"):
            filled = {"User-Agent": "Google-Cloud-Scheduler"}
            filled |= {"Content-Type": "application/octet-stream"}
            headers = dict(target.get("headers") or {})
            left = {k: v for k, v in headers.items() if filled.get(k) != v}
            answer["httpTarget"] = target | {"headers": left}
            declared = (state["http_target"] or [{}])[0]
            for token, key in (("oidcToken", "audience"), ("oauthToken", "scope")):
                block = declared.get("oidc_token" if token == "oidcToken" else "oauth_token")
                if token in target and not (block or [{}])[0].get(key):
                    answer["httpTarget"][token] = {
                        k: v for k, v in target[token].items() if k != key
                    }
        found = super().decode(cloud, answer, state)
        return found | {"paused": answer.get("state") == "PAUSED"}


class Protected(Resource):
    """Not deleted unless its state says otherwise: jobs of Cloud Run, workflows."""

    def remove(self, cloud: Cloud, state: State) -> None:
        if state["deletion_protection"] is not False:
            what = self.table.name.rpartition("_")[2]
            raise ApiError(
                0,
                f"cannot destroy {what} without setting deletion_protection=false and running "
                "`terraform apply`",
            )
        super().remove(cloud, state)

    def import_state(self, cloud: Cloud, text: str) -> State:
        return super().import_state(cloud, text) | {"deletion_protection": True}
