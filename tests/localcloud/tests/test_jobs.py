"""Cloud Build's images and Cloud Run's jobs: built, run, timed, tried again, cancelled."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.localcloud.client import OWNER, LocalCloud
from tests.localcloud.services.builds import dockerfile

Http = Callable[..., requests.Response]
REGION = "us-central1"
RUN, BUILD = "https://run.googleapis.com/v2/", "https://cloudbuild.googleapis.com/v1/"
REGISTRY = "https://artifactregistry.googleapis.com/v1/"
DOCKERFILE = """\
FROM python:3.13-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
USER 65534
ENV FROM_IMAGE=1 \\
    OTHER=2
ENTRYPOINT ["python", "main.py"]
CMD ["report"]
"""
MAIN = """
import json, os, signal, sys, time, urllib.request

order = sys.argv[1]
attempt = int(os.environ["CLOUD_RUN_TASK_ATTEMPT"])
if order == "report":
    print(json.dumps({"severity": "NOTICE", "message": "ran", "cwd": os.path.basename(os.getcwd()),
                      "environment": dict(os.environ)}))
elif order == "fail":
    sys.exit(3 if attempt < int(sys.argv[2]) else 0)
elif order == "wait":
    signal.signal(signal.SIGTERM, lambda *_: (print("told to end", flush=True), sys.exit(5)))
    print("waiting", flush=True)
    time.sleep(60)
elif order == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
elif order == "allocate":
    kept = b"x" * (600 << 20)
    time.sleep(60)
elif order == "account":
    url = f"http://{os.environ['GCE_METADATA_HOST']}/computeMetadata/v1/instance/service-accounts/default/email"
    asked = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    print(urllib.request.urlopen(asked).read().decode(), flush=True)
