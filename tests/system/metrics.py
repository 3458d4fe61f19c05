"""What Cloud Monitoring would measure of a local run, derived from the local cloud's journal.

One small place: the series below, the log-based metrics as they were applied (their own filters and
extractors, run over the log entries), and whether a policy, as it was applied, fires at a time.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from tests.localcloud.services.observability.logfilter import compiled
from tests.localcloud.services.observability.service import entry
from tests.system.promql import Counter, Gauge, Labels, Vector, evaluate

Line = dict[str, Any]
WORKFLOW = "workflows.googleapis.com/Workflow"
EXECUTIONS = {
    "monitored_resource": "consumer_quota", "service": "workflowexecutions.googleapis.com",
}  # fmt: skip
ACKNOWLEDGED = (102, 200, 201, 202, 204)
LATENCIES = [1.25**power for power in range(70)]  # milliseconds, up to an hour and a half
SHARES = [part / 100 for part in range(1, 101)]


def seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


class Metrics:
    """The series of a run.

    Args:
        journal: all its lines.
        project: the project's id.
        log_metrics: LogMetric resources, as Cloud Logging returns them.
        memory: bytes that an instance of a service may use, for those whose memory is of interest.
    """

    def __init__(
        self,
        journal: Iterable[Line],
        project: str,
        log_metrics: Iterable[Mapping[str, Any]] = (),
        memory: Mapping[str, int] | None = None,
    ) -> None:
        self._project = project
        self._memory = memory or {}
        self._log_metrics = [_LogMetric(definition) for definition in log_metrics]
        self.series: dict[str, dict[Labels, Counter | Gauge]] = defaultdict(dict)
        self._steps: dict[tuple[str, Labels], list[tuple[float, int]]] = defaultdict(list)
        self._samples: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._events: dict[tuple[str, str], tuple[float, float]] = {}
        self._waiting = set[tuple[str, str]]()
        for line in journal:
            if reader := getattr(self, "_" + line["kind"].replace(".", "_"), None):
                reader(line, seconds(line["time"]))
        self._finish()

    def value(self, query: str, at: float) -> Vector:
        return evaluate(query, self.series, at)

    def firing(self, policy: Mapping[str, Any], at: float) -> bool:
        """Whether it has an incident: a condition held at each evaluation for its duration."""
        held = [
            all(
                self.value(condition["query"], at - step * interval)
                for step in range(int(_number(condition["duration"]) // interval) + 1)
            )
            for condition in (c["conditionPrometheusQueryLanguage"] for c in policy["conditions"])
            for interval in [_number(condition["evaluationInterval"])]
        ]
        return any(held) if policy["combiner"] == "OR" else all(held)

    # What each kind of line adds

    def _count(self, name: str, time: float, **labels: str) -> None:
        key = frozenset(labels.items())
        self.series[name].setdefault(key, Counter()).add(time)

    def _distribute(
        self, name: str, time: float, value: float, bounds: Iterable[float], **labels: str
    ) -> None:
        for bound in [*bounds, float("inf")]:
            key = frozenset({**labels, "le": str(bound).replace("inf", "+Inf")}.items())
            counter = self.series[name + "_bucket"].setdefault(key, Counter())
            if value <= bound:
                counter.add(time)

    def _pubsub_push(self, line: Line, time: float) -> None:
        subscription, status = line["subscription"], line["status"]
        acknowledged = status in ACKNOWLEDGED and "lost_ack" not in line
        answer = (
            "ack" if status in ACKNOWLEDGED
            else "deadline_exceeded" if status is None
            else f"remote_server_{status // 100}xx"
        )  # fmt: skip
        self._count(
            "pubsub_googleapis_com:subscription_push_request_count",
            time,
            **_pubsub(subscription),
            response_class=answer,
        )
        key = subscription, line["message"]
        began = self._events.get(key, (time - line["seconds"], 0.0))[0]
        if key not in self._events:  # pushed as soon as it was published
            topic = {"monitored_resource": "pubsub_topic"}
            topic["topic_id"] = subscription.removesuffix("-bridge") + "-uploads"
            name = "pubsub_googleapis_com:topic_send_message_operation_count"
            self._count(name, began, **topic)
        self._events[key] = began, time if acknowledged else float("inf")

    def _pubsub_dead_letter(self, line: Line, time: float) -> None:
        labels = _pubsub(line["subscription"])
        name = "pubsub_googleapis_com:subscription_dead_letter_message_count"
        self._count(name, time, **labels)
        self._pulled(line, time)

    def _pubsub_waiting(self, line: Line, time: float) -> None:
        """In a subscription that is pulled."""
        self._waiting.add(key := (line["subscription"], line["message"]))
        self._events[key] = time, float("inf")
        self._step("num_undelivered_messages", time, 1, **_pubsub(line["subscription"]))

    def _pubsub_acknowledged(self, line: Line, time: float) -> None:
        self._pulled(line, time)

    def _pulled(self, line: Line, time: float) -> None:
        """Gone from its subscription."""
        key = line["subscription"], line["message"]
        self._events[key] = self._events[key][0], time
        if key in self._waiting:
            self._waiting.remove(key)
            self._step("num_undelivered_messages", time, -1, **_pubsub(line["subscription"]))

    def _run_execution(self, line: Line, time: float) -> None:
        ended = "succeeded" if line["state"] == "CONDITION_SUCCEEDED" else "cancelled"
        result = "failed" if line["failed"] else ended
        labels = {"monitored_resource": "cloud_run_job", "job_name": line["job"]}
        name = "run_googleapis_com:job_completed_execution_count"
        self._count(name, time, **labels, result=result)

    def _api(self, line: Line, time: float) -> None:
        if line["method"].endswith("queues.tasks.create") and line["code"] == 200:
            self._step("queue_depth", time, 1, **_queue(line["params"]["parent"].rsplit("/")[-1]))

    def _tasks_end(self, line: Line, time: float) -> None:
        self._step("queue_depth", time, -1, **_queue(line["queue"]))

    def _workflows_start(self, line: Line, time: float) -> None:
        self._step("quota_concurrent_usage", time, 1, **EXECUTIONS)

    def _workflows_execution(self, line: Line, time: float) -> None:
        self._step("quota_concurrent_usage", time, -1, **EXECUTIONS)
        name = "workflows_googleapis_com:finished_execution_count"
        labels = {"monitored_resource": WORKFLOW, "workflow_id": line["workflow"]}
        self._count(name, time, **labels, status=line["state"])

    def _step(self, name: str, time: float, change: int, **labels: str) -> None:
        self._steps[name, frozenset(labels.items())].append((time, change))

    def _tasks_attempt(self, line: Line, time: float) -> None:
        status = line["status"]
        answer = "ok" if status and 200 <= status < 300 else str(status or "unavailable")
        name = "cloudtasks_googleapis_com:queue_task_attempt_count"
        self._count(name, time, **_queue(line["queue"]), response_code=answer)

    def _run_request(self, line: Line, time: float) -> None:
        labels = _service(line["service"])
        status = line["status"]
        answer = {"response_code": str(status), "response_code_class": f"{status // 100}xx"}
        self._count("run_googleapis_com:request_count", time, **labels, **answer)
        name, taken = "run_googleapis_com:request_latencies", 1000 * line["seconds"]
        self._distribute(name, time, taken, LATENCIES, **labels, **answer)

    def _gauge(self, line: Line, time: float) -> None:
        """Cloud Run looks every minute; the journal has what changed. Held for ten minutes."""
        if line["metric"] == "memory" and (limit := self._memory.get(line["service"])):
            samples = self._samples[line["service"]]
            samples += [(time + 60 * minute, line["value"] / limit) for minute in range(10)]

    def _log(self, line: Line, time: float) -> None:
        made = entry(line, self._project)
        payload = made.get("jsonPayload", {})
        if "age_seconds" in payload and "generation" in payload:
            # The function reads the machine's clock, which a driven clock has left behind. The
            # generation is the upload's time, in microseconds of the cloud's clock.
            payload["age_seconds"] = time - int(payload["generation"]) / 1e6
        for metric in self._log_metrics:
            if not metric.matches(made):
                continue
            labels = _source(line) | metric.labels(made)
            if metric.bounds:
                self._distribute(metric.name, time, metric.value(made), metric.bounds, **labels)
            else:
                self._count(metric.name, time, **labels)

    def _finish(self) -> None:
        memory = "run_googleapis_com:container_memory_utilizations"
        for service, samples in self._samples.items():
            for time, share in sorted(samples):
                self._distribute(memory, time, share, SHARES, **_service(service))
        names = {
            "quota_concurrent_usage": "serviceruntime_googleapis_com:quota_concurrent_usage",
            "queue_depth": "cloudtasks_googleapis_com:queue_depth",
            "num_undelivered_messages": (
                "pubsub_googleapis_com:subscription_num_undelivered_messages"
            ),
        }
        for (name, labels), steps in self._steps.items():
            self.series[names[name]][labels] = _stairs(sorted(steps))
        by_subscription: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for (subscription, _), span in self._events.items():
            by_subscription[subscription].append(span)
        ages = self.series["pubsub_googleapis_com:subscription_oldest_unacked_message_age"]
        for subscription, spans in by_subscription.items():
            ages[frozenset(_pubsub(subscription).items())] = _oldest(spans)


def _pubsub(subscription: str) -> dict[str, str]:
    return {"monitored_resource": "pubsub_subscription", "subscription_id": subscription}


def _queue(queue: str) -> dict[str, str]:
    return {"monitored_resource": "cloud_tasks_queue", "queue_id": queue}


def _service(service: str) -> dict[str, str]:
    return {"monitored_resource": "cloud_run_revision", "service_name": service}


def _source(line: Line) -> dict[str, str]:
    """Where a log line comes from."""
    if "workflow" in line:
        return {"monitored_resource": WORKFLOW, "workflow_id": line["workflow"]}
    return _service(line["service"])


def _number(duration: str) -> float:
    return float(duration.removesuffix("s"))


def _stairs(steps: list[tuple[float, int]]) -> Gauge:
    return Gauge(lambda at: sum(step for time, step in steps if time <= at), [t for t, _ in steps])


def _oldest(spans: list[tuple[float, float]]) -> Gauge:
    """Age of the oldest that waits; 0 when none does."""

    def at(now: float) -> float:
        return max((now - began for began, ended in spans if began <= now < ended), default=0.0)

    return Gauge(at, [time for span in spans for time in span])


class _LogMetric:
    """A log-based metric, as Cloud Logging holds it."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self.name = promql_name(definition["name"])
        self.matches: Callable[[Line], bool] = compiled(definition["filter"])
        self._labels = {k: _path(v) for k, v in definition.get("labelExtractors", {}).items()}
        self._value = _path(definition["valueExtractor"]) if "valueExtractor" in definition else ()
        self.bounds: list[float] = []
        if buckets := definition.get("bucketOptions", {}).get("exponentialBuckets"):
            self.bounds = [
                buckets["scale"] * buckets["growthFactor"] ** power
                for power in range(int(buckets["numFiniteBuckets"]) + 1)
            ]

    def labels(self, made: Line) -> dict[str, str]:
        found = {label: _at(made, path) for label, path in self._labels.items()}
        return {label: str(value) for label, value in found.items() if value is not None}

    def value(self, made: Line) -> float:
        return float(_at(made, self._value))


def promql_name(metric: str) -> str:
    """The PromQL name of a log-based metric."""
    return "logging_googleapis_com:user_" + re.sub(r"[^A-Za-z0-9_]", "_", metric)


def _path(extractor: str) -> tuple[str, ...]:
    match = re.fullmatch(r"EXTRACT\(([\w.]+)\)", extractor)
    assert match, f"{extractor} is not served here"
    return tuple(match[1].split("."))


def _at(made: Line, path: Iterable[str]) -> Any:
    value: Any = made
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value
