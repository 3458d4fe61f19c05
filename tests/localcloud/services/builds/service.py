"""Cloud Build: a source archive and `docker build` become an image in Artifact Registry.

The build account reads the source, logs and pushes. See dockerfile.py for what can be built.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import shutil
import tarfile
import uuid
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.api import Call, Json, Service, rpc
from ...core.errors import ApiError, invalid, not_implemented
from ...core.identity import Principal
from ..artifacts.service import Image
from ..functions import build
from . import dockerfile

if TYPE_CHECKING:
    from ...core.server import Cloud

BUILDS = "cloudbuild.projects.locations.builds"
DOCKER = "gcr.io/cloud-builders/docker"
UNSERVED = {"artifacts", "availableSecrets", "secrets", "substitutions", "gitConfig",
            "dependencies", "logsBucket"}  # fmt: skip


class _Failed(Exception):
    """The build ended without an image; the message is its detail."""


class Builds(Service):
    documents = ("cloudbuild.v1",)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.builds: dict[str, Json] = {}

    @rpc(f"{BUILDS}.create", "cloudbuild.builds.create", on="{parent}")
    def create(self, call: Call) -> Json:
        _, project, _, location = call.params["parent"].split("/")
        account, tag = self._checked(call, project)
        number = str(uuid.uuid4())
        name = f"projects/{project}/locations/{location}/builds/{number}"
        self.builds[name] = call.body | {
            "id": number,
            "name": name,
            "projectId": project,
            "status": "QUEUED",
            "createTime": self.cloud.clock.timestamp(),
        }
        self.cloud.run.spawn(self._perform(self.builds[name], account, tag))
        return self._operation(self.builds[name])

    @rpc(f"{BUILDS}.get", "cloudbuild.builds.get", on="{name}")
    def get(self, call: Call) -> Json:
        if call.params["name"] not in self.builds:
            raise ApiError(404, "Requested entity was not found.")
        return self.builds[call.params["name"]]

    @rpc("cloudbuild.projects.locations.operations.get", "cloudbuild.builds.get", on="{name}")
    def operation(self, call: Call) -> Json:
        wanted = call.params["name"]
        for made in self.builds.values():
            if (found := self._operation(made))["name"] == wanted:
                return found
        raise ApiError(404, "Requested entity was not found.")

    def _operation(self, made: Json) -> Json:
        kind = "type.googleapis.com/google.devtools.cloudbuild.v1."
        coded = base64.b64encode(made["id"].encode()).decode()
        operation: Json = {
            "name": f"{made['name'].partition('/builds/')[0]}/operations/{coded}",
            "metadata": {"@type": f"{kind}BuildOperationMetadata", "build": made},
        }
        if made["status"] in ("QUEUED", "WORKING"):
            return operation
        if made["status"] != "SUCCESS":
            error = {
                "code": 2,
                "message": f"Build failed; check build logs. {made['statusDetail']}",
            }
            return operation | {"done": True, "error": error}
        return operation | {"done": True, "response": {"@type": f"{kind}Build"} | made}

    def _checked(self, call: Call, project: str) -> tuple[str, str]:
        """Email of the build account, and the image's address; refuses what is not served."""
        body = call.body
        if wrong := UNSERVED & body.keys():
            raise not_implemented(f"{', '.join(sorted(wrong))} of a build")
        source = body.get("source", {}).get("storageSource")
        if not source:
            raise not_implemented("a build without source.storageSource")
        steps = body.get("steps", [])
        if len(steps) != 1 or steps[0].get("name") != DOCKER or steps[0].keys() > {"name", "args"}:
            raise not_implemented(f"steps other than one of {DOCKER} with args alone")
        command = " ".join(steps[0].get("args", []))
        match = re.fullmatch(r"build (?:--tag|-t|--tag=)\s?(\S+) \.", command)
        if not match or body.get("images") != [match[1]]:
            raise not_implemented(
                f"docker {command}; it is build --tag IMAGE . with images=[IMAGE]"
            )
        account = body.get("serviceAccount", "")
        if not account.startswith(f"projects/{project}/serviceAccounts/"):
            raise not_implemented("a build without a serviceAccount of the project")
        if body.get("options", {}).get("logging") not in ("CLOUD_LOGGING_ONLY", "NONE"):
            raise invalid(
                "if 'build.service_account' is specified, the build must either (a) specify "
                "'build.logs_bucket', (b) use the REGIONAL_USER_OWNED_BUCKET "
                "build.options.default_logs_bucket_behavior option, or (c) use either "
                "CLOUD_LOGGING_ONLY / NONE logging options",
                "options.logging",
            )
        self.cloud.iam.require(call.principal, "iam.serviceAccounts.actAs", account)
        if not self.cloud.accounts.exists(account):
            raise ApiError(404, f"Service account {account} does not exist.")
        return account.rpartition("/")[2], match[1]

    async def _perform(self, made: Json, account: str, tag: str) -> None:
        with self.cloud.clock.busy():
            made |= {"status": "WORKING", "startTime": self.cloud.clock.timestamp()}
            try:
                image = await self._build(made, Principal(f"serviceAccount:{account}"), tag)
                pushed = {"name": tag, "digest": image.digest}
                made |= {"status": "SUCCESS", "results": {"images": [pushed]}}
            except (_Failed, ApiError) as error:
                made |= {"status": "FAILURE", "statusDetail": str(error)}
                made["failureInfo"] = {"type": "USER_BUILD_STEP", "detail": str(error)}
            made["finishTime"] = self.cloud.clock.timestamp()
            self.cloud.journal.write(
                "build", image=tag, status=made["status"], detail=made.get("statusDetail", "")
            )

    async def _build(self, made: Json, builder: Principal, tag: str) -> Image:
        source = made["source"]["storageSource"]
        bucket, name = source["bucket"], source["object"]
        require = self.cloud.iam.require
        require(builder, "storage.objects.get", f"projects/_/buckets/{bucket}/objects/{name}")
        if made["options"]["logging"] != "NONE":
            require(builder, "logging.logEntries.create", f"projects/{self.cloud.project}")
        repository = self.cloud.artifacts.repository(tag)
        require(builder, "artifactregistry.repositories.uploadArtifacts", repository)
        archive = self.cloud.storage.path(bucket, name, source.get("generation"))
        folder = self.cloud.folder / "builds" / made["id"]
        context, root = folder / "context", folder / "root"
        root.mkdir(parents=True)
        try:
            await asyncio.to_thread(_unpack, archive, context, name)
            recipe = await asyncio.to_thread(dockerfile.build, context, root)
        except dockerfile.Refused as refused:
            raise _Failed(str(refused)) from None
        finally:
            shutil.rmtree(context, ignore_errors=True)
        wanted = recipe.requirements and root / recipe.requirements.lstrip("/")
        say = lambda text: self.cloud.functions.progress(f"building {tag}: {text}")  # noqa: E731
        try:
            environment = await build.environment(
                self.cloud.cache, Path(wanted or root / "none"), recipe.python, say, image=True
            )
        except build.BuildError as error:
            raise _Failed(str(error)) from None
        image = Image(root, recipe, environment, await asyncio.to_thread(_digest, root, recipe))
        self.cloud.artifacts.push(tag, image)
        return image


def _unpack(archive: Path, into: Path, name: str) -> None:
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(into)
        else:
            with tarfile.open(archive) as opened_tar:
                opened_tar.extractall(into, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise dockerfile.Refused(f"the source is not an archive: {error}") from None


def _digest(root: Path, recipe: dockerfile.Recipe) -> str:
    """Of the files and the recipe: the same source has the same digest."""
    whole = hashlib.sha256(repr(recipe).encode())
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        whole.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return f"sha256:{whole.hexdigest()}"
