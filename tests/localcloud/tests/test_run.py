"""Functions as they are deployed, started, called, limited, killed and taken away."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import platform
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.calls import caller
from tests.localcloud.core.processes import tree
from tests.localcloud.services.functions import build

REGION = "us-central1"
MAIN = """
import json, os, subprocess, sys, time, urllib.request
import functions_framework

print("loaded")


@functions_framework.http
def handle(request):
    order = request.get_json(silent=True) or {}
    if "sleep" in order:
        time.sleep(order["sleep"])
    if "allocate" in order:
        half, file = order["allocate"] // 2, os.memfd_create("half")
        for _ in range(half >> 20):
            os.write(file, bytes(1 << 20))
        program = f"import time; kept = b'x' * {half}; time.sleep(2)"
        subprocess.run([sys.executable, "-c", program])
    if "get" in order:
        url = f"http://{os.environ['GCE_METADATA_HOST']}/computeMetadata/v1/instance/service-accounts/default/token"
        asked = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
        token = json.load(urllib.request.urlopen(asked))["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return urllib.request.urlopen(urllib.request.Request(order["get"], headers=headers)).read()
    if order.get("die"):
        os._exit(1)
    if "log" in order:
        print(order["log"], flush=True)
    if "metadata" in order:
        url = f"http://{os.environ['GCE_METADATA_HOST']}/computeMetadata/v1/{order['metadata']}"
        asked = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
        return urllib.request.urlopen(asked).read().decode()
    return {"pid": os.getpid(), "parent": os.getppid(), "environment": dict(os.environ),
            "headers": dict(request.headers), "path": request.full_path, "cwd": os.getcwd(),
            "order": order}
"""
Send = Callable[..., requests.Response]


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, text in files.items():
            made.writestr(name.replace("_py", ".py").replace("_txt", ".txt"), text)
    return buffer.getvalue()


class Project:
    """Accounts, a repository and a bucket with sources; deploys functions and calls them."""

    def __init__(self, cloud: LocalCloud, http: Send, prefix: str = "") -> None:
        self.cloud, self.http, self.prefix = cloud, http, prefix
        self.parent = f"projects/{cloud.project}/locations/{REGION}"
        self.bucket = f"{cloud.project}-{prefix}sources"
        for name in ("runner", "builder", "caller"):
            self.json("POST", f"iam.googleapis.com/v1/projects/{cloud.project}/serviceAccounts",
                      json={"accountId": prefix + name, "serviceAccount": {}})  # fmt: skip
        self.json("POST", f"artifactregistry.googleapis.com/v1/{self.parent}/repositories"
                  f"?repository_id={prefix}images", json={"format": "DOCKER"})  # fmt: skip
        self.json("POST", f"storage.googleapis.com/storage/v1/b?project={cloud.project}",
                  json={"name": self.bucket})  # fmt: skip
        self.upload("good.zip", archive(main_py=MAIN))
        for role in ("roles/logging.logWriter", "roles/artifactregistry.writer",
                     "roles/storage.objectViewer"):  # fmt: skip
            self.bind(f"projects/{cloud.project}", role, "builder", True)

    def json(self, verb: str, address: str, **more: Any) -> Any:
        answer = self.http(verb, f"https://{address}", **more)
        assert answer.ok, answer.text
        return answer.json()

    def account(self, name: str) -> str:
        return f"{self.prefix}{name}@{self.cloud.project}.iam.gserviceaccount.com"

    def upload(self, name: str, content: bytes) -> None:
        self.json("POST", f"storage.googleapis.com/upload/storage/v1/b/{self.bucket}/o"
                  f"?uploadType=media&name={name}", data=content)  # fmt: skip

    def bind(self, resource: str, role: str, name: str, present: bool) -> None:
        member = (
            name if ":" in name or name == "allUsers" else f"serviceAccount:{self.account(name)}"
        )
        self.cloud.post(
            "/bindings",
            {"resource": resource, "role": role, "member": member, "present": present},
        )

    def body(self, source: str = "good.zip", **service: Any) -> dict[str, Any]:
        project = self.cloud.project
        return {
            "buildConfig": {
                "runtime": "python313",
                "entryPoint": "handle",
                "source": {"storageSource": {"bucket": self.bucket, "object": source}},
                "serviceAccount": f"projects/{project}/serviceAccounts/{self.account('builder')}",
                "dockerRepository": f"{self.parent}/repositories/{self.prefix}images",
                "automaticUpdatePolicy": {},
            },
            "serviceConfig": {
                "serviceAccountEmail": self.account("runner"),
                "availableMemory": "512Mi",
                "availableCpu": "1",
                "maxInstanceCount": 1,
            }
            | service,
            "labels": {"goog-terraform-provisioned": "true"},
        }

    def operate(self, verb: str, address: str, **more: Any) -> dict[str, Any]:
        """Sends a change and waits for its operation, as clients do."""
        operation = self.json(verb, f"cloudfunctions.googleapis.com/v2/{address}", **more)
        while not operation["done"]:
            operation = self.json("GET", f"cloudfunctions.googleapis.com/v2/{operation['name']}")
        return dict(operation)

    def deploy(
        self, name: str, body: dict[str, Any] | None = None, **service: Any
    ) -> dict[str, Any]:
        operation = self.operate("POST", f"{self.parent}/functions?functionId={name}",
                                 json=body or self.body(**service))  # fmt: skip
        assert "error" not in operation, operation
        function = operation["response"]
        self.bind(function["serviceConfig"]["service"], "roles/run.invoker", "caller", True)
        return dict(function)

    def delete(self, name: str) -> None:
        self.operate("DELETE", f"{self.parent}/functions/{name}")

    def oidc(self, uri: str, name: str = "caller", **more: Any) -> str:
        body = {"email": self.account(name), "audience": uri} | more
        return str(self.cloud.post("/oidc", body)["token"])

    def call(self, function: dict[str, Any], order: Any = None, token: str | None = None,
             path: str = "/") -> requests.Response:  # fmt: skip
        uri = function["serviceConfig"]["uri"]
        headers = {"Authorization": f"Bearer {token or self.oidc(uri)}"}
        return self.http("POST", uri + path, member=None, json=order or {}, headers=headers)


@pytest.fixture(scope="session")
def project(cloud: LocalCloud, http: Send) -> Project:
    return Project(cloud, http)


@pytest.fixture(scope="module")
def echo(project: Project) -> Iterator[dict[str, Any]]:
    yield project.deploy("echo", maxInstanceRequestConcurrency=4)
    project.delete("echo")


def test_deployed_function_answers_as_google_describes_it(
    project: Project, echo: dict[str, Any], cloud: LocalCloud
) -> None:
    service = f"{project.parent}/services/echo"
    assert echo["state"] == "ACTIVE"
    assert echo["environment"] == "GEN_2"
    assert echo["serviceConfig"]["service"] == service
    assert echo["serviceConfig"]["uri"].startswith("https://echo-")
    assert echo["serviceConfig"]["uri"].endswith("-uc.a.run.app")
    assert echo["url"] == f"https://{REGION}-{cloud.project}.cloudfunctions.net/echo"
    assert "/builds/" in echo["buildConfig"]["build"]
    assert {service, f"{project.parent}/functions/echo"} <= set(cloud.get("/snapshot"))
    answer = project.json(
        "GET", f"cloudfunctions.googleapis.com/v2/{project.parent}/functions/echo"
    )
    assert answer["serviceConfig"]["availableMemory"] == "512Mi"
    listed = project.json("GET", f"cloudfunctions.googleapis.com/v2/{project.parent}/functions")
    assert "echo" in [f["name"].rpartition("/")[2] for f in listed["functions"]]


def test_instance_sees_googles_environment_and_nothing_of_this_machine(
    project: Project, echo: dict[str, Any]
) -> None:
    seen = project.call(echo, path="/a%20b?c=d").json()
    environment = seen["environment"]
    assert environment["K_SERVICE"] == environment["K_CONFIGURATION"] == "echo"
    assert environment["K_REVISION"] == echo["serviceConfig"]["revision"]
    assert environment["FUNCTION_TARGET"] == "handle"
    assert environment["THREADS"] == "4"
    assert environment["CLOUD_RUN_TIMEOUT_SECONDS"] == "60"
    assert environment["HOME"] != os.environ["HOME"]
    assert {"GOOGLE_CLOUD_PROJECT", "VIRTUAL_ENV", "PYTEST_CURRENT_TEST"}.isdisjoint(environment)
    assert seen["path"] == "/a b?c=d"
    assert seen["headers"]["Authorization"].endswith(".SIGNATURE_REMOVED_BY_GOOGLE")
    assert seen["headers"]["Host"] == echo["serviceConfig"]["uri"].removeprefix("https://")


def test_server_metadata_and_instances_listen_on_loopback_alone(
    echo: dict[str, Any], cloud: LocalCloud
) -> None:
    own = set()
    for pid in tree(cloud.pid):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                own.add(str(file.readlink()))
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    listening = {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own}
    assert f"0100007F:{cloud.port:04X}" in listening
    assert len(listening) > 1
    assert {address.partition(":")[0] for address in listening} == {"0100007F"}


def test_metadata_server_speaks_for_the_functions_account_alone(
    project: Project, echo: dict[str, Any], http: Send, cloud: LocalCloud
) -> None:
    def ask(path: str) -> str:
        return project.call(echo, {"metadata": path}).text

    assert ask("instance/service-accounts/default/email") == project.account("runner")
    assert ask("project/project-id") == cloud.project
    facts = json.loads(ask("instance/service-accounts/default/?recursive=true"))
    assert facts["email"] == project.account("runner")
    token = json.loads(ask("instance/service-accounts/default/token"))
    url = f"https://storage.googleapis.com/storage/v1/b/{project.bucket}"
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    denied = http("GET", url, member=None, headers=headers)
    assert denied.status_code == 403
    assert project.account("runner") in denied.text
    uri = echo["serviceConfig"]["uri"]
    own = ask(f"instance/service-accounts/default/identity?audience={uri}&format=full")
    assert project.call(echo, token=own).status_code == 403  # known, but no invoker


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("none", 403),
        ("other account", 403),
        ("wrong audience", 401),
        ("expired", 401),
        ("forged", 401),
        ("access token", 401),
        ("right", 200),
    ],
)
def test_callers_are_refused_unless_token_and_binding_are_right(
    case: str, status: int, project: Project, echo: dict[str, Any], http: Send, cloud: LocalCloud
) -> None:
    uri = echo["serviceConfig"]["uri"]
    token = {
        "none": lambda: "",
        "other account": lambda: project.oidc(uri, "builder"),
        "wrong audience": lambda: project.oidc("https://elsewhere.example"),
        "expired": lambda: project.oidc(uri, seconds=-60),
        "forged": lambda: project.oidc(uri).rpartition(".")[0] + ".AAAA",
        "access token": lambda: cloud.token(f"serviceAccount:{project.account('caller')}"),
        "right": lambda: project.oidc(uri),
    }[case]()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = http("POST", uri, member=None, headers=headers, json={})
    assert answer.status_code == status
    logged = cloud.journal("run.request")[-1]
    assert logged["status"] == status
    assert ("refused" in logged) == (status != 200)


def test_internal_ingress_hides_the_function_from_outside(project: Project, http: Send) -> None:
    function = project.deploy("hidden", ingressSettings="ALLOW_INTERNAL_ONLY")
    assert project.call(function).status_code == 404
    project.delete("hidden")


def test_policy_of_the_service_is_set_at_its_own_address(
    project: Project, echo: dict[str, Any]
) -> None:
    address = f"{REGION}-run.googleapis.com/v1/{project.parent}/services/echo"
    policy = project.json("GET", f"{address}:getIamPolicy")
    assert policy["bindings"][0]["role"] == "roles/run.invoker"
    again = project.json("POST", f"{address}:setIamPolicy", json={"policy": policy})
    assert again["bindings"] == policy["bindings"]


def test_output_is_logged_with_its_severity(
    project: Project, echo: dict[str, Any], cloud: LocalCloud
) -> None:
    line = {"severity": "WARNING", "message": "look", "logging.googleapis.com/trace": "t"}
    project.call(echo, {"log": json.dumps(line)})
    project.call(echo, {"log": "plain words"})
    logs = [line for line in cloud.journal("log") if line.get("service") == "echo"]
    structured = next(log for log in logs if "look" in str(log["payload"]))
    assert structured["severity"] == "WARNING"
    assert structured["payload"]["logging.googleapis.com/trace"] == "t"
    assert any("plain words" in str(log["payload"]) for log in logs)


def test_crash_answers_503_and_the_next_request_finds_a_new_worker(
    project: Project, echo: dict[str, Any]
) -> None:
    before = project.call(echo).json()["pid"]
    assert project.call(echo, {"die": True}).status_code == 503
    after = project.call(echo)
    assert after.status_code == 200
    assert after.json()["pid"] != before


def test_killed_instance_answers_503_and_is_replaced(
    project: Project, echo: dict[str, Any], cloud: LocalCloud
) -> None:
    project.call(echo)
    cloud.post("/run/kill", {"service": "echo", "at": "mid-request", "delay": 0.1})
    started = time.monotonic()
    assert project.call(echo, {"sleep": 5}).status_code == 503
    assert time.monotonic() - started < 2
    assert project.call(echo).status_code == 200
    cloud.post("/run/kill", {"service": "echo", "after_requests": 1})
    calls = [project.call(echo, {"sleep": seconds}) for seconds in (0, 5, 0)]
    assert [call.status_code for call in calls] == [200, 503, 200]


def test_instance_is_killed_right_after_the_call_that_is_named(
    project: Project, echo: dict[str, Any], cloud: LocalCloud
) -> None:
    bucket = f"https://storage.googleapis.com/storage/v1/b/{project.bucket}"
    project.bind(f"projects/{cloud.project}", "roles/storage.admin", "runner", True)
    member = f"serviceAccount:{project.account('runner')}"
    rule = {"method": "storage.buckets.get", "member": member, "kill": "after", "times": 1}
    cloud.post("/faults", {"rules": [rule]})
    assert project.http("GET", bucket).ok  # not the function's own call: nothing happens
    assert project.call(echo).status_code == 200
    assert project.call(echo, {"get": bucket}).status_code == 503
    assert project.call(echo, {"get": bucket}).json()["name"] == project.bucket
    project.bind(f"projects/{cloud.project}", "roles/storage.admin", "runner", False)
    cloud.delete("/faults")


def test_service_that_is_down_answers_503_until_it_is_up(
    project: Project, echo: dict[str, Any], cloud: LocalCloud
) -> None:
    cloud.post("/run/down", {"service": "echo", "seconds": 3600})
    assert project.call(echo).status_code == 503
    cloud.advance(3601)
    assert project.call(echo).status_code == 200


def test_timeout_answers_504_and_leaves_the_worker_running(
    project: Project, cloud: LocalCloud
) -> None:
    function = project.deploy("slow", timeoutSeconds=1)
    pid = project.call(function).json()["pid"]
    started = time.monotonic()
    assert project.call(function, {"sleep": 30}).status_code == 504
    assert time.monotonic() - started < 30
    assert Path(f"/proc/{pid}").exists()
    project.delete("slow")


def test_full_fleet_answers_429_and_grows_up_to_its_maximum(
    project: Project, cloud: LocalCloud
) -> None:
    function = project.deploy("small", maxInstanceCount=2)
    cloud.post("/run/pending", {"seconds": 0.3})
    try:
        with ThreadPoolExecutor(4) as pool:
            orders = [{"sleep": 2.5}] * 4
            answers = [a.status_code for a in pool.map(lambda o: project.call(function, o), orders)]
    finally:
        cloud.post("/run/pending", {"seconds": 10})
    assert sorted(answers) == [200, 200, 429, 429]
    instances = cloud.post("/run/instances", {"service": "small"})
    assert len(instances) == 2
    assert all(i["memory"] > 10 << 20 for i in instances)
    cloud.advance(3600)  # idle ones end, the last one stays
    deadline = time.monotonic() + 10
    while len(cloud.post("/run/instances", {"service": "small"})) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    project.delete("small")


def test_instance_over_its_memory_is_killed(project: Project, cloud: LocalCloud) -> None:
    """With a file in memory and a process that a thread started, each of which fits."""
    function = project.deploy("greedy", availableMemory="128Mi", availableCpu="0.083")
    assert project.call(function, {"allocate": 100 << 20}).status_code == 503
    logs = [log for log in cloud.journal("log") if log.get("service") == "greedy"]
    assert any("Memory limit of 128 MiB exceeded" in str(log["payload"]) for log in logs)
    assert project.call(function).status_code == 200
    project.delete("greedy")


def test_update_replaces_the_revision_and_keeps_what_is_not_in_the_mask(
    project: Project, cloud: LocalCloud
) -> None:
    first = project.deploy("changing")
    body = project.body(environmentVariables={"COLOUR": "blue"})
    address = f"{project.parent}/functions/changing?updateMask=serviceConfig"
    second = project.operate("PATCH", address, json=body)["response"]
    assert second["serviceConfig"]["revision"] != first["serviceConfig"]["revision"]
    assert second["serviceConfig"]["uri"] == first["serviceConfig"]["uri"]
    assert second["buildConfig"]["build"] == first["buildConfig"]["build"]
    assert project.call(second).json()["environment"]["COLOUR"] == "blue"
    project.delete("changing")
    gone = project.http("GET", f"https://cloudfunctions.googleapis.com/v2/{project.parent}"
                        "/functions/changing")  # fmt: skip
    assert gone.status_code == 404
    assert project.call(second).status_code == 404
    assert not cloud.post("/run/instances", {"service": "changing"})
    assert not [b for b in cloud.get("/bindings") if b[0].endswith("/changing")]


def test_stub_answers_instead_of_instances(
    project: Project, echo: dict[str, Any], cloud: LocalCloud
) -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cloud.post("/run/stub", {"service": "echo", "port": server.server_port})
        assert project.call(echo).status_code == 204
        cloud.post("/run/stub", {"service": "echo", "port": None})
        assert project.call(echo).status_code == 200
        server.shutdown()


@pytest.mark.parametrize(
    ("role", "permission"),
    [
        ("roles/logging.logWriter", "logging.logEntries.create"),
        ("roles/artifactregistry.writer", "artifactregistry.repositories.uploadArtifacts"),
        ("roles/storage.objectViewer", "storage.objects.get"),
    ],
)
def test_build_fails_without_each_permission_of_the_build_account(
    role: str, permission: str, project: Project, cloud: LocalCloud
) -> None:
    on = f"projects/{cloud.project}"
    project.bind(on, role, "builder", False)
    try:
        operation = project.operate("POST", f"{project.parent}/functions?functionId=unbuilt",
                                    json=project.body())  # fmt: skip
    finally:
        project.bind(on, role, "builder", True)
    assert "missing permission on the build service account" in operation["error"]["message"]
    assert permission in operation["error"]["message"]
    state = project.json(
        "GET", f"cloudfunctions.googleapis.com/v2/{project.parent}/functions/unbuilt"
    )
    assert state["state"] == "FAILED"
    project.delete("unbuilt")


def test_a_deployed_function_names_google_s_copy_of_its_source(project: Project) -> None:
    address = f"cloudfunctions.googleapis.com/v2/{project.parent}/functions/copied"
    made = project.operate("POST", f"{project.parent}/functions?functionId=copied",
                           json=project.body())  # fmt: skip
    config = project.json("GET", address)["buildConfig"]
    held = config["source"]["storageSource"]
    assert made["response"]["buildConfig"]["source"]["storageSource"] == held
    bucket = project.json("GET", f"storage.googleapis.com/storage/v1/b/{project.bucket}")
    assert held["bucket"] == f"gcf-v2-sources-{bucket['projectNumber']}-{REGION}"
    assert held["object"] == "copied/function-source.zip"
    assert config["sourceProvenance"]["resolvedStorageSource"] == held

    def again(**source: Any) -> Any:
        body = {"buildConfig": config | {"source": {"storageSource": source}}}
        return project.operate("PATCH", f"{project.parent}/functions/copied?updateMask=buildConfig",
                               json=body)  # fmt: skip

    # As a client that read it sends it back: the same source is built again.
    assert "error" not in again(**held)
    # The generation is the copy's. No object of the caller's own has it.
    told = again(bucket=project.bucket, object="good.zip", generation=held["generation"])
    assert "Failed to read the source" in told["error"]["message"]
    assert "error" not in again(bucket=project.bucket, object="good.zip")
    project.delete("copied")


@pytest.mark.parametrize("account", ["runner", "builder"])
def test_deployer_must_act_as_both_accounts(
    account: str, project: Project, cloud: LocalCloud, http: Send
) -> None:
    member = "user:deployer@example.com"
    other = {"runner": "builder", "builder": "runner"}[account]
    bindings = [
        (f"projects/{cloud.project}", "roles/cloudfunctions.developer"),
        (f"projects/{cloud.project}/serviceAccounts/{project.account(other)}",
         "roles/iam.serviceAccountUser"),
    ]  # fmt: skip
    for resource, role in bindings:
        project.bind(resource, role, member, True)
    answer = http("POST", f"https://cloudfunctions.googleapis.com/v2/{project.parent}/functions"
                  "?functionId=denied", member=member, json=project.body())  # fmt: skip
    for resource, role in bindings:
        project.bind(resource, role, member, False)
    assert answer.status_code == 403
    assert "iam.serviceAccounts.actAs" in answer.text
    assert project.account(account) in answer.text


def test_a_function_takes_no_other_key_than_its_repository_s(project: Project, http: Send) -> None:
    key = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"
    url = f"https://cloudfunctions.googleapis.com/v2/{project.parent}/functions?functionId=keyed"
    answer = http("POST", url, json=project.body() | {"kmsKeyName": key})
    assert answer.status_code == 400
    assert f"must be encrypted with {key}, too" in answer.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"availableCpu": "0.5", "maxInstanceRequestConcurrency": 2}, "cpu < 1"),
        ({"availableMemory": "8Gi", "availableCpu": "1"}, "needs at least 2 CPU"),
        ({"availableMemory": "64Mi"}, "availableMemory"),
        ({"availableCpu": "3"}, "availableCpu"),
        ({"timeoutSeconds": 3601}, "timeoutSeconds"),
        ({"minInstanceCount": 2}, "minInstanceCount"),
        ({"environmentVariables": {"K_SERVICE": "x"}}, "K_SERVICE"),
        ({"timeoutSecond": 1}, "Unknown name"),
    ],
)
def test_settings_that_google_refuses_are_refused(
    change: dict[str, Any], message: str, project: Project, http: Send
) -> None:
    answer = http("POST", f"https://cloudfunctions.googleapis.com/v2/{project.parent}/functions"
                  "?functionId=refused", json=project.body(**change))  # fmt: skip
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["abc", "Upper", "a" * 50, "ends-"])
def test_names_that_google_refuses_are_refused(name: str, project: Project, http: Send) -> None:
    answer = http("POST", f"https://cloudfunctions.googleapis.com/v2/{project.parent}/functions"
                  f"?functionId={name}", json=project.body())  # fmt: skip
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"main_py": "import nothing_of_that_name"}, "nothing_of_that_name"),
        ({"main_py": "x = 1"}, "handle"),
        ({"other_py": MAIN}, "missing main.py"),
        ({"main_py": MAIN, "requirements_txt": "no-such-thing-at-all==9.9\n"}, "no-such-thing"),
    ],
)
def test_source_that_cannot_run_fails_the_deployment(
    files: dict[str, str], message: str, project: Project
) -> None:
    project.upload("bad.zip", archive(**files))
    operation = project.operate("POST", f"{project.parent}/functions?functionId=broken",
                                json=project.body("bad.zip"))  # fmt: skip
    assert message in operation["error"]["message"]
    project.delete("broken")


async def _fake_pip(*command: str) -> None:
    """Takes a while, and makes what venv would."""
    if "venv" in command:
        _made.append(command[-1])
        (Path(command[-1]) / "bin").mkdir()
        (Path(command[-1]) / "bin" / "python").touch()
    await asyncio.sleep(0.05)
    if "broken" in command[-1]:
        raise build.BuildError("pip says no")


_made: list[str] = []


def test_two_builds_of_one_environment_make_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_run", _fake_pip)
    _made.clear()
    (tmp_path / "requirements.txt").write_text("some==1\n")

    def one(_: int) -> build.Environment:
        made = build.environment(tmp_path / "cache", tmp_path, "python311", lambda text: None)
        return asyncio.run(made)

    with ThreadPoolExecutor(3) as pool:  # three loops: what three processes would do
        environments = list(pool.map(one, range(3)))
    assert len(_made) == 1
    assert len(set(environments)) == 1
    assert environments[0].python.exists()


def test_failed_build_leaves_nothing_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_run", _fake_pip)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "requirements.txt").write_text("some==1\n")
    _made.clear()
    for attempt in (1, 2):
        with pytest.raises(build.BuildError, match="pip says no"):
            asyncio.run(build.environment(tmp_path, broken, "python311", print))
        assert len(_made) == attempt
        assert not [p for p in (tmp_path / "functions").iterdir() if p.is_dir()]


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            "WARNING: Retrying: NewConnectionError('x')\nERROR: no version",
            "index cannot be reached",
        ),
        ("OSError: [Errno 28] No space left on device", "no space left"),
        (
            "Collecting a\nERROR: No matching distribution found for a==9",
            "No matching distribution",
        ),
    ],
)
def test_failed_build_says_why_in_one_line(output: str, line: str) -> None:
    reason = build._reason(output)
    assert line in reason
    assert "\n" not in reason


def test_runtime_without_interpreter_runs_under_our_own() -> None:
    executable, version = build.interpreter("python399")
    assert executable == sys.executable
    assert version == platform.python_version()


def test_nothing_outlives_a_killed_server(project: Project, http: Send) -> None:
    with LocalCloud.start() as doomed:
        own = Project(doomed, caller(doomed))
        seen = own.call(own.deploy("orphan")).json()
        os.kill(doomed.pid, signal.SIGKILL)
        deadline = time.monotonic() + 3
        while any(Path(f"/proc/{pid}").exists() for pid in (seen["pid"], seen["parent"])):
            assert time.monotonic() < deadline, "an instance outlived its server"
            time.sleep(0.02)
