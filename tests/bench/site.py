"""Where it is measured: a local cloud with dev applied, two buckets of our own, three environments.

The processor and the bridge run as Google runs them: from their zips, in the environments of their
pinned requirements, with the variables that Terraform gave them. The baseline has an environment of
its own under the same interpreter. All of them talk to the same local Cloud Storage.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage

from tests.bench.process import cpu as _cpu
from tests.bench.subject import Subject
from tests.localcloud.client import CACHE
from tests.localcloud.client.calls import owners_session, owners_storage
from tests.localcloud.client.deployment import Deployment, deployed
from tests.localcloud.core.processes import tree
from tests.localcloud.services.functions import build

BASELINE = Path(__file__).with_name("baseline")
ENVIRONMENT = "dev"
# Of an instance's own variables: what leads it to the cloud and to its account.
CERTIFICATES = {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"}
_WAY = ("PATH", "LANG", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy",
        "GCE_METADATA_HOST", "GCE_METADATA_IP", *CERTIFICATES)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Function:
    """A deployed function: its interpreter, its unpacked source and an instance's variables."""

    python: Path
    source: Path
    environ: Mapping[str, str]

    @property
    def way(self) -> dict[str, str]:
        """The variables that anything acting as this function's account needs."""
        return {name: self.environ[name] for name in _WAY if name in self.environ}


@dataclass
class Site:
    """A deployment to measure in, with buckets that no notification watches."""

    deployment: Deployment
    session: AuthorizedSession  # the owner's
    client: storage.Client
    bridge: Function
    processor: Function
    baseline: Path  # its interpreter
    version: str  # of the interpreter
    uploads: str = ""
    results: str = ""
    environment: str = ENVIRONMENT
    pictures: dict[str, str] = field(default_factory=dict)  # name → SVG, for the report
    _names: dict[str, str] = field(default_factory=dict)

    @property
    def cloud(self) -> Any:
        return self.deployment.cloud

    def upload(self, name: str, data: bytes, content_type: str) -> str:
        """Its generation; uploaded once, however often it is asked for."""
        if name not in self._names:
            blob = self.client.bucket(self.uploads).blob(name)
            blob.upload_from_string(data, content_type=content_type)
            self._names[name] = str(blob.generation)
        return self._names[name]

    def cpu(self, service: str) -> float:
        """CPU seconds that the instances of a service, those that live, have used."""
        instances = self.cloud.post("/run/instances", {"service": service})
        return sum(_cpu(pid) for one in instances for pid in tree(one["pid"]))

    def own(self, module: str, **arguments: Any) -> Subject:
        """A subject in the processor's environment, with its modules on the path."""
        environ = dict(self.processor.environ)
        return Subject(module, self.processor.python, [self.processor.source], environ, **arguments)

    def tutorial(self, module: str, **arguments: Any) -> Subject:
        """A subject in the baseline's environment, as the same account."""
        return Subject(module, self.baseline, [BASELINE], self.processor.way, **arguments)


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """Applies dev to a fresh local cloud, and takes all of it away at the end."""
    with deployed(ENVIRONMENT) as deployment:
        cloud = deployment.cloud
        session, client = owners_session(cloud), owners_storage(cloud)
        made = asyncio.run(build.environment(CACHE, BASELINE, "python313", lambda line: None))
        here = Site(
            deployment, session, client, deployed_function(cloud, "bridge"),
            deployed_function(cloud, "processor-default"),
            made.python, made.version,
        )  # fmt: skip
        here.uploads, here.results = _buckets(here)
        yield here


def deployed_function(cloud: Any, name: str, environment: str = ENVIRONMENT) -> Function:
    """Read from one of its instances."""
    instance = cloud.post("/run/instances", {"service": f"files-{environment}-{name}"})[0]
    process = Path(f"/proc/{instance['pid']}")
    pairs = (process / "environ").read_text().rstrip("\0").split("\0")
    environ = dict(pair.split("=", 1) for pair in pairs)
    # As many certificates as Google's clients load in production.
    environ |= dict.fromkeys(environ.keys() & CERTIFICATES, str(cloud.bundle))
    python = Path((process / "cmdline").read_text().split("\0")[0])
    return Function(python, (process / "cwd").resolve(), environ)


def _account(function: Function) -> str:
    """The email of the account it runs as, from its metadata server."""
    host = function.environ["GCE_METADATA_HOST"]
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request(
        "GET",
        "/computeMetadata/v1/instance/service-accounts/default/email",
        headers={"Metadata-Flavor": "Google"},
    )
    return connection.getresponse().read().decode()


def _buckets(here: Site) -> tuple[str, str]:
    """Two buckets for the processor's account: it reads the one and writes the other.

    It may overwrite there, as the tutorial's account may: with less, a second run of a file would
    fail for want of a permission, and that would not be the tutorial's doing.
    """
    account = _account(here.processor)
    names = []
    for role in ("objectViewer", "objectUser"):
        name = f"{here.cloud.project}-bench-{role.lower()}"
        here.client.create_bucket(name, location="us-central1")
        here.cloud.post(
            "/bindings",
            {"resource": f"projects/_/buckets/{name}", "role": f"roles/storage.{role}",
             "member": f"serviceAccount:{account}", "present": True},
        )  # fmt: skip
        names.append(name)
    return names[0], names[1]
