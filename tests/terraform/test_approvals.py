from __future__ import annotations

import json
import re

import pytest

from tests.localcloud.services.workflows.interpreter import Program
from tests.system.promql import evaluate

from .conftest import MakeRoot
from .plans import ROOT, Case, Plan, Root, alerts, case_id, unseen
from .test_alert_figures import NOW, Found, counted, stands_at

PROJECT = "demo-project"
WORKFLOW = "google_workflows_workflow.this"
STARTER = "google_pubsub_subscription.starter"
TOPIC = f"projects/{PROJECT}/topics/files-dev-completions"
EDITORS = "group:editors@example.com"
BUCKET = "module.published.google_storage_bucket.this"
KEY = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"


def interface(**more: object) -> dict[str, object]:
    """The pipeline's output, as a capability takes it."""
    return {
        "buckets": {"results": f"{PROJECT}-files-dev-results"},
        "deployer": "",
        "environment": "dev",
        "monitoring": {"enabled": True, "notification_channels": [], "runbook_url": ""},
        "name": "files-dev",
        "policy": {
            "deletion_policy": "DELETE", "force_destroy": False, "hash_object_names": False,
            "kms_key_name": "",
        },
        "project_id": PROJECT,
        "region": "us-central1",
        **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def approvals(root: MakeRoot) -> Root:
    return root("terraform/approvals", pipeline=interface(), topic=TOPIC)


@pytest.fixture(scope="module")
def default(approvals: Root) -> Plan:
    return approvals.plan()


# Defaults


def test_each_manifest_starts_an_execution_in_the_starters_name(default: Plan) -> None:
    (push,) = default[STARTER]["push_config"]
    trigger = (
        f"https://workflowexecutions.googleapis.com/v1/projects/{PROJECT}/locations/us-central1"
        "/workflows/files-dev-approvals:triggerPubsubExecution"
    )
    mode = f"CUSTOM_PUBSUB_{TOPIC.replace('/', '%2F')}"
    assert push["push_endpoint"] == f"{trigger}?__GCP_CloudEventsMode={mode}"
    account = f"files-approvals-starter@{PROJECT}.iam.gserviceaccount.com"
    assert push["oidc_token"] == [{"audience": trigger, "service_account_email": account}]
    assert default[STARTER]["filter"] == 'attributes.status = "done" AND NOT attributes:subscriber'
    assert default[STARTER]["message_retention_duration"] == "604800s"
    assert default[STARTER]["expiration_policy"] == [{"ttl": ""}]
    backoff = {"minimum_backoff": "10s", "maximum_backoff": "600s"}
    assert default[STARTER]["retry_policy"] == [backoff]


def test_a_pdf_waits_for_a_week_and_somebody_is_reminded_after_three_days(default: Plan) -> None:
    settings = default[WORKFLOW]["user_env_vars"]
    assert json.loads(settings["RULES"]) == {
        "pdf": {"min_bytes": 0, "mismatch": False, "name": "", "type": "^(application/pdf)$"}
    }
    assert (settings["EXPIRE_SECONDS"], settings["REMIND_SECONDS"]) == ("604800", "259200")
    assert json.loads(settings["CHECK"])["url"] == ""


def test_the_workflow_is_the_modules_yaml_and_says_nothing_unknown(default: Plan) -> None:
    source = (ROOT / "terraform/approvals/approvals.yaml").read_text()
    assert default[WORKFLOW]["source_contents"] == source
    program = Program(source)
    # Limits of Workflows: https://docs.cloud.google.com/workflows/quotas
    assert len(source.encode()) < 128 << 10
    assert all(len(text) <= 400 for text in program._expressions)
    assert {*re.findall(r'get_env\("([A-Z_]+)"\)', source.replace("\\", ""))} == {
        *default[WORKFLOW]["user_env_vars"], "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ID",
    }  # fmt: skip


def test_requests_and_ends_are_announced_with_their_status(default: Plan) -> None:
    told = {
        default[address]["object_name_prefix"]: default[address]["custom_attributes"]["status"]
        for address in default.of_type("google_storage_notification")
    }
    assert told == {"published/": "published", "rejected/": "rejected", "requests/": "waiting"}


def test_its_account_reads_results_and_creates_in_its_own_bucket_alone(default: Plan) -> None:
    storage = "service@gs-project-accounts.iam.gserviceaccount.com"
    assert default.bindings() == {
        (storage, "roles/pubsub.publisher", "topic/files-dev-approvals"),
        ("files-dev-approvals", "roles/storage.objectViewer", "bucket/files-dev-results"),
        ("files-dev-approvals", "roles/storage.objectViewer", "bucket/files-dev-published"),
        ("files-dev-approvals", "roles/storage.objectCreator", "bucket/files-dev-published"),
    }


def test_it_is_watched_where_the_pipeline_is(default: Plan, approvals: Root) -> None:
    assert {policy["user_labels"]["alert"] for policy in alerts(default)} == {
        "approvals_failed", "approvals_full", "approvals_not_started", "approvals_overdue",
    }  # fmt: skip
    off = {"enabled": False, "notification_channels": [], "runbook_url": ""}
    quiet = approvals.plan(pipeline=interface(monitoring=off))
    assert not quiet.of_type("google_monitoring_alert_policy")
    assert not quiet.of_type("google_logging_metric")


RUNNING = {"monitored_resource": "consumer_quota", "service": "workflowexecutions.googleapis.com"}
WAITING = {"monitored_resource": "pubsub_subscription", "subscription_id": "files-dev-approvals"}
WORKFLOWS = "workflows.googleapis.com/Workflow"
QUOTA = "serviceruntime_googleapis_com:quota_concurrent_usage"
AGE = "pubsub_googleapis_com:subscription_oldest_unacked_message_age"
ENDED = "workflows_googleapis_com:finished_execution_count"


def rings(plan: Plan, alert: str, series: Found) -> bool:
    (policy,) = (
        plan[address]
        for address in plan.of_type("google_monitoring_alert_policy")
        if plan[address]["user_labels"]["alert"] == alert
    )
    (promql,) = policy["conditions"][0]["condition_prometheus_query_language"]
    return evaluate(promql["query"], series, NOW) != {}


def test_an_alert_is_silent_at_its_bound_and_rings_above(default: Plan) -> None:
    for more in (0, 1):
        full, old = stands_at(QUOTA, 8000 + more, **RUNNING), stands_at(AGE, 3600 + more, **WAITING)
        assert rings(default, "approvals_full", full) is bool(more)
        assert rings(default, "approvals_not_started", old) is bool(more)


def test_one_execution_that_fails_is_one_too_many(default: Plan) -> None:
    def ended(status: str, workflow: str = "files-dev-approvals") -> Found:
        of = {"monitored_resource": WORKFLOWS, "workflow_id": workflow, "status": status}
        return counted(ENDED, 1, 10, **of)

    assert rings(default, "approvals_failed", ended("FAILED"))
    assert rings(default, "approvals_failed", ended("CANCELLED"))
    assert not rings(default, "approvals_failed", ended("SUCCEEDED"))
    assert not rings(default, "approvals_failed", ended("FAILED", "other"))


def test_one_file_that_waits_too_long_is_one_too_many(default: Plan) -> None:
    def grew(metric: str, amount: float) -> Found:
        name = f"logging_googleapis_com:user_files_dev_approvals_{metric}"
        return counted(name, amount, 10, monitored_resource=WORKFLOWS)

    assert rings(default, "approvals_overdue", grew("overdue", 1))
    assert not rings(default, "approvals_overdue", grew("asked", 1))
    labels = default['google_logging_metric.counter["decided"]']["label_extractors"]
    assert labels == {"decision": "EXTRACT(jsonPayload.decision)"}


# Overrides


def test_rules_become_regular_expressions_that_match_what_they_say(approvals: Root) -> None:
    plan = approvals.plan(
        rules={
            "a": {"folders": ["con.tracts/", "x(1)/"], "types": ["image/*", "application/a+b"]},
            "all": {"types": ["*"]},
            "big": {"min_bytes": 5, "mismatch": True},
        }
    )
    rules = json.loads(plan[WORKFLOW]["user_env_vars"]["RULES"])
    name, kind = rules["a"]["name"], rules["a"]["type"]
    names = ("con.tracts/x", "x(1)/y", "conXtracts/x", "y/x(1)/")
    assert [bool(re.search(name, one)) for one in names] == [True, True, False, False]
    kinds = ("image/png", "application/a+b", "application/aab", "ximage/png", "application/a+bc")
    assert [bool(re.search(kind, k)) for k in kinds] == [True, True, False, False, False]
    assert all(re.search(rules["all"]["type"], one) for one in ("any/thing", ""))
    assert (rules["big"]["min_bytes"], rules["big"]["mismatch"]) == (5, True)


def test_approvers_see_what_they_decide_about_and_the_deployer_acts_as_the_account(
    approvals: Root,
) -> None:
    deployer = f"serviceAccount:files-apply@{PROJECT}.iam.gserviceaccount.com"
    plan = approvals.plan(
        approvers=[EDITORS],
        check={"url": "https://scan.example.com/look"},
        pipeline=interface(
            deployer=deployer,
            policy=interface()["policy"] | {"kms_key_name": KEY},  # type: ignore[operator]
        ),
        published_retention={"expire_days": 30, "soft_delete_days": 0},
        subscribers={"app": {"reader": EDITORS, "only": "published"}},
    )
    found = plan.bindings()
    for bucket in ("published", "results"):
        assert (EDITORS, "roles/storage.objectViewer", f"bucket/files-dev-{bucket}") in found
    assert ("files-apply", "roles/iam.serviceAccountUser", "account/files-dev-approvals") in found
    assert plan.told() == plan.bindings(conditions=False)
    assert plan[WORKFLOW]["crypto_key_name"] == KEY
    assert plan["google_pubsub_topic.this"]["kms_key_name"] == KEY
    assert plan[BUCKET]["encryption"][0]["default_kms_key_name"] == KEY
    assert plan[BUCKET]["force_destroy"] is False
    check = json.loads(plan[WORKFLOW]["user_env_vars"]["CHECK"])
    assert check["audience"] == check["url"] == "https://scan.example.com/look"
    subscriber = plan['module.subscribers.google_pubsub_subscription.subscriber["app"]']
    assert subscriber["filter"].startswith('attributes.status = "published" AND')


# Rejections

REFUSED: list[Case] = [
    ({"approvers": ["allUsers"]}, "approvers has allUsers; each names one account"),
    ({"check": {"url": "http://x.example"}}, "check.url is http://x.example; it is an https://"),
    ({"check": {"timeout_seconds": 0}}, "check.timeout_seconds is 0; a call of Workflows lasts"),
    ({"expire_days": 301}, "expire_days is 301; whole days from 1 to 300"),
    ({"remind_days": 8}, "remind_days is 8 of expire_days 7; more than 0, and fewer"),
    ({"published_retention": {"expire_days": 5}}, "published_retention expires something after 5"),
    ({"rules": {"Pdf": {"mismatch": True}}}, "rules has Pdf; a name has 1 to 31 lower-case"),
    ({"rules": {"none": {}}}, "rules none say nothing: each has folders, types, min_bytes"),
    (
        {"rules": {"a": {"types": ["PDF"]}}},
        "rules have the types PDF; each is written type/subtype",
    ),
    ({"rules": {"a": {"folders": ["/x"]}}}, "rules have the folders /x; each ends with a slash"),
    ({"rules": {"a": {"folders": ["x" * 3000 + "/"]}}}, "characters; at most 3000, which is"),
]


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(approvals: Root, case: Case) -> None:
    assert case[1] in approvals.refused(case, REFUSED)


def test_every_rule_refuses_something(approvals: Root) -> None:
    assert unseen(approvals, "terraform/approvals", REFUSED) == []
