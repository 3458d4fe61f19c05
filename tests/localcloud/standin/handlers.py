"""The resource types and data sources that differ from the general case in engine.py."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .engine import Resource, State, expand
from .rest import ApiError, Cloud, segment
from .tables import Table, load
from .values import UNKNOWN, known

# --- Cloud Storage ---


class Bucket(Resource):
    """PATCH takes the changed fields alone; null takes a field away."""

    def create(self, cloud: Cloud, planned: State) -> State:
        planned = self.complete(cloud, known(planned))
        body = self._rules(self.create_body(planned), planned)
        cloud.call("POST", "storage", "b", body, query={"project": planned["project"] or ""})
        self.fetch(cloud, planned)  # the provider looks once whether the bucket is there
        found = self.read(cloud, planned)
        if found is None:
            raise ApiError(404, f"bucket {planned['name']} was not found after its creation")
        return found

    def _rules(self, body: dict[str, Any], state: State) -> dict[str, Any]:
        """Lifecycle rules: sets of one become objects, with_state becomes isLive."""
        rules = []
        for rule in state["lifecycle_rule"] or []:
            fields = self.fields["lifecycle_rule"].block.fields  # type: ignore[union-attr]
            condition = rule["condition"][0]
            made = expand(fields["condition"], rule["condition"]) or {}
            for name in (
                "age",
                "days_since_custom_time",
                "days_since_noncurrent_time",
                "num_newer_versions",
            ):
                if condition[f"send_{name}_if_zero"] and not condition[name]:
                    made[fields["condition"].block.fields[name].api[0]] = 0  # type: ignore[union-attr]
            if condition["with_state"] in ("LIVE", "ARCHIVED"):
                made["isLive"] = condition["with_state"] == "LIVE"
            rules.append({"action": expand(fields["action"], rule["action"]), "condition": made})
        if "lifecycle" in body or not rules:
            body["lifecycle"] = {"rule": rules}
        return body

    def change(self, cloud: Cloud, state: State, prior: State) -> None:
        changed = self.changed(state, prior)
        access = {"uniform_bucket_level_access", "public_access_prevention"}
        changed |= access if changed & access else set()
        names = [name for name in self.fields if name in changed]
        body = self.body(state, names)
        if "lifecycle_rule" in changed:
            body = self._rules(body | {"lifecycle": {}}, state)
        for name in ("cors", "encryption", "retention_policy"):
            if name in changed and not state[name]:
                body[self.fields[name].api[0]] = None
        for gone in (prior["effective_labels"] or {}).keys() - (state["effective_labels"] or {}):
            body.setdefault("labels", {})[gone] = None
        self.send(cloud, "PATCH", state, body)
        self.fetch(cloud, state)

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        found = super().decode(cloud, answer, state)
        rules = (answer.get("lifecycle") or {}).get("rule") or []
        for rule, made in zip(rules, found["lifecycle_rule"] or [], strict=True):
            live = {True: "LIVE", False: "ARCHIVED"}.get(rule["condition"].get("isLive"), "ANY")
            for condition in made["condition"]:
                condition["with_state"] = live
        return found | {"url": f"gs://{state['name']}"}

    def import_state(self, cloud: Cloud, text: str) -> State:
        state = super().import_state(cloud, text.rsplit("/", 1)[-1])
        return state | {"force_destroy": False}

    def remove(self, cloud: Cloud, state: State) -> None:
        path = f"b/{segment(state['name'])}"
        with suppress(ApiError):  # asked for, and done without where that is not allowed
            cloud.call("GET", "storage", f"{path}/anywhereCaches/", retry=False)
        page: str | None = ""
        while page is not None:
            query = {"versions": "true"} | ({"pageToken": page} if page else {})
            listed = cloud.call("GET", "storage", f"{path}/o", query=query)
            for item in listed.get("items", []):
                if not state["force_destroy"]:
                    raise ApiError(
                        0,
                        f"Error trying to delete bucket {state['name']} without `force_destroy` "
                        "set to true",
                    )
                generation = {"generation": str(item["generation"])}
                cloud.call(
                    "DELETE", "storage", f"{path}/o/{segment(item['name'])}", query=generation
                )
            page = listed.get("nextPageToken")
        cloud.call("DELETE", "storage", path)


class Object(Resource):
    """An object's content: a changed one is uploaded again over the old."""

    def _content(self, cloud: Cloud, state: State) -> bytes | None:
        """The declared content; None where it is not known yet."""
        if isinstance(state.get("source"), str):
            try:
                path: Path = cloud.caller.folder / state["source"]
                return path.read_bytes()
            except OSError as error:
                raise ApiError(0, f"cannot read source: {error}") from error
        content = state.get("content")
        return content.encode() if isinstance(content, str) else None

    def plan(self, cloud: Cloud, config: State, prior: State | None) -> State:
        planned = super().plan(cloud, config, prior)
        if prior is None:
            return planned
        declared = config["source_md5hash"]
        if declared is UNKNOWN or declared != prior["source_md5hash"]:
            changed = True
        else:
            content = None if declared else self._content(cloud, config)
            digest = (
                content is not None and base64.b64encode(hashlib.md5(content).digest()).decode()
            )
            changed = not declared and digest != prior["md5hash"]
        planned["detect_md5hash"] = "different hash" if changed else prior["detect_md5hash"]
        for name in ("md5hash", "crc32c", "generation") if changed else ():
            planned[name] = UNKNOWN
        return planned

    def create(self, cloud: Cloud, planned: State) -> State:
        state = known(planned)
        content = self._content(cloud, state)
        if content is None:
            raise ApiError(0, 'Error, either "content" or "source" must be specified')
        names = (
            "cache_control",
            "content_disposition",
            "content_encoding",
            "content_type",
            "metadata",
            "storage_class",
        )
        about = {"bucket": state["bucket"]} | self.body(state, list(names))
        boundary = hashlib.sha256(content).hexdigest()[:40]

        def parts() -> Iterator[bytes]:
            """Sent as the provider does: in chunks, without a length."""
            yield f"--{boundary}\r\nContent-Type: application/json\r\n\r\n".encode()
            yield json.dumps(about).encode() + b"\n"
            kind = state["content_type"] or _sniff(content)
            yield f"\r\n--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode()
            yield content
            yield f"\r\n--{boundary}--\r\n".encode()

        cloud.call(
            "POST",
            "upload",
            f"b/{segment(state['bucket'])}/o",
            query={"name": state["name"], "uploadType": "multipart"},
            data=parts(),
            content_type=f"multipart/related; boundary={boundary}",
        )
        return self.read(cloud, state) or state

    def change(self, cloud: Cloud, state: State, prior: State) -> None:
        if self.changed(state, prior) & {"content", "source_md5hash", "detect_md5hash"}:
            self.create(cloud, state)

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        found = super().decode(cloud, answer, state)
        found["md5hexhash"] = base64.b64decode(answer.get("md5Hash") or "").hex()
        if state["content"] is None and state["source"] is None:
            found["content"] = None
        return found


