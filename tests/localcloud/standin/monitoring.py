"""Cloud Monitoring: documents, and what is found by its last name."""

from __future__ import annotations

import json
from typing import Any

from .engine import Resource, State
from .rest import Cloud
from .values import known


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
