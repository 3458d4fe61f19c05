"""Artifact Registry: repositories, and the images that Cloud Build pushes into them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.api import Call, Json, rpc
from ...core.errors import ApiError, not_found
from ...core.records import Records
from ..builds.dockerfile import Recipe
from ..functions.build import Environment

if TYPE_CHECKING:
    from ...core.server import Cloud

REPOSITORIES = "artifactregistry.projects.locations.repositories"
TAGS = f"{REPOSITORIES}.packages.tags"
ADDRESS = re.compile(
    r"(?P<region>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/]+)"
    r"/(?P<package>[a-z0-9._-]+)(?::(?P<tag>[\w.-]+)|@(?P<digest>sha256:[0-9a-f]{64}))"
)


@dataclass(frozen=True, slots=True)
class Image:
    """An image: a folder that stands for its root, what its Dockerfile said, its packages."""

    root: Path
    recipe: Recipe
    environment: Environment
    digest: str


def _repository(call: Call) -> str:
    name: str = call.params.get("name") or call.params["parent"]
    return name.partition("/packages/")[0]


class Artifacts(Records):
    documents = ("artifactregistry.v1",)
    policies = {REPOSITORIES: "artifactregistry.repositories"}

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.tags: dict[str, str] = {}  # by name → digest
        self.images: dict[tuple[str, str], Image] = {}  # by package and digest

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
        within = call.params["name"] + "/packages/"
        self.tags = {n: d for n, d in self.tags.items() if not n.startswith(within)}
        self.images = {k: i for k, i in self.images.items() if not k[0].startswith(within)}
        return self._operation(call.params["name"], {})

    @rpc(f"{TAGS}.get", "artifactregistry.tags.get", on=_repository)
    def get_tag(self, call: Call) -> Json:
        if call.params["name"] not in self.tags:
            raise not_found(f"The tag {call.params['name']}")
        return self._tag(call.params["name"])

    @rpc(f"{TAGS}.list", "artifactregistry.tags.list", on=_repository)
    def list_tags(self, call: Call) -> Json:
        within = call.params["parent"] + "/tags/"
        found = [self._tag(name) for name in sorted(self.tags) if name.startswith(within)]
        return {"tags": found} if found else {}

    def _tag(self, name: str) -> Json:
        package = name.partition("/tags/")[0]
        return {"name": name, "version": f"{package}/versions/{self.tags[name]}"}

    # What builds and jobs do.

    def repository(self, address: str) -> str:
        """The full name of the repository of an image's address.

        Raises:
            ApiError: 400 for no such address, 404 for no such repository.
        """
        return self._package(address).partition("/packages/")[0]

    def push(self, address: str, image: Image) -> None:
        """Raises ApiError as `repository`; 409 where the repository's tags never move."""
        package, match = self._package(address), ADDRESS.fullmatch(address)
        repository = self.records[package.partition("/packages/")[0]]
        tag = f"{package}/tags/{match['tag'] if match else ''}"
        fixed = repository.get("dockerConfig", {}).get("immutableTags")
        if fixed and self.tags.get(tag, image.digest) != image.digest:
            raise ApiError(
                409, f"manifest invalid: cannot update tag {tag}: the repository has immutable tags"
            )
        self.tags[tag] = image.digest
        self.images[package, image.digest] = image

    def pull(self, address: str) -> Image:
        """Raises ApiError as `repository`; 404 where it holds no such image."""
        package, match = self._package(address), ADDRESS.fullmatch(address)
        assert match
        digest = match["digest"] or self.tags.get(f"{package}/tags/{match['tag']}", "")
        if (package, digest) not in self.images:
            raise ApiError(404, f"Image '{address}' not found.")
        return self.images[package, digest]

    def _package(self, address: str) -> str:
        match = ADDRESS.fullmatch(address)
        if match is None:
            raise ApiError(400, f"{address!r} names no image with a tag or digest in a repository "
                           "of this cloud.")  # fmt: skip
        name = "projects/{project}/locations/{region}/repositories/{repository}"
        repository = name.format(**match.groupdict())
        if repository not in self.records:
            raise ApiError(404, f"Repository '{repository}' not found.")
        return f"{repository}/packages/{match['package']}"

    def _operation(self, name: str, response: Json | None = None) -> Json:
        location = "/".join(name.split("/")[:4])
        return {
            "name": f"{location}/operations/{self.cloud.clock.tick_micros()}",
            "done": True,
            "response": self.records[name] if response is None else response,
        }
