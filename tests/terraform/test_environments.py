"""Each environment: the complete list of who may do what where, and what it differs in.

An added, removed or widened binding fails here, and is meant to: it belongs in a review.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.docs_permissions import check_planned

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


@pytest.mark.parametrize("environment", ["dev", "staging", "prod", "showcase"])
def test_every_binding_is_told_with_its_reason(root: MakeRoot, environment: str) -> None:
    delivered = root(f"environments/{environment}", project_id="demo-project").plan(
        deployer="serviceAccount:files-apply@demo-project.iam.gserviceaccount.com"
    )
    assert delivered.told() == delivered.bindings(conditions=False)


def test_the_documents_hold_the_tables_of_what_is_planned(
    root: MakeRoot, plans: dict[str, Plan]
) -> None:
    showcase = root("environments/showcase", project_id="demo-project").plan()
    check_planned(showcase.outputs["grants"], plans["dev"].outputs["grants"])


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


def test_prod_keeps_what_is_gone_for_a_quarter_and_uploads_for_a_year(
    plans: dict[str, Plan],
) -> None:
    def kept(environment: str, bucket: str) -> tuple[list[int], dict[str, int], int]:
        """Days of earlier versions, age at which a class is changed, days of soft delete."""
        values = plans[environment][f"{PIPELINE}.{bucket}.google_storage_bucket.this"]
        rules = [(rule["action"][0], rule["condition"][0]) for rule in values["lifecycle_rule"]]
        earlier = [c["days_since_noncurrent_time"] for _, c in rules]
        classes = {a["storage_class"]: c["age"] for a, c in rules if a["storage_class"]}
        (soft,) = values["soft_delete_policy"]
        return [days for days in earlier if days], classes, soft["retention_duration_seconds"]

    week = 7 * 86400
    assert kept("prod", "results") == ([90], {}, week)
    assert kept("prod", "uploads") == ([365], {"NEARLINE": 30}, week)
    assert kept("staging", "results") == ([30], {}, week)
    assert kept("staging", "uploads") == ([70], {}, week)
    assert kept("dev", "results") == ([1], {}, 0)
    assert kept("dev", "uploads")[2] == 0


# What must be there before it, and why: in another order things are lost or refused, at times.
EVENTS = "module.pipeline.module.object_events."
ORDER = {
    # A topic without a subscription drops its messages; Cloud Storage may publish.
    f"{EVENTS}google_storage_notification.this": {
        "google_pubsub_subscription.push",
        "google_pubsub_topic_iam_member.publisher",
    },
    # A dead letter published before its subscription exists would be lost.
    f"{EVENTS}google_pubsub_subscription.push": {"google_pubsub_subscription.dead_letters"},
    # Pub/Sub's agent is there once the project uses Pub/Sub.
    f"{EVENTS}google_pubsub_topic_iam_member.dead_letters_publisher": {
        "google_pubsub_subscription.dead_letters"
    },
}


def test_what_needs_an_order_has_it(plans: dict[str, Plan]) -> None:
    after = plans["staging"].after
    resources = {a: names for a, names in after.items() if ".output." not in a}
    assert {a: n for a, n in resources.items() if a.startswith(EVENTS)} == ORDER
    alerts = "module.pipeline.module.monitoring.module.alerts"
    assert resources.keys() - ORDER.keys() == {alerts}
    assert resources[alerts] == {"google_logging_metric.counter"}


def test_completions_are_announced_once_somebody_listens(root: MakeRoot) -> None:
    after = root("environments/showcase", project_id="demo-project").plan().after
    assert after["module.completions.google_storage_notification.record"] == {
        "google_pubsub_topic_iam_member.storage_publishes_completions", "module.subscribers"
    }  # fmt: skip
    assert after["module.completions.output.topic"] == {"google_storage_notification.record"}


# Whoever reads one of these gets something that can be used: its bindings are there.
READY = {
    "module.bridge.output.name": {"google_cloud_run_service_iam_member.invoker"},
    "module.bridge.output.url": {"google_cloud_run_service_iam_member.invoker"},
    "module.bridge_account.output.email": {
        "google_service_account.this", "google_service_account_iam_member.this"
    },
    "module.bridge_account.output.member": {
        "google_service_account.this", "google_service_account_iam_member.this"
    },
    "module.queue.output.id": {"google_cloud_tasks_queue_iam_member.enqueuer"},
    "module.uploads.output.name": {"google_storage_bucket_iam_member.this"},
    "module.object_events.output.topic": {"google_storage_notification.this"},
    "module.object_events.output.subscription": {
        "google_pubsub_subscription_iam_member.dead_letters_subscriber"
    },
    "module.object_events.output.dead_letter_subscription": {
        "google_pubsub_subscription_iam_member.dead_letters_subscriber",
        "google_pubsub_topic_iam_member.dead_letters_publisher",
    },
    "output.uploads_bucket": {"module.object_events"},
    "output.interface": {"module.object_events"},
}  # fmt: skip


def test_what_is_handed_on_can_be_used(plans: dict[str, Plan]) -> None:
    after = plans["staging"].after
    assert {name: after.get(f"module.pipeline.{name}") for name in READY} == READY


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
