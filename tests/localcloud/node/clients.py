"""Google's clients for Node against the local cloud: `make test-node` (needs npm)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.localcloud.client import LocalCloud

HERE = Path(__file__).parent
PLACE = "us-central1"


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud.start() as made:
        yield made


def test_node_s_clients_stream_list_and_create_tasks(cloud: LocalCloud, tmp_path: Path) -> None:
    if not shutil.which("npm"):
        pytest.fail("did not run: npm is not on this machine")
    for name in ("package.json", "package-lock.json", "clients.mjs"):
        shutil.copy(HERE / name, tmp_path)
    subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=tmp_path, check=True)
    parent = f"projects/{cloud.project}/locations/{PLACE}"
    answer = requests.post(
        f"https://cloudtasks.googleapis.com/v2/{parent}/queues",
        json={"name": f"{parent}/queues/node"},
        headers={"Authorization": f"Bearer {cloud.token()}"},
        proxies={"https": cloud.proxy}, verify=str(cloud.bundle), timeout=60,
    )  # fmt: skip
    answer.raise_for_status()
    own = {k: v for k, v in os.environ.items() if not k.startswith(("GOOGLE_", "CLOUDSDK_"))}
    environ = own | cloud.environ() | {"NODE_EXTRA_CA_CERTS": str(cloud.bundle)}
    done = subprocess.run(
        ["node", "clients.mjs", cloud.project, PLACE], cwd=tmp_path, env=environ,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["heard"] == ["again", "one", "refused", "two"]
    assert told["topics"] == [f"projects/{cloud.project}/topics/from-node"]
    assert told["queues"] == [f"{parent}/queues/node"]
    assert told["task"].startswith(f"{parent}/queues/node/tasks/")