def _sniff(content: bytes) -> str:
    if content.startswith(b"PK\x03\x04"):
        return "application/zip"
    try:
        content.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain; charset=utf-8"


class Notification(Resource):
    def create_body(self, state: State) -> dict[str, Any]:
        body = super().create_body(state)
        return body | {"topic": body["topic"].removeprefix("//pubsub.googleapis.com/")}

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        topic = answer["topic"].removeprefix("//pubsub.googleapis.com/")
        return super().decode(cloud, answer | {"topic": topic}, state)


# --- IAM members: read, change and write a policy ---

_policies: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


class Member(Resource):
    """One member of one role in the policy of the resource that `path` names."""

    def _parent(self, cloud: Cloud, state: State) -> tuple[State, str]:
        """The state with the parent's full name in its attribute, and that name's path."""
        state = self.complete(cloud, state)
        name = re.findall(r"{\+?(\w+)}", self.table.path)[-1]
        short = state if "+" in self.table.path else state | {name: state[name].split("/")[-1]}
        path = self.fill(self.table.path, short)
        return (state if "id" in self.settings else state | {name: path}), path

    def _policy(self, cloud: Cloud, state: State, policy: dict[str, Any] | None = None) -> Any:
        """Reads the policy, or writes the given one."""
        path, place = self._parent(cloud, state)[1], state.get("location")
        service = self.table.service
        if policy is not None:
            kept = ("auditConfigs", "bindings", "etag", "version")
            policy = {name: policy[name] for name in kept if policy.get(name)}
        if service == "storage":
            if policy is None:
                query = {"optionsRequestedPolicyVersion": "3"}
                return cloud.call("GET", service, f"{path}/iam", query=query)
            if "bindings" not in policy:
                policy.pop("etag", None)  # as the provider does
            return cloud.call("PUT", service, f"{path}/iam", policy)
        if policy is None:
            method, _, query_text = self.settings.get("get_policy", "GET").partition(" ?")
            body: Any = {} if method == "POST" else None
            if service == "cloudresourcemanager":
                body = {"options": {"requestedPolicyVersion": 3}}
            query = dict([query_text.split("=")]) if query_text else {}
            return cloud.call(
                method, service, f"{path}:getIamPolicy", body, query=query, location=place
            )
        body = {"policy": policy}
        if service == "cloudresourcemanager":
            body["updateMask"] = "bindings,etag,auditConfigs"
        return cloud.call("POST", service, f"{path}:setIamPolicy", body, location=place)

    def _binding(self, policy: dict[str, Any], state: State) -> dict[str, Any] | None:
        wanted = _condition(state)
        for binding in policy.get("bindings", []):
            there = binding.get("condition") or None
            if binding["role"] == state["role"] and there == wanted:
                return binding  # type: ignore[no-any-return]
        return None

    def _modify(self, cloud: Cloud, state: State, edit: Callable[[dict[str, Any]], None]) -> None:
        """Read, edit, write under the policy's etag; again after a conflict."""
        with _policies[self._parent(cloud, state)[1]]:
            for pause in (0.2, 0.5, 1, 2, 4, 8, None):
                policy = self._policy(cloud, state)
                edit(policy)
                try:
                    self._policy(cloud, state, policy)
                    return
                except ApiError as error:
                    if error.code != 409 or pause is None:
                        raise
                    time.sleep(pause)

    def create(self, cloud: Cloud, planned: State) -> State:
        state = self._parent(cloud, known(planned))[0]

        def add(policy: dict[str, Any]) -> None:
            binding = self._binding(policy, state)
            if binding is None:
                binding = {"role": state["role"], "members": []}
                if condition := _condition(state):
                    binding["condition"] = condition
                policy.setdefault("bindings", []).append(binding)
            if state["member"] not in binding["members"]:
                binding["members"].append(state["member"])
            policy["version"] = 3

        self._modify(cloud, state, add)
        found = self.read(cloud, state)
        if found is None:
            raise ApiError(404, f"{self.table.name}: the binding did not stay in the policy")
        return found

    def fetch(self, cloud: Cloud, state: State) -> Any:
        policy = self._policy(cloud, state)
        binding = self._binding(policy, state)
        return policy if binding and state["member"] in binding["members"] else None

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        state, path = self._parent(cloud, state)
        condition = _condition(state) or {}
        parts = [condition.get(key, "") for key in ("title", "description", "expression")]
        parent = self.fill(self.settings.get("id", path), state)
        name = "/".join([parent, state["role"], state["member"], *(parts if condition else [])])
        return state | {"etag": answer.get("etag"), "id": name}

    def remove(self, cloud: Cloud, state: State) -> None:
        def take(policy: dict[str, Any]) -> None:
            binding = self._binding(policy, state)
            if binding and state["member"] in binding["members"]:
                binding["members"].remove(state["member"])
            policy["bindings"] = [b for b in policy.get("bindings", []) if b["members"]]

        self._modify(cloud, state, take)

    def import_state(self, cloud: Cloud, text: str) -> State:
        parent, role, member, *title = text.split()
        state = super().import_state(cloud, parent) | {"role": role, "member": member}
        for binding in self._policy(cloud, state).get("bindings", []):
            condition = binding.get("condition") or {}
            if binding["role"] == role and condition.get("title", "") == " ".join(title):
                fields = ("title", "description", "expression")
                state["condition"] = [{f: condition.get(f) for f in fields}] if condition else []
        return state


