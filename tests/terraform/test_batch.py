from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from tests.system.promql import selectors

from .conftest import MakeRoot
from .plans import PROJECT, Case, Plan, Root, alerts, case_id, unseen

PIPELINE = {
    "buckets": {
        "results": f"{PROJECT}-files-dev-results",
        "uploads": f"{PROJECT}-files-dev-uploads",
    },
    "build": {
        "account_email": f"files-build@{PROJECT}.iam.gserviceaccount.com",
        "kms_key_name": "",
        "images": f"us-central1-docker.pkg.dev/{PROJECT}/files-images",
        "repository": f"projects/{PROJECT}/locations/us-central1/repositories/files-functions",
        "source_bucket": f"{PROJECT}-files-dev-sources",
        "zips": "../../build",
    },
    "deployer": "",
    "environment": "dev",
    "monitoring": {"enabled": True, "notification_channels": [], "runbook_url": ""},
    "name": "files-dev",
    "policy": {
        "deletion_policy": "DELETE", "force_destroy": True, "hash_object_names": False,
        "kms_key_name": "",
    },
    "processors": {"default": {"LANE": "default", "MAX_PIXELS": "1"}},
    "project_id": PROJECT,
    "region": "us-central1",
}  # fmt: skip
METRICS = json.loads((Path(__file__).parents[1] / "system/metrics.json").read_text())
SCHEDULE = {"cron": "0 6 * * 1", "task": json.dumps({"task_type": "data_transformation"})}
TOKENS = {"audience": "me", "issuer": "https://securetoken.google.com/shop"}
CALLERS = {"team": {"because": "the team tries it", "member": "group:team@example.com"}}


@pytest.fixture(scope="module")
def batch(root: MakeRoot) -> Root:
    return root("terraform/batch", pipeline=PIPELINE)


@pytest.fixture(scope="module")
def default(batch: Root) -> Plan:
    return batch.plan()


# Defaults


def test_each_account_holds_what_it_needs_and_nothing_else(default: Plan) -> None:
    agent = "service@gcp-sa-pubsub.iam.gserviceaccount.com"
    topic, dead = "topic/files-dev-tasks-normal", "files-dev-tasks-normal-dead"
    assert default.bindings() == {
        ("files-dev-submit", "roles/storage.objectViewer", "bucket/files-dev-tasks"),
        ("files-dev-submit", "roles/storage.objectCreator", "bucket/files-dev-tasks"),
        ("files-dev-submit", "roles/pubsub.publisher", topic),
        ("files-dev-submit", "roles/cloudtasks.enqueuer", "queue/files-dev-starts"),
        ("files-dev-submit", "roles/iam.serviceAccountUser", "account/files-dev-starter"),
        ("files-dev-starter", "roles/run.jobsExecutor", "job/files-dev-worker-normal"),
        ("files-dev-starter", "roles/run.jobsExecutor", "job/files-dev-worker-sweep"),
        ("files-dev-starter", "roles/pubsub.publisher", topic),
        ("files-dev-batch-worker", "roles/storage.objectViewer", "bucket/files-dev-tasks"),
        ("files-dev-batch-worker", "roles/storage.objectCreator", "bucket/files-dev-tasks"),
        ("files-dev-batch-worker", "roles/storage.objectViewer", "bucket/files-dev-uploads"),
        ("files-dev-batch-worker", "roles/storage.objectCreator", "bucket/files-dev-results"),
        ("files-dev-batch-worker", "roles/pubsub.publisher", topic),
        (
            "files-dev-batch-worker",
            "roles/pubsub.subscriber",
            "subscription/files-dev-worker-normal",
        ),
        ("files-dev-batch-worker", "roles/pubsub.subscriber", f"subscription/{dead}"),
        (agent, "roles/pubsub.publisher", f"topic/{dead}"),
        (agent, "roles/pubsub.subscriber", "subscription/files-dev-worker-normal"),
    }


def test_a_message_is_leased_for_600_s_kept_for_7_days_and_delivered_5_times(default: Plan) -> None:
    values = default['google_pubsub_subscription.worker["normal"]']
    assert values["ack_deadline_seconds"] == 600
    assert values["message_retention_duration"] == "604800s"
    assert values["dead_letter_policy"][0]["max_delivery_attempts"] == 5
    assert values["push_config"] == []
    assert values["expiration_policy"] == [{"ttl": ""}]


def test_the_recipes_job(default: Plan) -> None:
    (outer,) = default['module.worker["normal"].google_cloud_run_v2_job.this']["template"]
    (inner,) = outer["template"]
    limits = inner["containers"][0]["resources"][0]["limits"]
    assert limits == {"cpu": "1", "memory": "1024Mi"}
    assert inner["max_retries"] == 3


def test_a_worker_knows_the_settings_of_every_lane_and_how_long_it_lives(batch: Root) -> None:
    lanes = {"default": {"LANE": "default"}, "videos": {"KIND": "media", "LANE": "videos"}}
    plan = batch.plan(pipeline=PIPELINE | {"processors": lanes})
    (outer,) = plan['module.worker["normal"].google_cloud_run_v2_job.this']["template"]
    env = outer["template"][0]["containers"][0]["env"]
    told = {one["name"]: one.get("value") for one in env}  # some are known after the apply
    assert json.loads(told["LANES"]) == lanes
    assert (told["LIMIT_SECONDS"], told["TIMEOUT_SECONDS"]) == ("900", "3600")


def test_the_image_is_named_by_its_source(default: Plan) -> None:
    (outer,) = default['module.worker["normal"].google_cloud_run_v2_job.this']["template"]
    image = outer["template"][0]["containers"][0]["image"]
    place, _, tag = image.partition(":")
    assert place == f"us-central1-docker.pkg.dev/{PROJECT}/files-images/worker"
    assert len(tag) == 32


