"""Each alert's figures: it is silent just below every bound and rings just above it; what its
metrics count, and what the dashboard draws of them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.localcloud.services.observability.logfilter import matches
from tests.system.promql import Counter, Gauge, Labels, evaluate

from .plans import Plan, Root
from .test_monitoring import LANE, SLO, monitoring, query

__all__ = ["monitoring"]  # the fixture

NOW = 1_000_000.0
MINUTE, HOUR, DAY = 60, 3600, 86400
QUEUE, TOPIC, SERVICE = "files-dev-default-1", "files-dev-uploads", "files-dev-processor-default"
RUN = {"monitored_resource": "cloud_run_revision", "service_name": SERVICE}
TASKS = {"monitored_resource": "cloud_tasks_queue", "queue_id": QUEUE}
PUSH = {"monitored_resource": "pubsub_subscription", "subscription_id": "files-dev-bridge"}
DEAD = PUSH | {"subscription_id": "files-dev-dead-letters"}
SENT = {"monitored_resource": "pubsub_topic", "topic_id": TOPIC}
Found = dict[str, dict[Labels, Counter | Gauge]]


@pytest.fixture(scope="module")
def plan(monitoring: Root) -> Plan:
    return monitoring.plan()


def counted(name: str, amount: float, ago: float = 10, **labels: str) -> Found:
    """A metric that grew by this much, so many seconds before now."""
    counter = Counter()
    counter.add(NOW - ago, amount)
    return {name: {frozenset(labels.items()): counter}}


def logged(name: str, amount: float, ago: float = 10, **labels: str) -> Found:
    name = f"logging_googleapis_com:user_files_dev_{name}"
    return counted(name, amount, ago, monitored_resource="cloud_run_revision", **labels)


def stands_at(name: str, value: float, since: float = 10 * DAY, **labels: str) -> Found:
    """A gauge: 0 until so many seconds before now, then value."""
    start = NOW - since
    gauge = Gauge(lambda t: value if t >= start else 0.0, [start])
    return {name: {frozenset(labels.items()): gauge}}


def within(name: str, low: float, high: float, count: float, **labels: str) -> Found:
    """A distribution whose values all lie from low to high."""
    found: dict[Labels, Counter | Gauge] = {}
    for bound, many in ((low, 0.0), (high, count), (float("inf"), count)):
        found |= counted(name, many, **labels, le=str(bound))[name]
    return {name: found}


def rings(plan: Plan, alert: str, *series: Found) -> bool:
    together: Found = {}
    for one in series:
        for name, held in one.items():
            together.setdefault(name, {}).update(held)
    return evaluate(query(plan, alert), together, NOW) != {}


def share(alert: str, bad: float, all_of_it: float, ago: float = 10) -> list[Found]:
    """bad out of all, as the alert's metric tells them apart."""
    good = all_of_it - bad
    pushes = "pubsub_googleapis_com:subscription_push_request_count"
    attempts = "cloudtasks_googleapis_com:queue_task_attempt_count"
    answers = "run_googleapis_com:request_count"
    return {
        "push_errors": lambda: [
            counted(pushes, bad, ago, **PUSH, response_class="remote_server_4xx"),
            counted(pushes, good, ago, **PUSH, response_class="ack"),
        ],
        "failing_attempts": lambda: [
            counted(attempts, bad, ago, **TASKS, response_code="unavailable"),
            counted(attempts, good, ago, **TASKS, response_code="ok"),
        ],
        "processor_errors": lambda: [
            counted(answers, bad, ago, **RUN, response_code_class="5xx"),
            counted(answers, good, ago, **RUN, response_code_class="4xx"),
        ],
        "failed_files": lambda: [
            logged("finished", bad, ago, outcome="failed", reason="truncated_image"),
            logged("finished", good, ago, outcome="done"),
        ],
    }[alert]()


# Alert → at most so many, at most this share, in this window.
SHARES = {
    "push_errors": (5, 0.1, 5 * MINUTE),
    "failing_attempts": (10, 0.1, 10 * MINUTE),
    "processor_errors": (10, 0.05, 10 * MINUTE),
    "failed_files": (5, 0.2, HOUR),
}


@pytest.mark.parametrize("alert", SHARES)
def test_a_share_rings_above_its_least_number_and_above_its_share_alone(
    plan: Plan, alert: str
) -> None:
    number, part, window = SHARES[alert]
    assert not rings(plan, alert, *share(alert, number, number))
    assert rings(plan, alert, *share(alert, number + 1, number + 1))
    assert not rings(plan, alert, *share(alert, 4 * number, 4 * number / part))
    assert rings(plan, alert, *share(alert, 4 * number + 1, 4 * number / part))
    assert rings(plan, alert, *share(alert, 99, 99, window - 1))
    assert not rings(plan, alert, *share(alert, 99, 99, window + 1))


