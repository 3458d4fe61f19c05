from __future__ import annotations

from typing import Any

import pytest

from .conftest import MakeRoot
from .plans import PROJECT, Case, Plan, Root, alerts, case_id, unseen

JOB = "google_cloud_scheduler_job.this"
FUNCTION = "module.function.google_cloudfunctions2_function.this"
QUEUE = f"projects/{PROJECT}/locations/us-central1/queues/files-dev-default-012345678901"


def interface(**more: Any) -> dict[str, Any]:
    """The pipeline's output, as a capability takes it."""
    return {
        "accounts": {"tasks_invoker": f"files-dev-tasks-invoker@{PROJECT}.iam.gserviceaccount.com"},
        "bridge": {"settings": {"LANES": "{}"}},
        "buckets": {
            "results": f"{PROJECT}-files-dev-results", "uploads": f"{PROJECT}-files-dev-uploads",
        },
        "build": {
            "account_email": f"files-build@{PROJECT}.iam.gserviceaccount.com",
            "kms_key_name": "",
            "repository": f"projects/{PROJECT}/locations/us-central1/repositories/files-functions",
            "source_bucket": f"{PROJECT}-files-dev-sources",
            "zips": "../../build",
        },
        "deployer": "",
        "environment": "dev",
        "monitoring": {"enabled": True, "notification_channels": [], "runbook_url": ""},
        "name": "files-dev",
        "policy": {"deletion_policy": "DELETE", "kms_key_name": ""},
        "project_id": PROJECT,
        "queues": {"default": QUEUE},
        "region": "us-central1",
        **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def sweep(root: MakeRoot) -> Root:
    return root("terraform/sweep", pipeline=interface())


@pytest.fixture(scope="module")
def default(sweep: Root) -> Plan:
    return sweep.plan()


# Defaults


def test_cloud_scheduler_calls_it_every_quarter_of_an_hour(default: Plan) -> None:
    job = default[JOB]
    assert (job["schedule"], job["time_zone"], job["paused"]) == ("*/15 * * * *", "Etc/UTC", False)
    assert job["attempt_deadline"] == "570s"
    (target,) = job["http_target"]
    invoker = f"files-dev-sweep-invoker@{PROJECT}.iam.gserviceaccount.com"
    assert target["oidc_token"][0]["service_account_email"] == invoker


def test_one_call_at_a_time_from_inside_the_project(default: Plan) -> None:
    (config,) = default[FUNCTION]["service_config"]
    assert config["max_instance_count"] == config["max_instance_request_concurrency"] == 1
    assert config["ingress_settings"] == "ALLOW_INTERNAL_ONLY"
    assert config["environment_variables"]["LANES"] == "{}"
    assert config["environment_variables"]["UPLOADS_PER_CALL"] == "50000"


def test_what_a_call_says_is_gone_after_a_week(default: Plan) -> None:
    bucket = default["module.sweeps.google_storage_bucket.this"]
    conditions = [rule["condition"][0] for rule in bucket["lifecycle_rule"]]
    ages = {its["age"]: its["matches_prefix"] for its in conditions if its["matches_prefix"]}
    assert ages == {7: ["sweeps/"]}


def test_it_may_read_and_enqueue_and_change_nothing(default: Plan) -> None:
    assert default.bindings() == {
        ("files-dev-sweep-invoker", "roles/run.invoker", "run/files-dev-sweep"),
        ("files-dev-sweep", "roles/storage.objectViewer", "bucket/files-dev-uploads"),
        ("files-dev-sweep", "roles/storage.objectViewer", "bucket/files-dev-results"),
        ("files-dev-sweep", "roles/storage.objectViewer", "bucket/files-dev-sweeps"),
        ("files-dev-sweep", "roles/storage.objectCreator", "bucket/files-dev-sweeps"),
        ("files-dev-sweep", "roles/cloudtasks.enqueuer", "queue/files-dev-default"),
        ("files-dev-sweep", "roles/cloudtasks.viewer", "queue/files-dev-default"),
        ("files-dev-sweep", "roles/iam.serviceAccountUser", "account/files-dev-tasks-invoker"),
    }


def test_it_is_watched_where_the_pipeline_is(default: Plan, root: MakeRoot) -> None:
    alerts = default.of_type("google_monitoring_alert_policy")
    keys = {default[alert]["user_labels"]["alert"] for alert in alerts}
    assert keys == {"swept_files", "swept_late", "sweep_silent"}
    off = {"enabled": False, "notification_channels": [], "runbook_url": ""}
    quiet = root("terraform/sweep", pipeline=interface(monitoring=off)).plan()
    assert not quiet.of_type("google_monitoring_alert_policy")
    assert not quiet.of_type("google_logging_metric")


def test_every_alert_has_its_section_of_the_runbook(default: Plan) -> None:
    assert alerts(default)


# Overrides


def test_a_paused_sweep_is_not_missed(sweep: Root) -> None:
    plan = sweep.plan(paused=True)
    assert plan[JOB]["paused"] is True
    alerts = plan.of_type("google_monitoring_alert_policy")
    keys = {plan[alert]["user_labels"]["alert"] for alert in alerts}
    assert keys == {"swept_files", "swept_late"}


def test_limits_and_ages_are_settings(sweep: Root) -> None:
    plan = sweep.plan(
        limits={"call_seconds": 60, "tasks_per_call": 5, "uploads_per_call": 1000},
        min_age_seconds=60, redrive_after_seconds=120, schedule="0 3 * * 1-5", silent_minutes=1500,
    )  # fmt: skip
    settings = plan[FUNCTION]["service_config"][0]["environment_variables"]
    names = ("CALL_SECONDS", "TASKS_PER_CALL", "MIN_AGE_SECONDS", "REDRIVE_AFTER_SECONDS")
    assert [settings[name] for name in names] == ["60", "5", "60", "120"]
    assert plan[JOB]["schedule"] == "0 3 * * 1-5"


def test_the_deployer_acts_as_both_accounts(root: MakeRoot) -> None:
    deployer = f"serviceAccount:files-apply@{PROJECT}.iam.gserviceaccount.com"
    plan = root("terraform/sweep", pipeline=interface(deployer=deployer)).plan()
    acts = {on for who, _, on in plan.bindings() if who == "files-apply"}
    assert acts == {"account/files-dev-sweep", "account/files-dev-sweep-invoker"}


# Rejections

NOWHERE = {**interface()["build"], "zips": "nowhere"}
REFUSED: list[Case] = [
    ({"limits": {"call_seconds": 1500}}, "limits.call_seconds is 1500; 10 to 1400"),
    ({"limits": {"uploads_per_call": 10}}, "uploads_per_call 10; at least 1 and 1000"),
    ({"min_age_seconds": 1}, "min_age_seconds is 1; at least 60"),
    ({"pipeline": interface(build=NOWHERE)}, "zips is nowhere, where sweep.zip is missing"),
    ({"redrive_after_seconds": 1}, "redrive_after_seconds is 1; at least 60"),
    ({"schedule": "hourly"}, "schedule is hourly; it is five fields of cron"),
]


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(sweep: Root, case: Case) -> None:
    assert case[1] in sweep.refused(case, REFUSED)


def test_every_rule_refuses_something(sweep: Root) -> None:
    assert unseen(sweep, "terraform/sweep", REFUSED) == []
