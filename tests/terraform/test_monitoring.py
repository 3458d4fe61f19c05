from __future__ import annotations

import json
import re

import pytest

from .conftest import MakeRoot
from .plans import Case, Plan, Root, alerts, case_id, unseen

POLICY = "module.alerts.google_monitoring_alert_policy.this"
SLO = "google_monitoring_slo.answered_in_time"
SUBSCRIPTIONS = "projects/demo-project/subscriptions"
LANE = {
    "max_backoff_seconds": 300,
    "queue": "projects/demo-project/locations/us-central1/queues/files-dev-default-1",
    "retry_days": 7,
    "service": "files-dev-processor-default",
    "work_seconds": 300,
}


@pytest.fixture(scope="module")
def monitoring(root: MakeRoot) -> Root:
    return root(
        "terraform/modules/monitoring",
        project_id="demo-project",
        environment="dev",
        name_prefix="files-dev",
        events={
            "bridge": "files-dev-bridge",
            "dead_letter_subscription": f"{SUBSCRIPTIONS}/files-dev-dead-letters",
            "subscription": f"{SUBSCRIPTIONS}/files-dev-bridge",
            "topic": "projects/demo-project/topics/files-dev-uploads",
        },
        lanes={"default": LANE},
    )


@pytest.fixture(scope="module")
def plan(monitoring: Root) -> Plan:
    return monitoring.plan()


def query(plan: Plan, alert: str) -> str:
    (condition,) = plan[f'{POLICY}["{alert}"]']["conditions"]
    (promql,) = condition["condition_prometheus_query_language"]
    return str(promql["query"])


# Defaults


def test_every_alert_says_what_it_means_and_what_to_type_first(plan: Plan) -> None:
    for policy in alerts(plan):
        (documentation,) = policy["documentation"]
        assert re.search(
            r"First, .*`make (ops|logs) ENV=dev PROJECT=demo-project", documentation["content"]
        )
        assert policy["notification_channels"] in (None, [])


def test_an_alert_may_be_made_before_its_metric_is_known(plan: Plan) -> None:
    for address in plan.of_type("google_monitoring_alert_policy"):
        for condition in plan[address]["conditions"]:
            (promql,) = condition["condition_prometheus_query_language"]
            assert promql["disable_metric_validation"] is True
            assert not condition.get("condition_threshold")


def test_the_objective_is_999_in_1000_files_within_five_minutes(plan: Plan) -> None:
    values = plan[SLO]
    assert (values["goal"], values["rolling_period_days"]) == (0.999, 28)
    assert (
        "jsonPayload.age_seconds<=300" in plan['google_logging_metric.counter["in_time"]']["filter"]
    )
    assert "> 0.0144 * " in query(plan, "fast_burn")
    assert "> 0.006 * " in query(plan, "slow_burn")
    assert "> 300" in query(plan, "waiting_events")


def test_tasks_ring_four_days_before_the_queue_gives_up(plan: Plan) -> None:
    counter = plan['google_logging_metric.counter["expiring"]']
    assert f"age_seconds>{3 * 86400}" in counter["filter"]


def test_nobody_is_granted_anything(plan: Plan) -> None:
    assert plan.bindings() == set()


def test_the_dashboard_has_a_row_for_each_station(plan: Plan) -> None:
    dashboard = plan["module.dashboard.google_monitoring_dashboard.this"]
    layout = json.loads(dashboard["dashboard_json"])["mosaicLayout"]
    heads = [t["widget"]["title"] for t in layout["tiles"] if "sectionHeader" in t["widget"]]
    assert heads == ["Events", "Bridge", "Queue", "Processor", "Results"]


# Overrides


def test_alerts_go_to_the_channels_and_link_to_the_runbook(monitoring: Root) -> None:
    channels = ["projects/demo-project/notificationChannels/1"]
    plan = monitoring.plan(notification_channels=channels, runbook_url="https://wiki.example.com/r")
    values = plan[f'{POLICY}["dead_letters"]']
    assert values["notification_channels"] == channels
    (documentation,) = values["documentation"]
    link = {"display_name": "Runbook", "url": "https://wiki.example.com/r#dead-letters"}
    assert documentation["links"] == [link]


def test_the_objective_is_a_setting(monitoring: Root) -> None:
    plan = monitoring.plan(objective={"goal": 0.99, "seconds": 60, "days": 7})
    assert (plan[SLO]["goal"], plan[SLO]["rolling_period_days"]) == (0.99, 7)
    assert "jsonPayload.age_seconds>60" in plan['google_logging_metric.counter["missed"]']["filter"]
    assert "> 0.144 * " in query(plan, "fast_burn")


