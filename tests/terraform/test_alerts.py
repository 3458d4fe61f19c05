from __future__ import annotations

import pytest

from .conftest import MakeRoot
from .plans import Case, Root, case_id, unseen

ALERT = {
    "duration": 60,
    "first": "make ops",
    "means": "Something waits.",
    "query": "vector(1)",
    "severity": "ERROR",
    "title": "It waits",
}


@pytest.fixture(scope="module")
def alerts(root: MakeRoot) -> Root:
    return root(
        "terraform/modules/alerts",
        project_id="demo-project",
        name_prefix="files-dev",
        alerts={"it_waits": ALERT},
    )


def test_an_alert_says_what_it_means_what_to_type_and_where_to_read_on(alerts: Root) -> None:
    channel = "projects/demo-project/notificationChannels/1"
    plan = alerts.plan(
        runbook_url="https://example.com/runbook.md", notification_channels=[channel]
    )
    policy = plan['google_monitoring_alert_policy.this["it_waits"]']
    (documentation,) = policy["documentation"]
    assert policy["display_name"] == "files-dev: It waits"
    for said in ("Something waits.", "`make ops`", "https://example.com/runbook.md#it-waits"):
        assert said in documentation["content"]
    assert documentation["links"][0]["url"] == "https://example.com/runbook.md#it-waits"
    assert (policy["severity"], policy["notification_channels"]) == ("ERROR", [channel])
    (strategy,) = policy["alert_strategy"]
    assert (strategy["auto_close"], strategy["notification_prompts"]) == (
        "3600s", ["OPENED", "CLOSED"],
    )  # fmt: skip
    (promql,) = policy["conditions"][0]["condition_prometheus_query_language"]
    assert (promql["query"], promql["duration"]) == ("vector(1)", "60s")
    assert promql["disable_metric_validation"] is True


REFUSED: list[Case] = [
    (
        {"alerts": {"it_waits": ALERT | {"severity": "LOUD"}}},
        "alerts have the severities LOUD; each is CRITICAL, ERROR or WARNING",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(alerts: Root, case: Case) -> None:
    assert case[1] in alerts.refused(case, REFUSED)


def test_every_rule_refuses_something(alerts: Root) -> None:
    assert unseen(alerts, "terraform/modules/alerts", REFUSED) == []
