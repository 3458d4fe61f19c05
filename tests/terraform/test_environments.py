"""Each environment: the complete list of who may do what where, and what it differs in.

An added, removed or widened binding fails here, and is meant to: it belongs in a review.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import MakeRoot
from .plans import ROOT, Plan, rules

STORAGE_AGENT = "service@gs-project-accounts.iam.gserviceaccount.com"
PUBSUB_AGENT = "service@gcp-sa-pubsub.iam.gserviceaccount.com"
PIPELINE = "module.pipeline.module"


@pytest.fixture(scope="module")
def plans(root: MakeRoot) -> dict[str, Plan]:
    """Of bootstrap: test_bootstrap.py."""
    names = ("dev", "staging", "prod")
    return {name: root(f"environments/{name}", project_id="demo-project").plan() for name in names}


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_an_environment_grants_this_and_nothing_else(
    plans: dict[str, Plan], environment: str
) -> None:
    name = f"files-{environment}"
    assert plans[environment].bindings() == {
        # Events: Cloud Storage announces uploads, Pub/Sub sets aside what it cannot deliver.
        (STORAGE_AGENT, "roles/pubsub.publisher", f"topic/{name}-uploads"),
        (PUBSUB_AGENT, "roles/pubsub.publisher", f"topic/{name}-dead-letters"),
        (PUBSUB_AGENT, "roles/pubsub.subscriber", f"subscription/{name}-bridge"),
        (f"{name}-events-invoker", "roles/run.invoker", f"run/{name}-bridge"),
        # The bridge puts tasks into the queue, in the name of the account that calls the processor.
        (f"{name}-bridge", "roles/cloudtasks.enqueuer", f"queue/{name}-default"),
        (f"{name}-bridge", "roles/iam.serviceAccountUser", f"account/{name}-tasks-invoker"),
        (f"{name}-tasks-invoker", "roles/run.invoker", f"run/{name}-processor-default"),
        # The processor reads uploads and only adds to results.
        (f"{name}-processor", "roles/storage.objectViewer", f"bucket/{name}-uploads"),
        (f"{name}-processor", "roles/storage.objectCreator", f"bucket/{name}-results"),
    }


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_every_environment_has_its_own_names(plans: dict[str, Plan], environment: str) -> None:
    plan = plans[environment]
    for address in plan.of_type("google_storage_bucket"):
        assert plan[address]["name"].startswith(f"demo-project-files-{environment}-")


def test_only_dev_loses_its_files_when_destroyed(plans: dict[str, Plan]) -> None:
    for environment, lost in {"dev": True, "staging": False, "prod": False}.items():
        for bucket in ("uploads", "results"):
            values = plans[environment][f"{PIPELINE}.{bucket}.google_storage_bucket.this"]
            assert values["force_destroy"] is lost, (environment, bucket)


def test_prod_refuses_to_be_destroyed(plans: dict[str, Plan]) -> None:
    plan = plans["prod"]
    assert "terraform_data.keep" in plan.resources
    for bucket in ("uploads", "results", "sources"):
        values = plan[f"{PIPELINE}.{bucket}.google_storage_bucket.this"]
        assert values["deletion_policy"] == "PREVENT"


def test_prod_is_faster_and_always_warm(plans: dict[str, Plan]) -> None:
    plan = plans["prod"]
    queue = plan[f'{PIPELINE}.queue["default"].google_cloud_tasks_queue.this']
    assert queue["rate_limits"][0]["max_dispatches_per_second"] == 50
    for function in ("bridge", 'processor["default"]'):
        values = plan[f"{PIPELINE}.{function}.google_cloudfunctions2_function.this"]
        assert values["service_config"][0]["min_instance_count"] == 1


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_every_rule_is_a_module_s(environment: str) -> None:
    """Those have their tests; a rule that is added here needs one of its own."""
    assert rules(f"environments/{environment}") == {}


def test_every_folder_with_rules_tests_them() -> None:
    files = [path for part in ("terraform", "environments") for path in (ROOT / part).rglob("*.tf")]
    folders = {str(path.parent.relative_to(ROOT)) for path in files}
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    untested = {
        folder
        for folder in folders
        if ".terraform" not in folder and rules(folder) and f'"{folder}", REFUSED)' not in tests
    }
    assert untested == set()