def test_each_job_runs_by_the_clock_in_the_starters_name(default: Plan) -> None:
    for key, schedule in (("normal", "*/15 * * * *"), ("sweep", "7 * * * *")):
        values = default[f'google_cloud_scheduler_job.run["{key}"]']
        assert values["schedule"] == schedule
        (target,) = values["http_target"]
        email = f"files-dev-starter@{PROJECT}.iam.gserviceaccount.com"
        assert target["oauth_token"][0]["service_account_email"] == email


def test_requests_and_outcomes_are_private_and_expire(default: Plan) -> None:
    values = default["module.tasks.google_storage_bucket.this"]
    assert values["public_access_prevention"] == "enforced"
    ages = [rule["condition"][0]["age"] for rule in values["lifecycle_rule"]]
    assert 90 in ages


def test_every_alert_has_its_section_of_the_runbook(default: Plan) -> None:
    assert alerts(default)


# Overrides


def test_priorities_have_everything_of_their_own(batch: Root) -> None:
    plan = batch.plan(priorities={"normal": {}, "urgent": {"memory_mib": 2048}})
    for kind in ("google_pubsub_topic.tasks", "google_pubsub_subscription.worker"):
        assert f'{kind}["urgent"]' in plan.resources
    (outer,) = plan['module.worker["urgent"].google_cloud_run_v2_job.this']["template"]
    limits = outer["template"][0]["containers"][0]["resources"][0]["limits"]
    assert limits["memory"] == "2048Mi"


def test_a_schedule_submits_its_task_in_a_name_of_its_own(batch: Root) -> None:
    plan = batch.plan(schedules={"weekly": SCHEDULE})
    values = plan['google_cloud_scheduler_job.submit["weekly"]']
    (target,) = values["http_target"]
    assert json.loads(base64.b64decode(target["body"])) == {"task_type": "data_transformation"}
    assert (
        "files-dev-batch-clock", "roles/run.invoker", "run/files-dev-submit",
    ) in plan.bindings()  # fmt: skip
    assert plan.told() == plan.bindings(conditions=False)


def test_named_callers_may_submit_and_the_world_only_when_it_is_said(batch: Root) -> None:
    invokers = lambda plan: {w for w, role, _ in plan.bindings() if role == "roles/run.invoker"}  # noqa: E731
    assert invokers(batch.plan(callers=CALLERS)) == {"group:team@example.com"}
    assert invokers(batch.plan(access="anyone")) == {"allUsers"}
    assert invokers(batch.plan(access="tokens", tokens=TOKENS)) == {"allUsers"}


def test_an_image_of_ones_own_is_run(batch: Root) -> None:
    plan = batch.plan(image="example.com/worker:1")
    (outer,) = plan['module.worker["normal"].google_cloud_run_v2_job.this']["template"]
    assert outer["template"][0]["containers"][0]["image"] == "example.com/worker:1"


# Rejections


def test_alerts_and_dashboard_name_what_cloud_monitoring_has(default: Plan) -> None:
    policies = [default[one] for one in default.of_type("google_monitoring_alert_policy")]
    (dashboard,) = default.of_type("google_monitoring_dashboard")
    assert {one["user_labels"]["alert"] for one in policies} == {
        "batch_backlog", "batch_dead_letters", "batch_executions_failed",
    }  # fmt: skip
    text = default[dashboard]["dashboard_json"]
    queries = re.findall(r'"prometheusQuery":"((?:[^"\\]|\\.)*)"', text)
    queries = [str(json.loads(f'"{query}"')) for query in queries]
    for policy in policies:
        (condition,) = policy["conditions"]
        queries.append(condition["condition_prometheus_query_language"][0]["query"])
    assert len(queries) == 8
    for query in queries:
        for name, matchers in selectors(query):
            labels = {label: value.strip('"') for label, _, value in matchers}
            known = METRICS["metrics"][name]
            assert labels.pop("monitored_resource") == known["resource"], query
            there = {*known["labels"], *METRICS["resources"][known["resource"]]["labels"]}
            assert set(labels) <= there, query


REFUSED: list[Case] = [
    ({"access": "world"}, "access is world; it must be iam, tokens or anyone"),
    ({"clock_minutes": 7}, "clock_minutes is 7; it must be 5, 10, 15, 20 or 30"),
    ({"expire_days": 37}, "expire_days is 37; at least 38"),
    (
        {"pipeline": PIPELINE | {"processors": {}}},
        "The pipeline's lane default has a target of its own",
    ),
    ({"priorities": {"sweep": {}}}, "is not sweep, which is a job already"),
    ({"priorities": {"normal": {"at_once": 11}}}, "at_once must be 1 to 10"),
    ({"priorities": {"normal": {"memory_mib": 512}}}, "normal has 512 and needs 960"),
    (
        {"priorities": {"normal": {"task_seconds": 3600}}},
        "must leave 60 s of timeout_seconds",
    ),
    (
        {"priorities": {"normal": {"timeout_seconds": 86400}}, "window_seconds": 60},
        "up to 1440 executions can overlap",
    ),
    (
        {"schedules": {"weekly": SCHEDULE | {"task": "{}"}}},
        "must be JSON with a task_type",
    ),
    ({"window_seconds": 9}, "window_seconds is 9; it must be 10 to 900"),
]


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(batch: Root, case: Case) -> None:
    assert case[1] in batch.refused(case, REFUSED)


def test_every_rule_refuses_something(batch: Root) -> None:
    assert unseen(batch, "terraform/batch", REFUSED) == []
