"""IAM members and audit configurations: a policy is read, changed and written."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from .engine import Resource, State, expand_block, flatten
from .rest import ApiError, Cloud
from .values import known

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


class AuditConfig(Member):
    """What is logged of one service's use: its part of the policy, as a whole."""

    def _others(self, policy: dict[str, Any], state: State) -> list[Any]:
        configs = policy.get("auditConfigs", [])
        return [one for one in configs if one["service"] != state["service"]]

    def create(self, cloud: Cloud, planned: State) -> State:
        state = self._parent(cloud, known(planned))[0]
        block = self.fields["audit_log_config"].block
        assert block
        logs = [expand_block(block, one) for one in state["audit_log_config"]]

        def put(policy: dict[str, Any]) -> None:
            made = {"service": state["service"], "auditLogConfigs": logs}
            policy["auditConfigs"] = [*self._others(policy, state), made]

        self._modify(cloud, state, put)
        found = self.read(cloud, state)
        if found is None:
            raise ApiError(404, f"{self.table.name}: it did not stay in the policy")
        return found

    def update(self, cloud: Cloud, planned: State, prior: State) -> State:
        return self.create(cloud, planned)

    def fetch(self, cloud: Cloud, state: State) -> Any:
        policy = self._policy(cloud, state)
        there = len(self._others(policy, state)) < len(policy.get("auditConfigs", []))
        return policy if there else None

    def decode(self, cloud: Cloud, answer: dict[str, Any], state: State) -> State:
        (mine,) = (a for a in answer["auditConfigs"] if a["service"] == state["service"])
        field = self.fields["audit_log_config"]
        logs = flatten(field, mine["auditLogConfigs"], state["audit_log_config"])
        name = self.fill(self.table.id, state)
        return state | {"audit_log_config": logs, "etag": answer.get("etag"), "id": name}

    def remove(self, cloud: Cloud, state: State) -> None:
        def take(policy: dict[str, Any]) -> None:
            policy["auditConfigs"] = self._others(policy, state)

        self._modify(cloud, state, take)

    def import_state(self, cloud: Cloud, text: str) -> State:
        parent, service = text.split()
        state = Resource.import_state(self, cloud, parent)
        return state | {"service": service, "audit_log_config": []}


def _condition(state: State) -> dict[str, Any] | None:
    """The condition as a policy holds it."""
    if not state["condition"]:
        return None
    return {name: value for name, value in state["condition"][0].items() if value}