"""


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, text in files.items():
            made.writestr(name.replace("_", "."), text)
    return buffer.getvalue()


class Yard:
    """A repository, accounts, and an image that does what its argument says."""

    def __init__(self, cloud: LocalCloud, http: Http) -> None:
        self.cloud, self.http = cloud, http
        self.place = f"projects/{cloud.project}/locations/{REGION}"
        self.repository = f"{self.place}/repositories/yard-images"
        self.bucket = f"{cloud.project}-yard"
        for name in ("yard-worker", "yard-builder"):
            self.ask("POST", f"https://iam.googleapis.com/v1/projects/{cloud.project}/serviceAccounts",
                     json={"accountId": name, "serviceAccount": {}})  # fmt: skip
        self.ask("POST", f"{REGISTRY}{self.place}/repositories?repositoryId=yard-images",
                 json={"format": "DOCKER", "dockerConfig": {"immutableTags": True}})  # fmt: skip
        self.ask("POST", f"https://storage.googleapis.com/storage/v1/b?project={cloud.project}",
                 json={"name": self.bucket})  # fmt: skip
        self.needs = (
            (f"projects/_/buckets/{self.bucket}", "roles/storage.objectViewer"),
            (f"projects/{cloud.project}", "roles/logging.logWriter"),
            (self.repository, "roles/artifactregistry.writer"),
        )
        for resource, role in self.needs:
            self.bind(resource, role, self.account("yard-builder"))

    def account(self, name: str) -> str:
        return f"serviceAccount:{name}@{self.cloud.project}.iam.gserviceaccount.com"

    def ask(self, verb: str, url: str, **more: Any) -> dict[str, Any]:
        answer = self.http(verb, url, **more)
        assert answer.ok, answer.text
        return dict(answer.json())

    def bind(self, resource: str, role: str, member: str, present: bool = True) -> None:
        row = {"resource": resource, "role": role, "member": member, "present": present}
        self.cloud.post("/bindings", row)

    def address(self, tag: str) -> str:
        return f"{REGION}-docker.pkg.dev/{self.cloud.project}/yard-images/worker:{tag}"

    def order(self, tag: str, data: bytes, member: str = OWNER, **more: Any) -> requests.Response:
        self.ask("POST", f"https://storage.googleapis.com/upload/storage/v1/b/{self.bucket}/o"
                 f"?uploadType=media&name={tag}.zip", data=data)  # fmt: skip
        email = self.account("yard-builder").partition(":")[2]
        body = {
            "source": {"storageSource": {"bucket": self.bucket, "object": f"{tag}.zip"}},
            "steps": [{"name": "gcr.io/cloud-builders/docker",
                       "args": ["build", "--tag", self.address(tag), "."]}],
            "images": [self.address(tag)],
            "serviceAccount": f"projects/{self.cloud.project}/serviceAccounts/{email}",
            "options": {"logging": "CLOUD_LOGGING_ONLY"},
        } | more  # fmt: skip
        return self.http("POST", f"{BUILD}{self.place}/builds", member=member, json=body)

    def build(self, tag: str, source: bytes, **more: Any) -> dict[str, Any]:
        ordered = self.order(tag, source, **more)
        assert ordered.ok, ordered.text
        made = ordered.json()["metadata"]["build"]
        deadline = time.monotonic() + 120
        while made["status"] in ("QUEUED", "WORKING") and time.monotonic() < deadline:
            time.sleep(0.05)
            made = self.ask("GET", f"{BUILD}{made['name']}")
        return dict(made)

    # Jobs

    def body(self, *args: str, image: str = "good", **task: Any) -> dict[str, Any]:
        outer = {k: task.pop(k) for k in ("taskCount", "parallelism") if k in task}
        container = {"image": self.address(image)} | ({"args": [*args]} if args else {})
        container |= {k: task.pop(k) for k in ("env", "resources", "command") if k in task}
        email = self.account("yard-worker").partition(":")[2]
        inner = {"containers": [container], "serviceAccount": email, "maxRetries": 0} | task
        return {"template": outer | {"template": inner}}

    def create(self, name: str, *args: str, member: str = OWNER, **task: Any) -> requests.Response:
        url = f"{RUN}{self.place}/jobs?jobId={name}"
        return self.http("POST", url, member=member, json=self.body(*args, **task))

    def run(self, name: str, **body: Any) -> dict[str, Any]:
        """The execution as it is at its start."""
        operation = self.ask("POST", f"{RUN}{self.place}/jobs/{name}:run", json=body)
        return dict(operation["metadata"])

    def ended(self, execution: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while "completionTime" not in execution and time.monotonic() < deadline:
            time.sleep(0.03)
            execution = self.ask("GET", f"{RUN}{execution['name']}")
        assert "completionTime" in execution, execution
        return execution

    def job(self, name: str, *args: str, **task: Any) -> dict[str, Any]:
        """Makes a job, runs it once, and waits for the end."""
        assert self.create(name, *args, **task).ok
        return self.ended(self.run(name))

    def lines(self, execution: dict[str, Any]) -> list[dict[str, Any]]:
        short = execution["name"].rpartition("/")[2]
        return [line for line in self.cloud.journal("log") if line.get("execution") == short]

    def until(self, execution: dict[str, Any], said: str) -> None:
        deadline = time.monotonic() + 30
        while said not in [line["payload"] for line in self.lines(execution)]:
            assert time.monotonic() < deadline
            time.sleep(0.03)


@pytest.fixture(scope="module")
def yard(cloud: LocalCloud, http: Http) -> Yard:
    made = Yard(cloud, http)
    source = zipped(Dockerfile=DOCKERFILE, requirements_txt="", main_py=MAIN)
    assert made.build("good", source)["status"] == "SUCCESS"
    return made


@pytest.fixture
def name(yard: Yard, fresh: str) -> Iterator[str]:
    yield fresh
    yard.http("DELETE", f"{RUN}{yard.place}/jobs/{fresh}")


def state(execution: dict[str, Any]) -> str:
    return str(execution["conditions"][0]["state"]).removeprefix("CONDITION_")


# ---- Cloud Build --------------------------------------------------------------------------------


def test_a_build_leaves_its_image_under_its_tag(yard: Yard) -> None:
    tag = f"{REGISTRY}{yard.repository}/packages/worker/tags/good"
    found = yard.ask("GET", tag)
    assert "/packages/worker/versions/sha256:" in found["version"]
    assert yard.http("GET", tag + "x").status_code == 404


def test_an_immutable_tag_never_moves(yard: Yard) -> None:
    other = zipped(Dockerfile=DOCKERFILE, requirements_txt="", main_py="# other")
    made = yard.build("good", other)
    assert made["status"] == "FAILURE"
    assert "immutable tags" in made["statusDetail"]
    same = zipped(Dockerfile=DOCKERFILE, requirements_txt="", main_py=MAIN)
    assert yard.build("good", same)["status"] == "SUCCESS"


def test_the_build_account_needs_each_of_its_permissions(yard: Yard) -> None:
    source = zipped(Dockerfile=DOCKERFILE, requirements_txt="", main_py=MAIN)
    for resource, role in yard.needs:
        yard.bind(resource, role, yard.account("yard-builder"), False)
        made = yard.build("needs", source)
        yard.bind(resource, role, yard.account("yard-builder"))
        assert made["status"] == "FAILURE", role
        assert "yard-builder" in made["statusDetail"]


def test_whoever_builds_needs_cloud_build_and_the_account(yard: Yard) -> None:
    member, project = "user:orders@example.com", yard.cloud.project
    source = zipped(Dockerfile=DOCKERFILE, requirements_txt="", main_py=MAIN)
    for resource, role in (
        (f"projects/{project}", "roles/cloudbuild.builds.builder"),
        (f"projects/{project}/serviceAccounts/{yard.account('yard-builder').partition(':')[2]}",
         "roles/iam.serviceAccountUser"),
    ):  # fmt: skip
        assert yard.order("orders", source, member).status_code == 403
        yard.bind(resource, role, member)
    assert yard.order("orders", source, member).status_code == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"options": {}}, 400),
        ({"steps": [{"name": "bash", "args": ["-c", "true"]}]}, 501),
        ({"images": []}, 501),
        ({"source": {"repoSource": {}}}, 501),
        ({"substitutions": {"_A": "b"}}, 501),
    ],
)
def test_other_builds_are_refused(yard: Yard, change: dict[str, Any], status: int) -> None:
    assert yard.order("other", b"", **change).status_code == status


@pytest.mark.parametrize(
    "line",
    ["RUN apt-get update", "RUN pip install requests", "FROM debian:13", "ADD x .", "ARG A",
     "COPY --from=other x .", "COPY ../x .", "CMD python main.py", "SHELL [\"bash\"]",
     "RUN pip install -r requirements.txt && true", "HEALTHCHECK NONE", "ENV A b"],
)  # fmt: skip
def test_what_a_dockerfile_may_not_say_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "requirements.txt").write_text("")
    (tmp_path / "Dockerfile").write_text(f"FROM python:3.13-slim\nCOPY . .\n{line}\n")
    with pytest.raises(dockerfile.Refused, match=r"not implemented|COPY failed"):
        dockerfile.build(tmp_path, tmp_path / "root")


# ---- jobs ---------------------------------------------------------------------------------------


def test_a_job_runs_its_image_with_google_s_environment(yard: Yard, name: str) -> None:
    env = [{"name": "OWN", "value": "x"}, {"name": "OTHER", "value": "3"}]
    execution = yard.job(name, env=env)
    assert (state(execution), execution["succeededCount"]) == ("SUCCEEDED", 1)
    (line,) = yard.lines(execution)
    assert (line["severity"], line["payload"]["message"]) == ("NOTICE", "ran")
    seen = line["payload"]["environment"]
    assert seen["CLOUD_RUN_JOB"] == name
    assert seen["CLOUD_RUN_EXECUTION"] == execution["name"].rpartition("/")[2]
    wanted = {"CLOUD_RUN_TASK_INDEX": "0", "CLOUD_RUN_TASK_COUNT": "1", "FROM_IMAGE": "1"}
    wanted |= {"CLOUD_RUN_TASK_ATTEMPT": "0", "OWN": "x", "OTHER": "3"}
    assert seen.items() >= wanted.items()
    assert not {"K_SERVICE", "GOOGLE_CLOUD_PROJECT", "PORT", "PYTEST_CURRENT_TEST"} & seen.keys()
    job = yard.ask("GET", f"{RUN}{yard.place}/jobs/{name}")
    assert (job["executionCount"], job["terminalCondition"]["state"]) == (1, "CONDITION_SUCCEEDED")
    assert job["latestCreatedExecution"]["completionStatus"] == "EXECUTION_SUCCEEDED"
    limits = job["template"]["template"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "1", "memory": "512Mi"}
    wanted = f'resource.type="cloud_run_job" AND resource.labels.job_name="{name}"'
    asks = {"resourceNames": [f"projects/{yard.cloud.project}"], "filter": wanted}
    entries = yard.ask("POST", "https://logging.googleapis.com/v2/entries:list", json=asks)
    (entry,) = entries["entries"]
    short = execution["name"].rpartition("/")[2]
    assert entry["labels"]["run.googleapis.com/execution_name"] == short


def test_a_job_speaks_for_its_account(yard: Yard, name: str) -> None:
    execution = yard.job(name, "account")
    (line,) = yard.lines(execution)
    assert f"serviceAccount:{line['payload']}" == yard.account("yard-worker")


def test_a_task_is_tried_again_as_often_as_its_job_says(yard: Yard, name: str) -> None:
    execution = yard.job(name, "fail", "2", maxRetries=2)
    assert (state(execution), execution["retriedCount"]) == ("SUCCEEDED", 1)
    (task,) = yard.ask("GET", f"{RUN}{execution['name']}/tasks")["tasks"]
    assert (task["retried"], task["lastAttemptResult"]) == (2, {"exitCode": 0})
    overrides = {"containerOverrides": [{"args": ["fail", "3"]}]}
    failed = yard.ended(yard.run(name, overrides=overrides))
    assert (state(failed), failed["failedCount"]) == ("FAILED", 1)
    assert failed["conditions"][0]["executionReason"] == "NON_ZERO_EXIT_CODE"
    (task,) = yard.ask("GET", f"{RUN}{failed['name']}/tasks")["tasks"]
    assert task["lastAttemptResult"]["exitCode"] == 3


def test_tasks_run_side_by_side_as_far_as_parallelism_goes(yard: Yard, name: str) -> None:
    execution = yard.job(name, taskCount=3, parallelism=2)
    seen = [line["payload"]["environment"] for line in yard.lines(execution)]
    assert sorted(one["CLOUD_RUN_TASK_INDEX"] for one in seen) == ["0", "1", "2"]
    assert execution["succeededCount"] == 3


def test_a_task_at_its_timeout_is_told_and_then_killed(yard: Yard, name: str) -> None:
    execution = yard.job(name, "wait", timeout="1s")
    assert state(execution) == "FAILED"
    said = [line["payload"] for line in yard.lines(execution)]
    assert said[0] == "waiting"
    assert "told to end" in said
    assert any("maximum timeout of 1s" in text for text in said)


def test_a_task_over_its_memory_is_killed(yard: Yard, name: str) -> None:
    execution = yard.job(name, "allocate")
    (task,) = yard.ask("GET", f"{RUN}{execution['name']}/tasks")["tasks"]
    assert task["lastAttemptResult"]["termSignal"] == 9
    assert "Memory limit of 512 MiB exceeded" in str(yard.lines(execution))


def test_a_cancelled_execution_ends_its_tasks(yard: Yard, name: str) -> None:
    assert yard.create(name, "wait", maxRetries=3).ok
    execution = yard.run(name)
    yard.until(execution, "waiting")
    yard.cloud.advance(3600)  # no advance waits for a job
    operation = yard.ask("POST", f"{RUN}{execution['name']}:cancel", json={})
    ended = yard.ended(execution)
    assert (ended["cancelledCount"], ended["conditions"][0]["executionReason"]) == (1, "CANCELLED")
    assert "told to end" in [line["payload"] for line in yard.lines(execution)]
    assert yard.ask("GET", f"{RUN}{operation['name']}")["done"]


def test_a_killed_task_is_tried_again(yard: Yard, name: str) -> None:
    assert yard.create(name, "wait", maxRetries=1).ok
    execution = yard.run(name)
    yard.until(execution, "waiting")
    (one,) = yard.cloud.post("/run/tasks", {"job": name})
    assert one["pid"]
    yard.cloud.post("/run/kill", {"job": name})
    deadline = time.monotonic() + 30
    while [line["payload"] for line in yard.lines(execution)].count("waiting") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.03)
    yard.ask("POST", f"{RUN}{execution['name']}:cancel", json={})
    assert yard.ended(execution)["retriedCount"] == 1


def test_running_and_overriding_need_their_permissions(yard: Yard, name: str) -> None:
    assert yard.create(name).ok
    job, member = f"{yard.place}/jobs/{name}", "user:runner@example.com"
    assert yard.http("POST", f"{RUN}{job}:run", member=member, json={}).status_code == 403
    policy = {"bindings": [{"role": "roles/run.jobsExecutor", "members": [member]}]}
    yard.ask("POST", f"{RUN}{job}:setIamPolicy", json={"policy": policy})
    answer = yard.http("POST", f"{RUN}{job}:run", member=member, json={})
    assert answer.status_code == 200
    yard.ended(answer.json()["metadata"])
    overrides = {"overrides": {"taskCount": 2}}
    refused = yard.http("POST", f"{RUN}{job}:run", member=member, json=overrides)
    assert "run.jobs.runWithOverrides" in refused.text
    name_of = answer.json()["metadata"]["name"]
    assert yard.http("GET", f"{RUN}{name_of}", member=member).status_code == 403


def test_whoever_deploys_a_job_acts_as_its_account_and_reads_its_image(
    yard: Yard, name: str
) -> None:
    member, project = "user:deployer@example.com", yard.cloud.project
    email = yard.account("yard-worker").partition(":")[2]
    for resource, role in (
        (f"projects/{project}", "roles/run.developer"),
        (f"projects/{project}/serviceAccounts/{email}", "roles/iam.serviceAccountUser"),
        (yard.repository, "roles/artifactregistry.reader"),
    ):
        assert yard.create(name, member=member).status_code == 403
        yard.bind(resource, role, member)
    assert yard.create(name, member=member).status_code == 200
    yard.bind(f"projects/{project}", "roles/run.developer", member, False)


@pytest.mark.parametrize(
    ("task", "status"),
    [
        ({"image": "missing"}, 404),
        ({"timeout": "0s"}, 400),
        ({"maxRetries": 11}, 400),
        ({"resources": {"limits": {"memory": "128Mi"}}}, 400),
        ({"resources": {"limits": {"cpu": "3"}}}, 400),
        ({"serviceAccount": ""}, 501),
        ({"vpcAccess": {"connector": "x"}}, 501),
    ],
)
def test_bad_jobs_are_refused(yard: Yard, name: str, task: dict[str, Any], status: int) -> None:
    assert yard.create(name, **task).status_code == status


def test_a_deleted_job_takes_its_executions_away(yard: Yard, name: str) -> None:
    execution = yard.job(name)
    listed = yard.ask("GET", f"{RUN}{yard.place}/jobs/{name}/executions")["executions"]
    assert [one["name"] for one in listed] == [execution["name"]]
    assert yard.ask("DELETE", f"{RUN}{yard.place}/jobs/{name}")["done"]
    assert yard.http("GET", f"{RUN}{execution['name']}").status_code == 404
    again = yard.http("POST", f"{RUN}{yard.place}/jobs/{name}:run", json={})
    assert again.status_code == 404


def test_the_api_of_gcloud_runs_a_job_and_tells_how_it_ends(yard: Yard, name: str) -> None:
    """The calls of gcloud 528: run, then the execution by its project's number until it is over."""
    yard.create(name, "fail", "1")
    host = f"https://{REGION}-run.googleapis.com/apis/run.googleapis.com/v1/"
    job = f"{host}namespaces/{yard.cloud.project}/jobs/{name}"
    run = yard.ask("POST", f"{job}:run", json={})
    assert run["metadata"]["labels"]["run.googleapis.com/job"] == name
    made = f"{host}namespaces/{run['metadata']['namespace']}/executions/{run['metadata']['name']}"
    while (told := conditions(yard.ask("GET", made)))["Completed"] == "Unknown":
        assert told["Started"] == "True"
        time.sleep(0.05)
    assert told["Completed"] == "False"
    asked = {"overrides": {"containerOverrides": [{"args": ["fail", "0"]}], "timeoutSeconds": 60}}
    run = yard.ask("POST", f"{job}:run", json=asked)
    made = f"{host}namespaces/{yard.cloud.project}/executions/{run['metadata']['name']}"
    while (told := conditions(yard.ask("GET", made)))["Completed"] == "Unknown":
        time.sleep(0.05)
    assert told["Completed"] == "True"
    listed = yard.ask("GET", f"{host}namespaces/{yard.cloud.project}/executions",
                      params={"labelSelector": f"run.googleapis.com/job = {name}"})  # fmt: skip
    assert listed["items"][0]["metadata"]["name"] == run["metadata"]["name"]
    assert yard.ask("GET", job)["status"]["executionCount"] == 2
    assert yard.http("POST", f"{job}:run", member="user:nobody@example.com").status_code == 403
    assert yard.http("GET", made, member="user:nobody@example.com").status_code == 403


def conditions(execution: dict[str, Any]) -> dict[str, str]:
    return {one["type"]: one["status"] for one in execution["status"]["conditions"]}


def test_gcloud_executes_a_job_and_waits_for_its_end(yard: Yard, name: str) -> None:
    if not shutil.which("gcloud"):
        pytest.skip("gcloud is not installed")

    def gcloud(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["gcloud", "run", "jobs", *words, f"--region={REGION}"]
        environ = os.environ | yard.cloud.environ(OWNER)
        return subprocess.run(command, env=environ, capture_output=True, text=True)

    yard.create(name, "fail", "0")
    done = gcloud("execute", name, "--wait")
    assert done.returncode == 0, done.stderr
    assert "has successfully completed" in done.stderr
    failed = gcloud("execute", name, "--wait", "--args=fail,1")
    assert failed.returncode == 1
    assert "The execution failed" in failed.stderr
    listed = gcloud("executions", "list", f"--job={name}", "--format=value(status.failedCount)")
    assert listed.stdout.split() == ["1"], listed.stderr