def _condition(state: State) -> dict[str, Any] | None:
    """The condition as a policy holds it."""
    if not state["condition"]:
        return None
    return {name: value for name, value in state["condition"][0].items() if value}


# --- the others ---


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
        listed = [{"id": name} | policy for name, policy in sorted(policies.items())]
        found = super().decode(cloud, answer | {"cleanupPolicies": listed}, state)
        return found | {"name": state["repository_id"]}


class Dashboard(Resource):
    """The dashboard is one JSON document."""

    def create(self, cloud: Cloud, planned: State) -> State:
        state = self.complete(cloud, known(planned))
        path = self.fill("v1/projects/{project}/dashboards", state)
        answer = cloud.call("POST", "monitoring", path, json.loads(state["dashboard_json"]))
        return self.read(cloud, state | {"id": answer["name"]}) or state

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        return state | {"dashboard_json": _compact(answer), "id": answer["name"]}

    def change(self, cloud: Cloud, state: State, prior: State) -> None:
        etag = json.loads(prior["dashboard_json"]).get("etag")
        self.send(cloud, "PATCH", state, json.loads(state["dashboard_json"]) | {"etag": etag})


class Channel(Resource):
    def remove(self, cloud: Cloud, state: State) -> None:
        force = {"force": "true" if state["force_delete"] else "false"}
        self.send(cloud, "DELETE", state, query=force)


