from __future__ import annotations

from typing import Any

import pytest

from .conftest import MakeRoot
from .plans import Case, Root, case_id, unseen

FUNCTION = "google_cloudfunctions2_function.this"
VERSION = "0123456789abcdef" * 4
RESOURCES = {
    "concurrency": 8,
    "cpu": 2,
    "max_instances": 20,
    "memory_mib": 2048,
    "timeout_seconds": 330,
}


BUILD = {
    "account_email": "files-build@demo-project.iam.gserviceaccount.com",
    "repository": "projects/demo-project/locations/us-central1/repositories/files",
    "source_bucket": "demo-project-sources",
    "source_generation": 1795262349442183,
    "source_object": f"bridge/{VERSION}.zip",
}


@pytest.fixture(scope="module")
def function(root: MakeRoot) -> Root:
    return root(
        "terraform/modules/function",
        project_id="demo-project",
        region="us-central1",
        name="files-dev-bridge",
        account_email="files-dev-bridge@demo-project.iam.gserviceaccount.com",
        build=BUILD,
        resources=RESOURCES,
    )


def with_resources(**changed: Any) -> dict[str, Any]:
    return {"resources": RESOURCES | changed}


# Defaults


def test_it_is_built_from_the_zip_as_the_build_account(function: Root) -> None:
    (build,) = function.plan()[FUNCTION]["build_config"]
    assert build["runtime"] == "python313"
    assert build["entry_point"] == "handle"
    assert build["service_account"].endswith(
        "serviceAccounts/files-build@demo-project.iam.gserviceaccount.com"
    )
    assert build["docker_repository"].endswith("repositories/files")
    (storage,) = build["source"][0]["storage_source"]
    assert storage == {
        "bucket": "demo-project-sources",
        "generation": 1795262349442183,
        "object": f"bridge/{VERSION}.zip",
    }
    assert len(build["automatic_update_policy"]) == 1


def test_it_runs_as_its_account_within_what_it_was_given(function: Root) -> None:
    (service,) = function.plan()[FUNCTION]["service_config"]
    expected = {
        "all_traffic_on_latest_revision": True,
        "available_cpu": "2",
        "available_memory": "2Gi",
        "environment_variables": {"SOURCE_VERSION": VERSION, "THREADS": "8"},
        "ingress_settings": "ALLOW_INTERNAL_ONLY",
        "max_instance_count": 20,
        "max_instance_request_concurrency": 8,
        "min_instance_count": 0,
        "service_account_email": "files-dev-bridge@demo-project.iam.gserviceaccount.com",
        "timeout_seconds": 330,
    }
    assert {name: service[name] for name in expected} == expected


def test_nobody_may_invoke_it(function: Root) -> None:
    assert function.plan().bindings() == set()


# Overrides


def test_what_is_public_is_called_by_everybody_and_the_plan_says_it(function: Root) -> None:
    plan = function.plan(public=True, ingress="ALLOW_ALL")
    assert plan.bindings() == {("allUsers", "roles/run.invoker", "run/files-dev-bridge")}


def test_invokers_are_let_in_on_its_service(function: Root) -> None:
    plan = function.plan(
        invokers={"events": {"because": "it calls the bridge", "member": "user:a@x.com"}}
    )
    assert plan.bindings() == {("user:a@x.com", "roles/run.invoker", "run/files-dev-bridge")}


def test_settings_reach_its_environment(function: Root) -> None:
    (service,) = function.plan(environment_variables={"A": "b"})[FUNCTION]["service_config"]
    assert service["environment_variables"] == {
        "A": "b",
        "SOURCE_VERSION": VERSION,
        "THREADS": "8",
    }


