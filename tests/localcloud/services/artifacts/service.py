"""Artifact Registry: repositories, for the images that builds would push."""

from __future__ import annotations

from ...core.api import Call, Json, rpc
from ...core.records import Records

REPOSITORIES = "artifactregistry.projects.locations.repositories"


class Artifacts(Records):
    documents = ("artifactregistry.v1",)
    policies = {REPOSITORIES: "artifactregistry.repositories"}

    @rpc(f"{REPOSITORIES}.create", "artifactregistry.repositories.create", on="{parent}")
    def create(self, call: Call) -> Json:
        name = f"{call.params['parent']}/repositories/{call.params['repositoryId']}"
        times = {
            "createTime": self.cloud.clock.timestamp(),
            "updateTime": self.cloud.clock.timestamp(),
        }
        self._add(name, call.body | {"name": name} | times)
        return self._operation(name)

    @rpc(f"{REPOSITORIES}.get", "artifactregistry.repositories.get", on="{name}")
    def get(self, call: Call) -> Json:
        return self._get(call)

    @rpc(f"{REPOSITORIES}.patch", "artifactregistry.repositories.update", on="{name}")
    def patch(self, call: Call) -> Json:
        return self._update(call)

    @rpc(f"{REPOSITORIES}.delete", "artifactregistry.repositories.delete", on="{name}")
    def delete(self, call: Call) -> Json:
        self._delete(call)
        return self._operation(call.params["name"], {})

    def _operation(self, name: str, response: Json | None = None) -> Json:
        location = "/".join(name.split("/")[:4])
        return {
            "name": f"{location}/operations/{self.cloud.clock.tick_micros()}",
            "done": True,
            "response": self.records[name] if response is None else response,
        }