def test_the_share_above_which_an_alert_rings_is_a_setting(monitoring: Root, plan: Plan) -> None:
    shares = {"failed_files": 0.5, "memory": 0.75, "processor_errors": 0.25, "slow_processor": 0.5}
    changed = monitoring.plan(shares=shares)
    assert "> 0.2 * " in query(plan, "failed_files")
    assert "> 0.5 * " in query(changed, "failed_files")
    (documentation,) = changed[f'{POLICY}["failed_files"]']["documentation"]
    assert "More than 50 % of the files" in documentation["content"]
    assert query(changed, "push_errors") == query(plan, "push_errors")
    for key, was, now, said in (
        ("memory", "> 0.9", "> 0.75", "more than 75 % of their memory"),
        ("processor_errors", "> 0.05 * ", "> 0.25 * ", "More than 25 % of the processor's answers"),
        ("slow_processor", "> 240000 and", "> 150000 and", "takes more than 50 % of the time"),
    ):
        assert was in query(plan, key)
        assert now in query(changed, key)
        assert said in changed[f'{POLICY}["{key}"]']["documentation"][0]["content"]


def test_windows_hold_an_attempt_of_the_slowest_lane(monitoring: Root) -> None:
    lanes = {"default": LANE, "rare": LANE | {"max_backoff_seconds": 3600, "work_seconds": 10}}
    plan = monitoring.plan(lanes=lanes)
    assert "[70m]" in query(plan, "standing_queue")
    assert "> 8000 and" in query(plan, "slow_processor")
    assert "> 240000 and" in query(plan, "slow_processor")


def test_a_lane_with_a_target_of_ones_own_is_watched_at_its_queue(monitoring: Root) -> None:
    own = {
        "max_backoff_seconds": 300,
        "queue": "projects/p/locations/l/queues/own",
        "retry_days": 7,
    }
    plan = monitoring.plan(lanes={"default": LANE, "own": own})
    assert 'queue_id=~"files-dev-default-1|own"' in query(plan, "standing_queue")
    assert 'service_name=~"files-dev-processor-default"' in query(plan, "processor_errors")


def test_what_is_due_later_may_stand_and_is_watched_by_its_attempts(monitoring: Root) -> None:
    later = LANE | {"later": "projects/p/locations/l/queues/later"}
    plan = monitoring.plan(lanes={"default": later})
    assert (
        'queue_depth{monitored_resource="cloud_tasks_queue",queue_id=~"files-dev-default-1"}'
        in (query(plan, "standing_queue"))
    )
    assert 'queue_id=~"later"' not in query(plan, "expiring_tasks")
    assert 'queue_id=~"later"}[15m])) > 8 unless' in query(plan, "standing_queue")
    assert 'queue_id=~"files-dev-default-1|later"' in query(plan, "failing_attempts")


def test_the_pipeline_makes_none_of_it_unless_asked(root: MakeRoot) -> None:
    for environment, on in {"dev": False, "staging": True, "prod": True}.items():
        plan = root(f"environments/{environment}", project_id="demo-project").plan()
        assert bool(plan.of_type("google_monitoring_alert_policy")) is on, environment


# Rejections


REFUSED: list[Case] = [
    ({"lanes": {"own": LANE | {"service": ""}}}, "None of lanes has a service"),
    ({"lanes": {"default": LANE | {"retry_days": 1}}}, "retry_days must be at least 2"),
    ({"notification_channels": ["me@example.com"]}, "notification_channels has me@example.com"),
    ({"objective": {"days": 0}}, "objective.days is 0; Cloud Monitoring takes whole days"),
    ({"objective": {"days": 1.5}}, "objective.days is 1.5; Cloud Monitoring takes whole days"),
    ({"objective": {"goal": 0}}, "objective.goal is 0; it is a share above 0 and below 1"),
    ({"objective": {"goal": 1}}, "objective.goal is 1; it is a share above 0 and below 1"),
    ({"objective": {"days": 31}}, "objective.days is 31; Cloud Monitoring takes whole days"),
    ({"objective": {"seconds": 59}}, "objective.seconds is 59"),
    ({"runbook_url": "http://x"}, "runbook_url is http://x; it must be an https:// address"),
    (
        {"shares": {"failed_file": 0.5}},
        "shares has failed_file; known are failed_files, failing_attempts",
    ),
    ({"shares": {"failed_files": 1}}, "shares has failed_files = 1; each is above 0 and below 1"),
    ({"shares": {"failed_files": 0}}, "shares has failed_files = 0; each is above 0 and below 1"),
]


def test_the_bounds_themselves_are_taken(monitoring: Root) -> None:
    monitoring.plan(objective={"days": 1, "seconds": 60}, lanes={"a": LANE | {"retry_days": 2}})
    monitoring.plan(objective={"days": 30})


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(monitoring: Root, case: Case) -> None:
    assert case[1] in monitoring.refused(case, REFUSED)


def test_every_rule_refuses_something(monitoring: Root) -> None:
    assert unseen(monitoring, "terraform/modules/monitoring", REFUSED) == []
