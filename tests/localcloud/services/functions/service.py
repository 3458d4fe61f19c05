"""Cloud Run functions (2nd gen): a source archive becomes a revision of a Cloud Run service.

Each change is an operation with Google's own steps: the archive is copied into a bucket of
Google's, the build reads that copy as the build account, an instance must start, then the new
revision serves. Google's copies are kept beside the state and not in `cloud.storage`: the bucket
`gcf-v2-sources-…` belongs to the service, stays when functions go, and is in no snapshot.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import random
import re
import shutil
import string
import sys
import time
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core import fields
from ...core.api import Call, Json, Service, rpc
from ...core.errors import ApiError, not_found, not_implemented
from ...core.identity import Principal
from ..run.fleet import Revision
from ..run.instances import StartFailed
from . import build

if TYPE_CHECKING:
    from ...core.server import Cloud

RUNTIMES = ("python310", "python311", "python312", "python313", "python314")
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
# CPU that comes with memory where none is declared, up to so many MiB.
# https://docs.cloud.google.com/functions/docs/configuring/memory
CPU_OF_MEMORY = ((128, 0.083), (256, 0.1666), (512, 0.3333), (1024, 0.5833), (2048, 1),
                 (8192, 2), (16384, 4), (32768, 8))  # fmt: skip
# Least CPU for more than so many MiB.
# https://docs.cloud.google.com/run/docs/configuring/services/memory-limits
CPU_NEEDED = ((24576, 8), (16384, 6), (8192, 4), (4096, 2))
RESERVED = re.compile(r"X_GOOGLE_.*|K_(SERVICE|REVISION|CONFIGURATION)|PORT|FUNCTION_TARGET|"
                      r"FUNCTION_SIGNATURE_TYPE|CLOUD_RUN_TIMEOUT_SECONDS")  # fmt: skip
# The part of a run.app address that stands for the region.
SHORT = {"us-central1": "uc", "us-east1": "ue", "us-east4": "uk", "us-west1": "uw",
         "europe-west1": "ew", "europe-west2": "nw", "europe-west3": "ey", "europe-west4": "ez",
         "europe-north1": "lz", "asia-east1": "de", "asia-northeast1": "an"}  # fmt: skip
WITHOUT_PERMISSION = (
    "Build failed with status: FAILURE. Could not build the function due to a missing permission "
    "on the build service account. If you didn't revoke that permission explicitly, this could be "
    "caused by a change in the organization policies. {}"
)
COPY = "function-source.zip"  # what Google's copy of a function's source is called
ANSWER_WITHIN = 4.0  # seconds that an answer waits for its operation: saves clients a poll


class _Failed(Exception):
    """The operation failed: its error."""


class Functions(Service):
    documents = ("cloudfunctions.v2",)

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.functions: dict[str, Json] = {}
        self._operations: dict[str, tuple[Json, asyncio.Task[Any]]] = {}
        self._serials: dict[str, int] = {}
        self._built: dict[str, tuple[build.Environment, Path]] = {}  # and where the source lies
        self._deployed: dict[str, Json] = {}  # by name: the source that was asked for

    def snapshot(self) -> list[str]:
        return list(self.functions)

    def progress(self, text: str) -> None:
        """One line for people who wait."""
        sys.stderr.write(text + "\n")
        with (self.cloud.folder / "progress.log").open("a") as file:
            file.write(text + "\n")

    @rpc(
        "cloudfunctions.projects.locations.functions.create",
        "cloudfunctions.functions.create",
        on="{parent}",
    )
    async def create(self, call: Call) -> Json:
        parent, identifier = call.params["parent"], call.params.get("functionId", "")
        rule = "it takes 4 to 63 lower case letters, digits and hyphens, a letter first."
        _need(re.fullmatch(r"[a-z][-a-z0-9]{2,61}[a-z0-9]", identifier),
              f"Function id {identifier!r} is invalid: {rule}")  # fmt: skip
        _need(len(identifier) < 50, f"Cloud Run takes fewer than 50 characters: {identifier!r}.")
        name = f"{parent}/functions/{identifier}"
        if name in self.functions:
            raise ApiError(409, f"Could not create Cloud Run function {name}. A function with this "
                           "name already exists.")  # fmt: skip
        wanted = self._checked(copy.deepcopy(call.body), name)
        self._may_deploy(call, name, wanted)
        now = self.cloud.clock.timestamp()
        wanted |= {"name": name, "createTime": now, "updateTime": now}
        self.functions[name] = wanted | {"environment": "GEN_2", "state": "DEPLOYING"}
        return await self._operate(name, "create", lambda: self._deploy(name, wanted, True))

    @rpc(
        "cloudfunctions.projects.locations.functions.patch",
        "cloudfunctions.functions.update",
        on="{name}",
    )
    async def patch(self, call: Call) -> Json:
        name = call.params["name"]
        old = self._get(name)
        if old["state"] in ("DEPLOYING", "DELETING"):
            raise ApiError(409, f"An operation on {name} is already in progress.", "ABORTED")
        mask: str = call.params.get("updateMask") or ",".join(call.body)
        if extra := {m.split(".")[0] for m in mask.split(",")} - {
            "buildConfig", "serviceConfig", "description", "kmsKeyName", "labels"}:  # fmt: skip
            raise not_implemented(f"{call.method} of {', '.join(sorted(extra))}")
        wanted = copy.deepcopy(old)
        fields.update(wanted, copy.deepcopy(call.body), mask)
        wanted = self._checked(wanted, name)
        self._may_deploy(call, name, wanted)
        wanted["updateTime"] = self.cloud.clock.timestamp()
        old["state"] = "DEPLOYING"
        fresh = "buildConfig" in mask
        return await self._operate(name, "update", lambda: self._deploy(name, wanted, fresh))

    @rpc(
        "cloudfunctions.projects.locations.functions.delete",
        "cloudfunctions.functions.delete",
        on="{name}",
    )
    async def delete(self, call: Call) -> Json:
        name = call.params["name"]
        self._get(name)["state"] = "DELETING"
        return await self._operate(name, "delete", lambda: self._remove(name))

    @rpc(
        "cloudfunctions.projects.locations.functions.get",
        "cloudfunctions.functions.get",
        on="{name}",
    )
    def get(self, call: Call) -> Json:
        name = call.params["name"]
        function = self._get(name)
        if name in self._deployed and self.cloud.faults.chance("functions.own_source", name):
            build = function["buildConfig"] | {"source": self._deployed[name]}
            return function | {"buildConfig": build}
        return function

    @rpc(
        "cloudfunctions.projects.locations.functions.list",
        "cloudfunctions.functions.list",
        on="{parent}",
    )
    def listed(self, call: Call) -> Json:
        prefix = call.params["parent"].removesuffix("/-") + "/"
        items = ((n, f) for n, f in self.functions.items() if n.startswith(prefix))
        return fields.page("functions", items, call.params, 1000)

    @rpc(
        "cloudfunctions.projects.locations.operations.get",
        "cloudfunctions.operations.get",
        on="{name}",
    )
    async def operation(self, call: Call) -> Json:
        if call.params["name"] not in self._operations:
            raise not_found(f"Operation {call.params['name']}")
        operation, task = self._operations[call.params["name"]]
        await asyncio.wait((task,), timeout=ANSWER_WITHIN)
        return operation

    def _get(self, name: str) -> Json:
        if name not in self.functions:
            raise ApiError(404, f"Resource '{name}' was not found")
        return self.functions[name]

    def _checked(self, function: Json, name: str) -> Json:
        """`function` with Google's defaults. Raises ApiError 400 for what Google refuses."""
        if function.get("eventTrigger"):
            raise not_implemented("functions with eventTrigger")
        config, service = function.get("buildConfig", {}), function.setdefault("serviceConfig", {})
        for key in ("secretEnvironmentVariables", "secretVolumes", "vpcConnector",
                    "directVpcNetworkInterface", "binaryAuthorizationPolicy"):  # fmt: skip
            if service.get(key):
                raise not_implemented(f"functions with serviceConfig.{key}")
        runtime = config.get("runtime")
        _need(runtime in RUNTIMES, f"Runtime {runtime!r} is not one of {', '.join(RUNTIMES)}.")
        _need(re.fullmatch(r"[A-Za-z_]\w*", config.get("entryPoint", "")),
              "buildConfig.entryPoint must name a function of the source.")  # fmt: skip
        source = config.get("source", {}).get("storageSource", {})
        _need(source.get("bucket") and source.get("object"),
              "buildConfig.source.storageSource needs a bucket and an object.")  # fmt: skip
        for key in config.get("environmentVariables", {}).keys() | service.get(
            "environmentVariables", {}
        ):
            _need(re.fullmatch(r"[A-Za-z_]\w*", key) and not RESERVED.fullmatch(key),
                  f"The environment variable name {key!r} is reserved or invalid.")  # fmt: skip
        parent = name.rpartition("/functions/")[0]
        default = f"{parent}/repositories/gcf-artifacts"  # Google makes that one itself
        repository = config.setdefault("dockerRepository", default)
        _need(repository == default or self.cloud.artifacts.exists(repository),
              f"The repository {repository} was not found.")  # fmt: skip
        if own := function.get("kmsKeyName"):
            held = self.cloud.artifacts.records.get(repository, {}).get("kmsKeyName")
            _need(held == own, f"The repository {repository} must be encrypted with {own}, too.")
        config.setdefault("dockerRegistry", "ARTIFACT_REGISTRY")
        if "onDeployUpdatePolicy" not in config:
            config.setdefault("automaticUpdatePolicy", {})
        _check_service(service)
        self._fits(service)
        return function

    def _fits(self, service: Json) -> None:
        """All instances of one function, against what Cloud Run lets the project have."""
        count, allowed = service["maxInstanceCount"], self.cloud.faults.run_quota
        asked = {"Cpu": int(count * float(service["availableCpu"]) * 1000),
                 "Mem": count * _memory(service["availableMemory"])}  # fmt: skip
        most = {"Cpu": allowed.get("cpu", asked["Cpu"]), "Mem": allowed.get("memory", asked["Mem"])}
        wrong = [
            f"- {kind}AllocPerProjectRegion requested: {asked[kind]} allowed: {most[kind]}"
            for kind in most
            if asked[kind] > most[kind]
        ]
        fitting = min(count * most[kind] // asked[kind] for kind in most)
        _need(not wrong, f"Max instances must be set to {fitting} or fewer to set the requested "
              "total CPU and memory.\nQuota violated:\n" + "\n".join(wrong))  # fmt: skip

    def _may_deploy(self, call: Call, name: str, function: Json) -> None:
        """The caller may act as the accounts that the function runs and is built as."""
        project = name.split("/")[1]
        for account in (self._runtime_account(function), self._build_account(function)):
            resource = f"projects/{project}/serviceAccounts/{account}"
            self.cloud.iam.require(call.principal, "iam.serviceAccounts.actAs", resource)
            if not self.cloud.accounts.exists(resource):
                raise ApiError(400, f"Service account {resource} was not found.")

    def _runtime_account(self, function: Json) -> str:
        default = f"{self.cloud.number}-compute@developer.gserviceaccount.com"
        return str(function["serviceConfig"].get("serviceAccountEmail") or default)

    def _build_account(self, function: Json) -> str:
        default = f"{self.cloud.number}-compute@developer.gserviceaccount.com"
        named: str | None = function["buildConfig"].get("serviceAccount")
        return named.rpartition("/")[2] if named else default

    async def _operate(self, name: str, verb: str, work: Callable[[], Any]) -> Json:
        """Starts `work` (→ the response) as an operation, and answers with it."""
        parent = name.rpartition("/functions/")[0]
        operation: Json = {
            "name": f"{parent}/operations/operation-{uuid.uuid4()}",
            "metadata": {
                "@type": "type.googleapis.com/google.cloud.functions.v2.OperationMetadata",
                "createTime": self.cloud.clock.timestamp(),
                "target": name,
                "verb": verb,
                "cancelRequested": False,
                "apiVersion": "v2",
            },
            "done": False,
        }

        async def perform() -> None:
            with self.cloud.clock.busy():
                try:
                    operation["response"] = await work()
                except _Failed as error:
                    self.progress(f"{name.rpartition('/')[2]}: {error}")
                    operation["error"] = {"code": 3, "message": str(error)}
                except Exception as error:
                    operation["error"] = {"code": 13, "message": f"local cloud: {error!r}"}
                    raise
                finally:
                    operation["metadata"]["endTime"] = self.cloud.clock.timestamp()
                    operation["done"] = True

        task = self.cloud.run.spawn(perform())
        self._operations[operation["name"]] = (operation, task)
        await asyncio.wait((task,), timeout=ANSWER_WITHIN)
        return operation

    async def _remove(self, name: str) -> Json:
        self.cloud.run.remove(name.replace("/functions/", "/services/"))
        self.functions.pop(name, None)
        shutil.rmtree(self._folder(name), ignore_errors=True)
        shutil.rmtree(self._copies(name), ignore_errors=True)
        return {"@type": "type.googleapis.com/google.protobuf.Empty"}

    async def _deploy(self, name: str, wanted: Json, fresh: bool) -> Json:
        """Builds (if `fresh`) and releases; a failure leaves what served before in service."""
        before = self.functions[name]
        serving = "url" in before
        try:
            done = copy.deepcopy(wanted)
            if fresh or not serving:
                await self._build(name, done)
            await self._release(name, done)
        except _Failed as error:
            before["state"] = "ACTIVE" if serving else "FAILED"
            before["stateMessages"] = [
                {"severity": "ERROR", "type": "CloudRunFunctionBuild", "message": str(error)}
            ]
            raise
        except BaseException:
            before["state"] = "ACTIVE" if serving else "FAILED"
            raise
        self.functions[name] = done
        kind = {"@type": "type.googleapis.com/google.cloud.functions.v2.Function"}
        return kind | done

    async def _build(self, name: str, function: Json) -> None:
        config = function["buildConfig"]
        _, project, _, location, _, identifier = name.split("/")
        copied = self._take(name, config["source"]["storageSource"])
        self._may_build(project, location, identifier, config)
        unpacked = self._folder(name) / uuid.uuid4().hex
        try:
            with zipfile.ZipFile(copied) as archive:
                archive.extractall(unpacked)
        except zipfile.BadZipFile:
            raise _Failed("Build failed: the source is not a zip archive.") from None
        if not (unpacked / "main.py").is_file():
            raise _Failed("Build failed: missing main.py and FUNCTION_SOURCE not specified.")
        start, runtime = time.monotonic(), config["runtime"]
        say = lambda text: self.progress(f"building environment for {identifier}: {text}")  # noqa: E731
        try:
            made = await build.environment(self.cloud.cache, unpacked, runtime, say)
        except build.BuildError as error:
            raise _Failed(f"Build failed with status: FAILURE and message: {error}") from None
        seconds = round(time.monotonic() - start, 2)
        self.progress(f"{identifier}: {runtime} declared, {made.version} ran")
        self.cloud.journal.write("build", function=identifier, declared=runtime,
                                 interpreter=made.version, seconds=seconds)  # fmt: skip
        self._built[name] = made, unpacked
        number = self.cloud.number
        config["build"] = f"projects/{number}/locations/{location}/builds/{uuid.uuid4()}"
        # From now on the function names Google's copy, never again what was deployed.
        self._deployed[name] = config["source"]
        bucket = f"gcf-v2-sources-{number}-{location}"
        held = {"bucket": bucket, "object": f"{identifier}/{COPY}", "generation": copied.stem}
        config["source"] = {"storageSource": held}
        config["sourceProvenance"] = {"resolvedStorageSource": dict(held)}

    def _take(self, name: str, source: Json) -> Path:
        """Copies the source for the build; it may be Google's own copy, as a client read it."""
        folder, wanted = self._copies(name), source.get("generation")
        try:
            if source["bucket"].startswith("gcf-v2-sources-"):
                copied = folder / f"{wanted}.zip"
                if source["object"] != f"{folder.name}/{COPY}" or not copied.exists():
                    raise not_found(f"Generation {wanted} of {source['object']}")
                return copied
            if self.cloud.faults.chance("functions.any_generation", name):
                wanted = None
            path = self.cloud.storage.path(source["bucket"], source["object"], wanted)
        except ApiError as error:
            raise _Failed(f"Failed to read the source gs://{source['bucket']}/{source['object']}: "
                          f"{error.message}") from None  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(path, folder / f"{time.time_ns() // 1000}.zip"))

    def _may_build(self, project: str, location: str, identifier: str, config: Json) -> None:
        """What the build account needs: to read Google's copy, to log, to push the image.

        https://docs.cloud.google.com/functions/docs/securing/build-custom-sa
        """
        email = self._build_account({"buildConfig": config})
        builder = Principal(f"serviceAccount:{email}")
        bucket = f"projects/_/buckets/gcf-v2-sources-{self.cloud.number}-{location}"
        self.cloud.iam.owners[bucket] = f"projects/{project}"
        repository = config["dockerRepository"]
        for permission, resource in (
            ("storage.objects.get", f"{bucket}/objects/{identifier}/{COPY}"),
            ("logging.logEntries.create", f"projects/{project}"),
            ("artifactregistry.repositories.uploadArtifacts", repository),
        ):
            try:
                self.cloud.iam.require(builder, permission, resource)
            except ApiError as error:
                raise _Failed(WITHOUT_PERMISSION.format(error.message)) from None

    async def _release(self, name: str, function: Json) -> None:
        _, project, _, location, _, identifier = name.split("/")
        config = function["serviceConfig"]
        made, unpacked = self._built[name]
        self._serials[name] = serial = self._serials.get(name, 0) + 1
        suffix = "".join(random.choices(string.ascii_lowercase, k=3))
        code = SHORT.get(location) or "".join(part[0] for part in location.split("-"))
        key = hashlib.sha256(self.cloud.number.encode()).hexdigest()[:10]
        uri = f"https://{identifier}-{key}-{code}.a.run.app"
        url = f"https://{location}-{project}.cloudfunctions.net/{identifier}"
        revision = Revision(
            project=project,
            location=location,
            service=identifier,
            name=f"{identifier}-{serial:05d}-{suffix}",
            source=unpacked,
            environment=made,
            target=function["buildConfig"]["entryPoint"],
            variables=config.get("environmentVariables", {}),
            account=self._runtime_account(function),
            memory=_memory(config["availableMemory"]),
            cpu=float(config["availableCpu"]),
            concurrency=config["maxInstanceRequestConcurrency"],
            timeout=config["timeoutSeconds"],
            minimum=config.get("minInstanceCount", 0),
            maximum=config["maxInstanceCount"],
            ingress=config["ingressSettings"],
            urls=(uri, url, f"https://{identifier}-{self.cloud.number}.{location}.run.app"),
        )
        try:
            await self.cloud.run.deploy(revision)
        except StartFailed as error:
            raise _Failed(
                f"Could not create or update Cloud Run service {identifier}, Container Healthcheck "
                "failed. The user-provided container failed to start and listen on the port "
                f"defined provided by the PORT=8080 environment variable. It wrote: {error}"
            ) from None
        config |= {"uri": uri, "service": revision.resource, "revision": revision.name}
        config["serviceAccountEmail"] = revision.account
        function |= {"url": url, "state": "ACTIVE", "environment": "GEN_2"}
        function.pop("stateMessages", None)

    def _folder(self, name: str) -> Path:
        return self.cloud.folder / "functions" / name.rpartition("/")[2]

    def _copies(self, name: str) -> Path:
        """Google's copies of the source, by generation: gcf-v2-sources-<number>-<region>/…"""
        _, _, _, location, _, identifier = name.split("/")
        return self.cloud.folder / f"gcf-v2-sources-{self.cloud.number}-{location}" / identifier


