"""Google's clients for Node, Go and Java against the local cloud: `make test-clients`.

Each has its versions pinned beside it, and gets them from npm, Go's module proxy and Maven Central.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.calls import call

HERE = Path(__file__).parent
PLACE, BUCKET = "us-central1", "objects-of-clients"
HEARD = ["again", "one", "refused", "two"]


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud.start() as made:
        queue = f"projects/{made.project}/locations/{PLACE}/queues/clients"
        google = "https://cloudtasks.googleapis.com/v2", "https://storage.googleapis.com/storage/v1"
        for url, body in (
            (f"{google[0]}/{queue.rpartition('/queues')[0]}/queues", {"name": queue}),
            (f"{google[1]}/b?project={made.project}", {"name": BUCKET}),
        ):
            call(made, "POST", url, json=body).raise_for_status()
        yield made


def built(language: str, target: Path, *command: str) -> None:
    """A program's folder with what it needs, as this machine's own registries give it."""
    if not shutil.which(command[0]):
        pytest.fail(f"did not run: {command[0]} is not on this machine")
    shutil.copytree(HERE / language, target, dirs_exist_ok=True)
    done = subprocess.run(command, cwd=target, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def node(target: Path, cloud: LocalCloud) -> list[str]:
    built("node", target, "npm", "ci", "--silent", "--no-audit", "--no-fund")
    return ["node", "clients.mjs"]


def go(target: Path, cloud: LocalCloud) -> list[str]:
    built("go", target, "go", "build", "-o", "clients", ".")
    return ["./clients"]


def java(target: Path, cloud: LocalCloud) -> list[str]:
    built(
        "java", target,
        "mvn", "-q", "-B", "compile", "dependency:copy-dependencies", "-DoutputDirectory=jars",
    )  # fmt: skip
    # Java knows neither the proxy of the environment nor its certificates.
    trusted, words = target / "trusted.p12", "changeit"
    authority = cloud.folder / "local-ca.pem"
    subprocess.run(
        ["keytool", "-importcert", "-noprompt", "-alias", "cloud", "-file", authority,
         "-keystore", trusted, "-storepass", words, "-storetype", "PKCS12"],
        check=True, capture_output=True,
    )  # fmt: skip
    host, port = cloud.proxy.rpartition("/")[2].split(":")
    settings = {
        "https.proxyHost": host,
        "https.proxyPort": port,
        "javax.net.ssl.trustStore": str(trusted),
        "javax.net.ssl.trustStorePassword": words,
    }
    return ["java", *(f"-D{name}={value}" for name, value in settings.items()),
            "-cp", "target/classes:jars/*", "Clients"]  # fmt: skip


@pytest.mark.parametrize("language", [node, go, java])
def test_google_s_clients_of_other_languages(
    cloud: LocalCloud, tmp_path: Path, language: Callable[[Path, LocalCloud], list[str]]
) -> None:
    """Objects in chunks, messages that stream and come again, queues and a task."""
    name = language.__name__
    command = language(tmp_path, cloud)
    parent = f"projects/{cloud.project}/locations/{PLACE}"
    own = {k: v for k, v in os.environ.items() if not k.startswith(("GOOGLE_", "CLOUDSDK_"))}
    environ = own | cloud.environ() | {"NODE_EXTRA_CA_CERTS": str(cloud.authority)}
    done = subprocess.run(
        [*command, cloud.project, parent, BUCKET], cwd=tmp_path, env=environ,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.pop("task").startswith(f"{parent}/queues/clients/tasks/")
    wanted: dict[str, Any] = {"heard": HEARD, "queue": f"{parent}/queues/clients"}
    if name != "node":  # Node's client for Cloud Storage: make test-frameworks
        wanted |= {"again": 412, "objects": [f"from/{name}.bin"], "same": True}
    assert told == wanted