def _compact(document: Any) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


class CustomService(Resource):
    def body(self, state: State, names: list[str]) -> dict[str, Any]:
        return {"custom": {}} | super().body(state, names)

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        last = answer["name"].split("/")[-1]
        key = "service_id" if "service_id" in self.fields else "slo_id"
        return super().decode(cloud, answer, state) | {key: last}


class Slo(CustomService):
    def body(self, state: State, names: list[str]) -> dict[str, Any]:
        body = Resource.body(self, state, names)
        if "rollingPeriod" in body:
            body["rollingPeriod"] = f"{body['rollingPeriod'] * 86400}s"
        return body

    def mask(self, name: str) -> str:
        inner = self.fields[name].block
        if inner is None or not self.fields[name].api:
            return super().mask(name)
        paths = []
        for field in inner.fields.values():
            ends = [leaf.api for leaf in field.block.fields.values()] if field.block else [()]
            paths += [".".join(self.fields[name].api + field.api + end) for end in ends]
        return ",".join(paths)

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        if period := answer.get("rollingPeriod"):
            answer = answer | {"rollingPeriod": int(period.removesuffix("s")) // 86400}
        return super().decode(cloud, answer, state)


HANDLERS: dict[str, type[Resource]] = {
    "bucket": Bucket,
    "channel": Channel,
    "custom_role": CustomRole,
    "custom_service": CustomService,
    "dashboard": Dashboard,
    "function": Function,
    "iam": Member,
    "notification": Notification,
    "object": Object,
    "project_service": ProjectService,
    "queue": Queue,
    "repository": Repository,
    "service_account": ServiceAccount,
    "slo": Slo,
    "soft_deleted": SoftDeleted,
    "subscription": Subscription,
}


def resources() -> dict[str, Resource]:
    tables = [table for (kind, _), table in load().items() if kind == "resource"]
    return {t.name: HANDLERS.get(t.settings.get("handler", ""), Resource)(t) for t in tables}


# --- data sources ---


def _project(cloud: Cloud, config: State) -> State:
    project = config["project_id"] or cloud.project
    answer = cloud.call("GET", "cloudresourcemanager", f"projects/{project}")
    if answer.get("lifecycleState") != "ACTIVE":
        raise ApiError(0, f"projects/{project} not found or not in ACTIVE state")
    billing = cloud.call("GET", "cloudbilling", f"projects/{project}/billingInfo")
    labels = answer.get("labels") or {}
    parent = answer.get("parent") or {}
    return {
        "billing_account": billing.get("billingAccountName", "").removeprefix("billingAccounts/"),
        "effective_labels": labels,
        "folder_id": parent.get("id") if parent.get("type") == "folder" else "",
        "id": f"projects/{project}",
        "labels": labels,
        "name": answer.get("name"),
        "number": str(answer["projectNumber"]),
        "org_id": parent.get("id") if parent.get("type") == "organization" else "",
        "project_id": answer["projectId"],
        "terraform_labels": labels,
    }


def _storage_account(cloud: Cloud, config: State) -> State:
    project = config["project"] or cloud.project
    email = cloud.call("GET", "storage", f"projects/{project}/serviceAccount")["email_address"]
    return {
        "email_address": email,
        "id": email,
        "member": f"serviceAccount:{email}",
        "project": project,
    }


def _client_config(cloud: Cloud, config: State) -> State:
    return {
        "access_token": cloud.token,
        "default_labels": cloud.default_labels,
        "id": f'projects/"{cloud.project}"/regions/"{cloud.region}"/zones/"{cloud.zone}"',
        "project": cloud.project,
        "region": cloud.region,
        "zone": cloud.zone,
    }


READERS: dict[str, Callable[[Cloud, State], State]] = {
    "google_client_config": _client_config,
    "google_project": _project,
    "google_storage_project_service_account": _storage_account,
}


def read_data(table: Table, cloud: Cloud, config: State) -> State:
    """The state of a data source."""
    return config | READERS[table.name](cloud, config)