def _need(truth: Any, message: str) -> None:
    if not truth:
        raise ApiError(400, message)


def _memory(text: str) -> int:
    """Such as 512M or 1Gi → bytes."""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi|k|M|G|)", text)
    _need(match, f"serviceConfig.availableMemory {text!r} is not a quantity of memory.")
    assert match
    return int(match[1]) * UNITS[match[2]]


def _check_service(service: Json) -> None:
    """Fills in defaults and applies Cloud Run's rules.

    https://docs.cloud.google.com/run/docs/configuring/services/cpu
    """
    service.setdefault("allTrafficOnLatestRevision", True)
    mebibytes = _memory(service.setdefault("availableMemory", "256M")) / 2**20
    _need(122 <= mebibytes <= 32768, "serviceConfig.availableMemory must be from 128M to 32Gi.")
    usual = next(cpu for most, cpu in CPU_OF_MEMORY if mebibytes <= most)
    try:
        cpu = float(service.setdefault("availableCpu", str(usual)))
    except ValueError:
        raise ApiError(400, "serviceConfig.availableCpu is not a number.") from None
    _need(0.08 <= cpu < 1 or cpu in (1, 2, 4, 6, 8),
          "serviceConfig.availableCpu must be 1, 2, 4, 6, 8, or 0.08 to below 1.")  # fmt: skip
    least = next((cpus for above, cpus in CPU_NEEDED if mebibytes > above), 0.0)
    least = max(least, 1 if mebibytes > 1024 else 0.5 if mebibytes > 512 else 0)
    _need(cpu >= least, f"Total memory of {mebibytes:.0f} MiB needs at least {least:g} CPU; "
          f"{cpu:g} are declared.")  # fmt: skip
    _need(mebibytes >= (4096 if cpu >= 6 else 2048 if cpu >= 4 else 0),
          f"{cpu:g} CPU need more memory than {mebibytes:.0f} MiB.")  # fmt: skip
    ranges = {
        "timeoutSeconds": (60, 1, 3600),
        "maxInstanceRequestConcurrency": (1, 1, 1000),
        "maxInstanceCount": (100, 1, 1000),
        "minInstanceCount": (0, 0, 1000),
    }
    for key, (usually, low, high) in ranges.items():
        value = int(service.get(key) or usually)
        _need(low <= value <= high, f"serviceConfig.{key} must be from {low} to {high}.")
        if value or key in service:
            service[key] = value
    concurrency = service["maxInstanceRequestConcurrency"]
    _need(concurrency == 1 or cpu >= 1, "Total cpu < 1 is not supported with concurrency > 1: "
          f"availableCpu is {cpu:g}, maxInstanceRequestConcurrency {concurrency}.")  # fmt: skip
    _need(service.get("minInstanceCount", 0) <= service["maxInstanceCount"],
          "serviceConfig.minInstanceCount must not exceed maxInstanceCount.")  # fmt: skip
    service.setdefault("ingressSettings", "ALLOW_ALL")
