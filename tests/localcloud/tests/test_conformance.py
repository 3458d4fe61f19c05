"""Google's own conformance tests for retries and preconditions, run against the local cloud.

They come with the source distribution of google-cloud-storage, fetched into the cache by the hash
that tests/requirements.txt pins, and never become part of this repository. They drive the real
client; the faults that their testbench would inject are the local cloud's own.
"""

from __future__ import annotations

import gc
import json
import logging
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
from google.oauth2.credentials import Credentials

from tests.localcloud.client import CACHE, ROOT, LocalCloud

Http = Callable[..., requests.Response]
HOST = "https://storage.googleapis.com"
REQUIREMENT = re.compile(r"^google-cloud-storage==(\S+)(?: \\\n +--hash=\S+)+$", re.M)
# Of the functions that the tests call: those that need what is not served here.
UNSERVED = {
    r".*_acl_.*|.*_make_(public|private)": "access control lists: policies alone decide here",
    r".*hmac_key.*": "HMAC keys: no client of this repository signs with one",
    r"bucket_lock_retention_policy": "retention policies: no bucket of this repository has one",
}
# Their testbench's name of a method → the discovery document's.
METHODS = {"storage.serviceaccount.get": "storage.projects.serviceAccount.get"}
INSTRUCTION = re.compile(
    r"return-(?:(?P<code>\d+)|reset-connection|(?P<broken>broken-stream))(?:-after-(?P<kib>\d+)K)?"
)


def distribution() -> Path:
    """The folder of the conformance tests, from the pinned source distribution."""
    found = REQUIREMENT.search((ROOT / "tests/requirements.txt").read_text())
    assert found, "tests/requirements.txt pins no google-cloud-storage"
    folder = CACHE / "conformance" / found[1]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            (Path(made) / "pin.txt").write_text(found[0])
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
                 "google-cloud-storage", "--require-hashes", "--requirement", "pin.txt"],
                check=True, cwd=made,
            )  # fmt: skip
            (archive,) = Path(made).glob("*.tar.gz")
            with tarfile.open(archive) as tar:
                wanted = [one for one in tar if "/tests/conformance/" in one.name]
                tar.extractall(made, wanted, filter="data")
            (tests,) = Path(made).glob("*/tests/conformance")
            shutil.move(tests, folder)
    return folder


def rules(method: str, instructions: list[str]) -> list[dict[str, Any]]:
    """Their testbench's instructions, each for one call, as faults of the local cloud."""
    made: list[dict[str, Any]] = []
    for text in instructions:
        told = INSTRUCTION.fullmatch(text)
        assert told, f"an instruction that is not known: {text}"
        rule: dict[str, Any] = {"method": METHODS.get(method, method), "times": 1}
        rule |= {"code": int(told["code"])} if told["code"] else {"code": 0, "reset": True}
        if told["broken"] or told["kib"]:
            rule["bytes"] = int(told["kib"] or 1) << 10
        elif any("bytes" in earlier for earlier in made):
            rule["skip"] = 3  # it comes later: not the start of an upload, but one of its chunks
        made.append(rule)
    return made