def test_one_that_waits_where_none_may_rings(plan: Plan) -> None:
    name = "pubsub_googleapis_com:subscription_num_undelivered_messages"
    assert not rings(plan, "dead_letters", stands_at(name, 0, **DEAD))
    assert not rings(plan, "dead_letters", stands_at(name, 9, **PUSH)), "these are on their way"
    assert rings(plan, "dead_letters", stands_at(name, 1, **DEAD))
    for alert, metric in (("old_tasks", "overdue"), ("expiring_tasks", "expiring")):
        assert rings(plan, alert, logged(metric, 1, 14 * MINUTE))
        assert not rings(plan, alert, logged(metric, 1, 16 * MINUTE))


def test_events_wait_as_long_as_the_objective_lets_them(plan: Plan) -> None:
    name = "pubsub_googleapis_com:subscription_oldest_unacked_message_age"
    assert not rings(plan, "waiting_events", stands_at(name, 300, **PUSH))
    assert rings(plan, "waiting_events", stands_at(name, 301, **PUSH))


def test_a_queue_stands_when_it_holds_tasks_for_its_patience_and_none_succeeds(plan: Plan) -> None:
    def queue(since: float, *more: Found) -> bool:
        depth = stands_at("cloudtasks_googleapis_com:queue_depth", 1, since, **TASKS)
        return rings(plan, "standing_queue", depth, *more)

    def attempt(ago: float, code: str) -> Found:
        name = "cloudtasks_googleapis_com:queue_task_attempt_count"
        return counted(name, 1, ago, **TASKS, response_code=code)

    assert queue(15 * MINUTE + 1)
    assert not queue(15 * MINUTE - 1)
    assert queue(HOUR, attempt(10, "unavailable"))
    assert not queue(HOUR, attempt(14 * MINUTE, "ok"))
    assert queue(HOUR, attempt(16 * MINUTE, "ok"))


def test_the_processor_is_slow_from_four_fifths_of_its_time_and_twenty_requests_on(
    plan: Plan,
) -> None:
    def slow(low: float, high: float, count: int) -> bool:
        latencies = within("run_googleapis_com:request_latencies_bucket", low, high, count, **RUN)
        requests = counted("run_googleapis_com:request_count", count, **RUN)
        return rings(plan, "slow_processor", latencies, requests)

    assert LANE["work_seconds"] == 300
    assert slow(240_100, 250_000, 20)
    assert not slow(240_100, 250_000, 19)
    assert not slow(230_000, 239_900, 1000)


def test_memory_is_short_above_nine_tenths(plan: Plan) -> None:
    name = "run_googleapis_com:container_memory_utilizations_bucket"
    assert rings(plan, "memory", within(name, 0.901, 0.91, 1, **RUN))
    assert not rings(plan, "memory", within(name, 0.89, 0.899, 100, **RUN))


def test_nothing_is_finished_when_more_arrived_than_was_passed_over(plan: Plan) -> None:
    name = "pubsub_googleapis_com:topic_send_message_operation_count"

    def silent(arrived: int, passed: int, finished: int, ago: float = 10) -> bool:
        return not rings(
            plan, "nothing_finished", counted(name, arrived, ago, **SENT),
            logged("passed_over", passed), logged("finished", finished, outcome="done"),
        )  # fmt: skip

    assert silent(1, 1, 0)
    assert not silent(2, 1, 0)
    assert silent(2, 1, 1)
    assert not silent(1, 0, 0, 14 * MINUTE)
    assert silent(1, 0, 0, 16 * MINUTE)


BURNS = {"fast_burn": (0.0144, 5 * MINUTE), "slow_burn": (0.006, 30 * MINUTE)}


@pytest.mark.parametrize("alert", BURNS)
def test_the_allowance_burns_above_its_rate_and_three_files_while_it_goes_on(
    plan: Plan, alert: str
) -> None:
    rate, short = BURNS[alert]

    def burning(missed: int, good: float, ago: float = 10) -> bool:
        return rings(plan, alert, logged("missed", missed, ago), logged("in_time", good, ago))

    assert burning(4, 4 / rate - 4 - 1)
    assert not burning(4, 4 / rate - 4 + 1)
    assert not burning(3, 0)
    assert burning(4, 0, short - 1)
    assert not burning(4, 0, short + 1)