def test_resources_are_settings(function: Root) -> None:
    resources = with_resources(
        concurrency=1,
        cpu=0.5,
        max_instances=3,
        memory_mib=512,
        min_instances=1,
        threads=2,
        timeout_seconds=60,
    )
    (service,) = function.plan(**resources)[FUNCTION]["service_config"]
    assert service["available_cpu"] == "0.5"
    assert service["available_memory"] == "512Mi"
    assert service["environment_variables"]["THREADS"] == "2"
    assert service["max_instance_count"] == 3
    assert service["max_instance_request_concurrency"] == 1
    assert service["min_instance_count"] == 1
    assert service["timeout_seconds"] == 60


def test_it_can_be_kept_and_opened(function: Root) -> None:
    key = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"
    values = function.plan(
        deletion_policy="PREVENT",
        ingress="ALLOW_INTERNAL_AND_GCLB",
        build=BUILD | {"kms_key_name": key},
    )[FUNCTION]
    assert values["deletion_policy"] == "PREVENT"
    assert values["kms_key_name"] == key
    assert values["service_config"][0]["ingress_settings"] == "ALLOW_INTERNAL_AND_GCLB"


# Rejections


REFUSED: list[Case] = [
    ({"deletion_policy": "KEEP"}, "deletion_policy is KEEP; it must be DELETE or PREVENT"),
    (
        {"environment_variables": {"THREADS": "1"}},
        "holds SOURCE_VERSION or THREADS; the first is what build names",
    ),
    ({"ingress": "ALLOW_SOME"}, "ingress is ALLOW_SOME; it must be ALLOW_INTERNAL_ONLY"),
    (
        {"invokers": {"all": {"because": "everybody may", "member": "allUsers"}}},
        "name accounts; what the whole internet may call says so",
    ),
    (
        {"invokers": {"a": {"because": "", "member": "user:a@x.com"}}},
        "does not say why it is granted",
    ),
    ({"public": True}, "public is true, but ingress is ALLOW_INTERNAL_ONLY"),
    ({"name": "x" * 50}, "(50 characters); it has 4 to 49"),
    (
        with_resources(cpu=0.5, concurrency=2),
        "more than one request at a time takes at least 1 CPU",
    ),
    (with_resources(concurrency=9), "resources.concurrency is 9, but 8 threads serve it"),
    (with_resources(threads=7), "resources.concurrency is 8, but 7 threads serve it"),
    (
        {"build": BUILD | {"source_object": "bridge.zip"}},
        "build.source_object is bridge.zip; it must",
    ),
    (with_resources(cpu=3), "resources.cpu is 3; Cloud Run takes"),
    (with_resources(cpu=0.07, concurrency=1), "resources.cpu is 0.07; Cloud Run takes 0.08"),
    (with_resources(concurrency=0), "resources.concurrency is 0"),
    (with_resources(memory_mib=127), "resources.memory_mib is 127; Cloud Run takes 128 to 32768"),
    (with_resources(memory_mib=32769), "memory_mib is 32769; Cloud Run takes 128 to 32768"),
    (with_resources(min_instances=-1), "resources ask for -1 to 20 instances"),
    (with_resources(max_instances=0), "resources ask for 0 to 0 instances"),
    (with_resources(timeout_seconds=0), "resources.timeout_seconds is 0; Cloud Run takes 1 to"),
    (with_resources(min_instances=21), "resources ask for 21 to 20 instances"),
    (
        with_resources(timeout_seconds=3601),
        "resources.timeout_seconds is 3601; Cloud Run takes 1 to 3600",
    ),
]


def test_the_bounds_themselves_are_taken(function: Root) -> None:
    least = {"concurrency": 1, "cpu": 0.08, "max_instances": 1, "memory_mib": 128}
    function.plan(**with_resources(**least, timeout_seconds=1))
    function.plan(**with_resources(memory_mib=32768, cpu=8, timeout_seconds=3600))


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(function: Root, case: Case) -> None:
    assert case[1] in function.refused(case, REFUSED)


def test_every_rule_refuses_something(function: Root) -> None:
    assert unseen(function, "terraform/modules/function", REFUSED) == []
