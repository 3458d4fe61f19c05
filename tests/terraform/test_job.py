from __future__ import annotations

import pytest

from .conftest import MakeRoot
from .plans import Case, Root, case_id, unseen

JOB = "google_cloud_run_v2_job.this"
RESOURCES = {"cpu": 1, "max_retries": 3, "memory_mib": 1024, "timeout_seconds": 3600}
IMAGE = "us-central1-docker.pkg.dev/demo-project/files-images/worker:0123"


@pytest.fixture(scope="module")
def job(root: MakeRoot) -> Root:
    return root(
        "terraform/modules/job",
        account_email="worker@demo-project.iam.gserviceaccount.com",
        image=IMAGE,
        name="files-dev-worker",
        project_id="demo-project",
        region="us-central1",
        resources=RESOURCES,
    )


def test_one_task_of_a_job_runs_at_a_time_with_what_it_is_given(job: Root) -> None:
    plan = job.plan(arguments=["sweep"], environment_variables={"A": "1"})
    values = plan[JOB]
    (outer,) = values["template"]
    (inner,) = outer["template"]
    (container,) = inner["containers"]
    assert (outer["parallelism"], outer["task_count"]) == (1, 1)
    assert (inner["max_retries"], inner["timeout"]) == (3, "3600s")
    assert (container["image"], container["args"]) == (IMAGE, ["sweep"])
    assert container["resources"][0]["limits"] == {"cpu": "1", "memory": "1024Mi"}
    assert [(env["name"], env["value"]) for env in container["env"]] == [("A", "1")]
    assert plan.bindings() == set()


def test_a_destroy_can_be_refused(job: Root) -> None:
    assert job.plan()[JOB]["deletion_protection"] is False
    assert job.plan(deletion_policy="PREVENT")[JOB]["deletion_protection"] is True


def test_executors_may_run_it_and_nothing_else(job: Root) -> None:
    member = {"because": "starts it by the clock", "member": "user:a@x.com"}
    plan = job.plan(executors={"clock": member})
    assert plan.bindings() == {("user:a@x.com", "roles/run.jobsExecutor", "job/files-dev-worker")}


REFUSED: list[Case] = [
    ({"deletion_policy": "KEEP"}, "deletion_policy is KEEP; it must be DELETE or PREVENT"),
    (
        {"executors": {"a": {"because": "", "member": "user:a@x.com"}}},
        "executors has an entry whose because does not say why it is granted",
    ),
    ({"image": "worker"}, "image is worker; name it with a tag or digest"),
    ({"image": "worker:latest"}, "image is worker:latest; name it with a tag or digest"),
    ({"name": "x" * 64}, "(64 characters); it has 2 to 63"),
    ({"resources": RESOURCES | {"cpu": 3}}, "resources.cpu is 3; a job takes 1, 2, 4, 6 or 8"),
    ({"resources": RESOURCES | {"max_retries": 11}}, "resources.max_retries is 11"),
    ({"resources": RESOURCES | {"memory_mib": 256}}, "resources.memory_mib is 256"),
    ({"resources": RESOURCES | {"timeout_seconds": 604801}}, "resources.timeout_seconds is 604801"),
]


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(job: Root, case: Case) -> None:
    assert case[1] in job.refused(case, REFUSED)


def test_every_rule_refuses_something(job: Root) -> None:
    assert unseen(job, "terraform/modules/job", REFUSED) == []