class Suite:
    """Their tests, with the local cloud in the place of the testbench.

    Attributes:
        module: theirs, without its end, which would start the testbench in Docker.
        scenarios: by id.
        client: makes what a test needs beforehand.
    """

    def __init__(self, cloud: LocalCloud, http: Http, folder: Path) -> None:
        text = (folder / "test_conformance.py").read_text()
        text = text.partition("# Pull storage-testbench docker image")[0]
        self.cloud = cloud
        self.module: Any = ModuleType("conformance")
        self.module._read_local_json = lambda name: json.loads((folder / name).read_text())
        code = text.replace("from . import _read_local_json\n", "")
        exec(compile(code, str(folder / "test_conformance.py"), "exec"), vars(self.module))
        self.scenarios = {one["id"]: one for one in self.module._CONFORMANCE_TESTS}
        token = cloud.token()
        topic = f"projects/{cloud.project}/topics/conformance"
        self.module.__dict__.update(
            AnonymousCredentials=lambda: Credentials(token),
            _CONF_TEST_PROJECT_ID=cloud.project,
            _CONF_TEST_PUBSUB_TOPIC_NAME="conformance",
            # Theirs lacks the kind, which Google refuses as well.
            _CONF_TEST_SERVICE_ACCOUNT_EMAIL="serviceAccount:my-service-account@example.com",
            _create_retry_test=self._create,
            _get_retry_test=self._get,
            logging=logging.getLogger("conformance"),
            _delete_retry_test=lambda host, id: cloud.delete("/faults"),
        )
        self.module.logging.disabled = True  # they write down each failure that they expect
        self.client = self.module.storage.Client(cloud.project, Credentials(token))
        http("PUT", f"https://pubsub.googleapis.com/v1/{topic}", json={}).raise_for_status()
        agent = f"serviceAccount:{self.client.get_service_account_email()}"
        row = {"resource": topic, "role": "roles/pubsub.publisher", "member": agent}
        cloud.post("/bindings", row | {"present": True})
        self.bucket = self.client.create_bucket(f"{cloud.project}-conformance")
        self.data = "0123456789abcdef" * (9 << 16)  # 9 MiB, as theirs: more than the last fault
        self.file = self.client.create_bucket(f"{cloud.project}-conformance-file").blob("file")
        self.file.upload_from_string(self.data)

    def _create(self, host: str, method: str, instructions: list[str]) -> dict[str, Any]:
        self.wanted = rules(method, instructions)
        self.cloud.delete("/faults")
        self.cloud.post("/faults", {"rules": self.wanted})
        return {"id": "1"}

    def _get(self, host: str, id: str) -> dict[str, Any]:
        struck = self.cloud.get("/faults")["counts"]
        return {"completed": sum(struck.values()) == len(self.wanted), "instructions": struck}

    def run(self, scenario: int, method: Any, case: Any, function: Callable[..., None]) -> None:
        """One of their test cases, as they run it. Raises whatever they raise."""
        needs = function.__code__.co_consts  # names of what it takes, among others
        bucket, notification = self.bucket, None
        if "file_data" in needs:
            bucket = self.file.bucket
        elif function.__name__ == "bucket_delete":
            bucket = self.client.create_bucket(f"{self.cloud.project}-{uuid.uuid4().hex}")
        blob = bucket.blob("object")
        if "object" in needs:
            blob.upload_from_string("hello world")
        if "notification" in function.__name__:  # a bucket takes ten for an event
            for old in bucket.list_notifications():
                old.delete()
        if "notification" in needs:
            notification = bucket.notification(topic_name="conformance")
            notification.create()
        if self.scenarios[scenario]["preconditionProvided"]:
            bucket.reload()
        try:
            self.module.run_test_case(
                scenario, method, case, function, HOST, bucket, blob, notification, None,
                (self.file, self.data),
            )  # fmt: skip
        finally:
            if "writer" in function.__name__:
                gc.collect()  # one that failed uploads again when it is collected: not later


@pytest.fixture(scope="module")
def suite(cloud: LocalCloud, http: Http) -> Iterator[Suite]:
    folder = distribution()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTPS_PROXY", "https_proxy"):
            patch.setenv(name, cloud.proxy)
        # Not the whole bundle: each of their clients reads it anew, and for long.
        patch.setenv("REQUESTS_CA_BUNDLE", str(cloud.folder / "local-ca.pem"))
        patch.setattr(time, "sleep", lambda seconds: None)  # their client's back-off
        yield Suite(cloud, http, folder)


@pytest.mark.parametrize("scenario", range(1, 9))
def test_google_s_client_retries_as_its_conformance_tests_demand(
    suite: Suite, scenario: int, no_faults: None
) -> None:
    spec, ran, failed = suite.scenarios[scenario], 0, []
    for case in spec["cases"]:
        for method in spec["methods"]:
            for function in suite.module.method_mapping.get(
                method.get("group", method["name"]), ()
            ):
                if any(re.fullmatch(pattern, function.__name__) for pattern in UNSERVED):
                    continue
                ran += 1
                try:
                    suite.run(scenario, method, case, function)
                except Exception as error:
                    what = f"{method['name']} {function.__name__} {case['instructions']}"
                    failed.append(f"{what}: {error!r}"[:300])
    assert not failed, "\n".join(failed)
    assert ran, spec["description"]


def test_no_scenario_of_theirs_is_left_out(suite: Suite) -> None:
    assert set(suite.scenarios) == set(range(1, 9))