# What is counted


def line(service: str = SERVICE, **payload: Any) -> dict[str, Any]:
    labels = {"service_name": service}
    resource = {"type": "cloud_run_revision", "labels": labels}
    return {"resource": resource, "jsonPayload": {"run": 0, "age_seconds": 1} | payload}


DONE, FAILED = {"event": "done"}, {"event": "failed", "retryable": True}
OLD = {"event": "retry", "age_seconds": 6 * DAY}
# Metric → a line that it counts.
COUNTED = {
    "expiring": OLD,
    "finished": DONE,
    "in_time": DONE,
    "missed": FAILED,
    "overdue": OLD,
}


@pytest.mark.parametrize("metric", COUNTED)
def test_a_metric_counts_the_processors_and_the_first_run_alone(plan: Plan, metric: str) -> None:
    filter_ = plan[f'google_logging_metric.counter["{metric}"]']["filter"]
    assert matches(filter_, line(**COUNTED[metric]))
    for other in ("files-dev-bridge", "files-staging-processor-default", f"{SERVICE}-2"):
        assert not matches(filter_, line(other, **COUNTED[metric])), other
    redriven = matches(filter_, line(**COUNTED[metric] | {"run": 1}))
    assert redriven is (metric == "finished"), "a redrive says nothing about how long one waits"


def test_a_metric_of_the_bridge_counts_the_bridge_alone(plan: Plan) -> None:
    filter_ = plan['google_logging_metric.counter["passed_over"]']["filter"]
    assert matches(filter_, line("files-dev-bridge", event="ignored"))
    assert matches(filter_, line("files-dev-bridge", event="enqueued", reason="handed_over"))
    assert not matches(filter_, line("files-dev-bridge", event="enqueued", reason="created"))
    assert not matches(filter_, line(SERVICE, event="ignored"))


@pytest.mark.parametrize(
    ("metric", "below", "above"),
    [
        ("in_time", DONE | {"age_seconds": 301}, DONE | {"age_seconds": 300}),
        ("missed", DONE | {"age_seconds": 300}, DONE | {"age_seconds": 301}),
        ("missed", FAILED | {"retryable": False}, FAILED),
        ("in_time", FAILED, DONE),
        ("overdue", OLD | {"age_seconds": HOUR}, OLD | {"age_seconds": HOUR + 1}),
        ("expiring", OLD | {"age_seconds": 3 * DAY}, OLD | {"age_seconds": 3 * DAY + 1}),
    ],
)
def test_a_metric_counts_from_its_bound_on(
    plan: Plan, metric: str, below: dict[str, Any], above: dict[str, Any]
) -> None:
    filter_ = plan[f'google_logging_metric.counter["{metric}"]']["filter"]
    assert not matches(filter_, line(**below))
    assert matches(filter_, line(**above))


def test_the_objective_counts_what_is_in_time_as_good_and_what_missed_it_as_bad(plan: Plan) -> None:
    (ratio,) = plan[SLO]["request_based_sli"][0]["good_total_ratio"]
    of = 'metric.type="logging.googleapis.com/user/files_dev_{}" resource.type="cloud_run_revision"'
    assert ratio["good_service_filter"] == of.format("in_time")
    assert ratio["bad_service_filter"] == of.format("missed")
    assert not ratio.get("total_service_filter")


def test_failures_are_drawn_by_reason_and_files_by_outcome(plan: Plan) -> None:
    dashboard = plan["module.dashboard.google_monitoring_dashboard.this"]["dashboard_json"]
    tiles = {
        tile["widget"]["title"]: json.dumps(tile["widget"].get("xyChart", {}))
        for tile in json.loads(dashboard)["mosaicLayout"]["tiles"]
    }
    series = logged("finished", 2, outcome="failed", reason="truncated_image")
    for name, held in logged("finished", 5, outcome="done").items():
        series[name] |= held
    drawn = {}
    for title in ("Failures by reason", "Files by outcome"):
        (chart,) = json.loads(tiles[title])["dataSets"]
        drawn[title] = evaluate(chart["timeSeriesQuery"]["prometheusQuery"], series, NOW)
    assert drawn["Failures by reason"] == {frozenset({("reason", "truncated_image")}): 2}
    assert drawn["Files by outcome"] == {
        frozenset({("outcome", "failed")}): 2,
        frozenset({("outcome", "done")}): 5,
    }
