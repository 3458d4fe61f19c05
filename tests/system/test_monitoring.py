"""Each alert is driven to ring, and rings alone with those that belong to it; then it is fixed.

What fires is decided from the journal by the policies as they were applied (metrics.py).
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from tests.localcloud.client import ROOT
from tests.localcloud.core.api import Document
from tests.localcloud.core.errors import ApiError
from tests.localcloud.services.observability.logfilter import FilterError, matches
from tests.system.metrics import Metrics
from tests.system.named import LIST, faults, queries, unknown
from tests.system.operating import RUNBOOK, commands, typed
from tests.system.pipeline import jpeg
from tests.system.promql import Counter, Gauge, QueryError, chosen, evaluate, parse, selectors
from tests.system.watched import Watched, watching

sys.path.insert(0, str(ROOT / "functions"))

from contract.identity import Work

BRIDGE, PROCESSOR = "files-dev-bridge", "files-dev-processor-default"
HOUR, DAY = 3600, 86400
BROKEN = jpeg(64, 64)[:600]
LATE = {"fast_burn", "slow_burn"}  # what follows when files of an outage come after their time
driven: set[str] = set()


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with watching() as made:
        yield made


@pytest.fixture
def quiet(watched: Watched) -> Iterator[Watched]:
    """Nothing rings before; nothing rings once the fixed fault is a day past."""
    assert watched.firing() == set()
    yield watched
    watched.cloud.delete("/faults")
    for service in (BRIDGE, PROCESSOR):
        watched.cloud.post("/run/up", {"service": service})
    watched.cloud.advance(DAY + HOUR)
    watched.settle()
    assert watched.firing() == set()


def uploaded(watched: Watched, name: str, times: int, data: bytes | None = None) -> None:
    for number in range(times):
        watched.upload(f"{name}/{number}.jpg", data or jpeg(32, 32))


def rings(watched: Watched, *alerts: str, **memory: int) -> None:
    assert watched.firing(**memory) == set(alerts)
    driven.update(alerts)


# Each alert


def test_good_days_ring_nothing(quiet: Watched) -> None:
    uploaded(quiet, "good", 12)
    uploaded(quiet, "slow/good", 3)
    quiet.upload("good/folder/", b"", "application/x-directory")
    quiet.settle()
    for minutes in (1, 5, 20, 90):
        quiet.cloud.advance(60 * minutes)
        rings(quiet)


def test_one_broken_file_among_good_ones_rings_nothing(quiet: Watched) -> None:
    uploaded(quiet, "mixed", 5)
    uploaded(quiet, "mixed/broken", 1, BROKEN)
    quiet.settle()
    for minutes in (1, 20):
        quiet.cloud.advance(60 * minutes)
        rings(quiet)


def test_only_folder_markers_ring_nothing(quiet: Watched) -> None:
    for number in range(3):
        quiet.upload(f"folders/{number}/", b"", "application/x-directory")
    quiet.settle()
    quiet.heard("folders/", 3)
    quiet.cloud.advance(600)
    rings(quiet)


def test_a_bridge_that_is_away_for_ten_minutes(quiet: Watched) -> None:
    quiet.cloud.post("/run/down", {"service": BRIDGE})
    uploaded(quiet, "bridge", 12)
    quiet.cloud.advance(60)
    rings(quiet)  # too early to know
    quiet.cloud.advance(540)
    rings(quiet, "waiting_events", "push_errors", "nothing_finished")
    quiet.cloud.post("/run/up", {"service": BRIDGE})
    quiet.cloud.advance(120)
    rings(quiet, *LATE)  # everything is done, but late
    assert len(quiet.listing("manifests/bridge/")) == 12


def test_a_processor_that_is_away_for_longer_than_a_task_rests(quiet: Watched) -> None:
    quiet.cloud.post("/run/down", {"service": PROCESSOR})
    uploaded(quiet, "away", 12)
    quiet.cloud.advance(600)
    rings(quiet, "failing_attempts", "processor_errors", "nothing_finished")
    quiet.cloud.advance(HOUR + 120)
    uploaded(quiet, "away/more", 3)
    quiet.cloud.advance(600)
    rings(quiet, "failing_attempts", "processor_errors", "nothing_finished", "standing_queue")
    quiet.cloud.post("/run/up", {"service": PROCESSOR})
    quiet.cloud.advance(700)
    quiet.settle()
    assert quiet.firing() <= LATE | {"failing_attempts"}  # of before, until their windows end
    assert len(quiet.listing("manifests/away/")) == 15
    quiet.cloud.advance(HOUR)
    rings(quiet)


def test_a_permission_taken_from_the_tasks_invoker(quiet: Watched) -> None:
    project = quiet.cloud.project
    binding = {
        "resource": f"projects/{project}/locations/us-central1/services/{PROCESSOR}",
        "role": "roles/run.invoker",
        "member": f"serviceAccount:files-dev-tasks-invoker@{project}.iam.gserviceaccount.com",
    }
    quiet.cloud.post("/bindings", binding | {"present": False})
    uploaded(quiet, "forbidden", 12)
    quiet.cloud.advance(600)
    # 403 is Cloud Run's answer, not the processor's.
    rings(quiet, "failing_attempts", "nothing_finished")
    quiet.cloud.post("/bindings", binding | {"present": True})


def test_an_object_that_storage_does_not_give_for_hours_then_days(quiet: Watched) -> None:
    rule = {"method": "storage.objects.get", "object": "slow/stuck/*", "code": 503}
    quiet.cloud.post("/faults", {"rules": [rule]})
    uploaded(quiet, "slow/stuck", 1)
    quiet.cloud.advance(2 * HOUR)
    uploaded(quiet, "slow/fine", 1)
    quiet.settle()
    rings(quiet, "old_tasks")
    # Paused meanwhile, so that three days of attempts need not be waited for.
    queue = "https://cloudtasks.googleapis.com/v2/" + quiet.outputs["queues"]["slow"]
    quiet.ask("POST", queue + ":pause", {})
    quiet.cloud.advance(3 * DAY)
    quiet.ask("POST", queue + ":resume", {})
    uploaded(quiet, "slow/still-fine", 1)
    quiet.settle()
    rings(quiet, "old_tasks", "expiring_tasks")
    quiet.cloud.delete("/faults")
    quiet.cloud.advance(2 * HOUR)
    quiet.settle()
    assert len(quiet.listing("manifests/slow/stuck/")) == 1


def test_a_queue_that_somebody_paused(quiet: Watched) -> None:
    queue = "https://cloudtasks.googleapis.com/v2/" + quiet.outputs["queues"]["default"]
    quiet.ask("POST", queue + ":pause", {})
    uploaded(quiet, "paused", 1)
    quiet.cloud.advance(90 * 60)
    rings(quiet, "standing_queue")
    quiet.cloud.advance(DAY)
    rings(quiet, "standing_queue", "expiring_tasks")
    quiet.ask("POST", queue + ":resume", {})
    quiet.settle()
    quiet.cloud.advance(120)
    rings(quiet)


def test_events_that_become_dead_letters(quiet: Watched) -> None:
    quiet.cloud.post("/run/down", {"service": BRIDGE})
    uploaded(quiet, "dead", 1)
    quiet.cloud.advance(DAY)
    rings(quiet, "dead_letters")  # and nothing else: it waits no more
    quiet.cloud.post("/run/up", {"service": BRIDGE})
    quiet.cloud.advance(HOUR)
    rings(quiet, "dead_letters")
    quiet.operate("redrive", "--dead-letters", "--apply")
    quiet.settle()
    rings(quiet)
    assert len(quiet.listing("manifests/dead/")) == 1


def test_a_client_that_uploads_broken_files(quiet: Watched) -> None:
    uploaded(quiet, "sound", 10)
    uploaded(quiet, "broken", 8, BROKEN)
    quiet.settle()
    rings(quiet, "failed_files")
    quiet.cloud.advance(HOUR + 60)
    rings(quiet)


def test_a_processor_near_its_deadline(quiet: Watched) -> None:
    rule = {"method": "storage.objects.get", "object": "slow/*", "code": 0, "delay": 1.7}
    quiet.cloud.post("/faults", {"rules": [rule]})
    uploaded(quiet, "slow/near", 24)
    quiet.settle()
    assert "slow_processor" not in quiet.firing()  # for five minutes, or it does not matter
    quiet.cloud.advance(330)
    assert "slow_processor" in quiet.firing()
    driven.add("slow_processor")


def test_instances_near_their_memory_limit(quiet: Watched) -> None:
    """What an instance really held during this test, against limits that it would be near to."""
    before = len(quiet.cloud.journal("gauge"))
    uploaded(quiet, "memory", 3)
    quiet.settle()
    quiet.cloud.advance(400)
    gauges = quiet.cloud.journal("gauge")[before:]
    held = max(g["value"] for g in gauges if g["metric"] == "memory" and g["service"] == PROCESSOR)
    rings(quiet, **{PROCESSOR: 2 * held})
    rings(quiet, "memory", **{PROCESSOR: int(held / 0.95)})


def test_every_alert_was_driven(watched: Watched) -> None:
    assert driven == set(watched.policies)


# What alerts and the dashboard name


def test_queries_name_nothing_that_is_not_in_the_list(watched: Watched) -> None:
    assert len(queries(watched)) > 20
    assert faults(watched) == {}


def test_the_list_names_a_source_for_everything() -> None:
    for group in ("resources", "metrics"):
        assert all(one["source"].startswith("https://") for one in LIST[group].values())


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("queue_oldest{}", "metric queue_oldest"),
        ('DEPTH{monitored_resource="cloud_tasks_queue",queue="x"}', "label queue of DEPTH"),
        (
            'max(DEPTH{monitored_resource="pubsub_topic"})',
            "DEPTH is of cloud_tasks_queue, not of ['pubsub_topic']",
        ),
        ("DEPTH_bucket", "DEPTH_bucket is not a gauge"),
    ],
)
def test_a_query_that_names_something_else_is_noticed(query: str, fault: str) -> None:
    depth = "cloudtasks_googleapis_com:queue_depth"
    assert fault.replace("DEPTH", depth) in unknown(query.replace("DEPTH", depth), {})


def test_log_metrics_read_fields_that_are_documented(watched: Watched) -> None:
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs/reasons.md").read_text()))
    for metric in watched.log_metrics:
        text = metric["filter"] + json.dumps(metric.get("labelExtractors", {}))
        named = set(re.findall(r"jsonPayload\.(\w+)", text + metric.get("valueExtractor", "")))
        assert named <= documented, metric["name"]
        events = set(re.findall(r'"([a-z_]+)"', re.sub(r"resource\S+", "", metric["filter"])))
        assert events <= documented, metric["name"]


def test_alerts_may_name_metrics_that_are_not_there_yet(watched: Watched) -> None:
    for policy in watched.policies.values():
        (condition,) = policy["conditions"]
        assert condition["conditionPrometheusQueryLanguage"]["disableMetricValidation"] is True


def test_the_dashboard_is_what_the_api_takes(watched: Watched) -> None:
    document = Document("monitoring.v1")
    document.check(watched.dashboard, {"$ref": "Dashboard"})
    wrong = watched.dashboard | {"mosaicLayout": {"tiles": [{"widgets": {}}]}}
    with pytest.raises(ApiError, match="widgets"):
        document.check(wrong, {"$ref": "Dashboard"})


def test_the_dashboards_rows_follow_the_pipeline(watched: Watched) -> None:
    tiles = watched.dashboard["mosaicLayout"]["tiles"]
    heads = [tile for tile in tiles if "sectionHeader" in tile["widget"]]
    heads.sort(key=lambda tile: tile.get("yPos", 0))
    titles = [tile["widget"]["title"] for tile in heads]
    assert titles == ["Events", "Bridge", "Queue", "Processor", "Results"]
    taken: set[tuple[int, int]] = set()
    for tile in tiles:
        cells = {
            (x, y)
            for x in range(int(tile.get("xPos", 0)), int(tile.get("xPos", 0) + tile["width"]))
            for y in range(int(tile.get("yPos", 0)), int(tile.get("yPos", 0) + tile["height"]))
        }
        assert not cells & taken, tile["widget"]["title"]
        assert max(x for x, _ in cells) < watched.dashboard["mosaicLayout"]["columns"]
        taken |= cells


def moments(measured: Metrics, query: str) -> Iterator[float]:
    """When the series of a query change, and the middles between: it shows something then or never.

    Counters change by what is shown; gauges run straight from one change to the next.
    """
    for selector in selectors(query):
        for one in chosen(selector, measured.series).values():
            if isinstance(one, Counter):
                yield from one.times
            else:
                changes = sorted(time for time in one.changes if math.isfinite(time))
                yield from ((a + b) / 2 for a, b in pairwise(changes) if a < b)


def test_every_tile_shows_something_after_these_tests(watched: Watched) -> None:
    measured = watched.metrics()
    empty = [
        where
        for where, query in queries(watched).items()
        if where.startswith("dashboard")
        and "memory_utilizations" not in query  # is measured where limits are named
        and not any(any(measured.value(query, at).values()) for at in moments(measured, query))
    ]
    assert empty == []


# The runbook and the page about logs

PAGES = RUNBOOK + (ROOT / "docs/logs.md").read_text()


def test_every_alert_has_its_section() -> None:
    """Those of the pipeline first, in their order; then those of capabilities."""
    found = []
    paths = sorted(
        (ROOT / "terraform").rglob("*.tf"), key=lambda path: "monitoring/" not in str(path)
    )
    for path in paths:
        for alert in re.findall(r'^ +"?([\w${}.]+)"? = \{\n +severity', path.read_text(), re.M):
            roles = ("approvals", "completions", "observers") if "${var.role}" in alert else ("",)
            found += [alert.replace("${var.role}", role).replace("_", "-") for role in roles]
    sections = re.findall(r"^## ([\w-]+)$", RUNBOOK, re.M)
    assert sorted(found) == sorted(sections)
    for part in RUNBOOK.split("\n## ")[1:]:
        for heading in ("**Look**", "**Fix.**", "**Fixed when**"):
            assert heading in part, part.split("\n")[0]


def test_an_alert_tells_its_first_command_and_section(watched: Watched) -> None:
    sections = dict(re.findall(r"^## ([\w-]+)$(.*?)(?=^## |\Z)", RUNBOOK, re.M | re.S))
    for key, policy in watched.policies.items():
        section, content = key.replace("_", "-"), policy["documentation"]["content"]
        assert f"docs/runbook.md#{section}" in content
        (first,) = re.findall(r"`(make .*)`", content)
        short = first.replace(f"ENV=dev PROJECT={watched.cloud.project} ", "")
        assert short in sections[section], key


@pytest.fixture(scope="module")
def story(watched: Watched) -> dict[str, str]:
    """What the commands of the pages are told: an object and what follows from it."""
    name = "stories/one.jpg"
    generation = watched.process(name, jpeg(32, 32))
    trace = Work(watched.uploads, name, str(generation)).trace
    return {
        "ENV": "dev",
        "NAME": "files-dev",
        "OBJECT": f"gs://{watched.uploads}/{name}",
        "PROJECT": watched.cloud.project,
        "QUEUE": watched.outputs["queues"]["default"].rsplit("/")[-1],
        "REGION": "us-central1",
        "TRACE": trace,
    }


def test_the_pages_commands_run(watched: Watched, story: dict[str, str]) -> None:
    with ThreadPoolExecutor(3) as pool:
        told = commands("sh", PAGES)
        results = dict(
            zip(told, pool.map(lambda c: typed(watched.deployment, c, **story), told), strict=True)
        )
    failed = {command: output for command, (code, output) in results.items() if code != 0}
    assert failed == {}
    assert "already_exists" not in results["make ops ARGS=reconcile"][1]
    lines = results['make logs OBJECT="$OBJECT"'][1]
    assert f'trace="projects/{watched.cloud.project}/traces/{story["TRACE"]}"' in lines
    for event in ("enqueued", "started", "done"):
        assert event in lines


@pytest.mark.skipif(
    not shutil.which("gcloud"), reason="gcloud is not here: its commands did not run"
)
def test_the_pages_gcloud_commands_run(watched: Watched, story: dict[str, str]) -> None:
    results = {
        command: typed(watched.deployment, command, **story)
        for command in commands("sh gcloud", PAGES)
    }
    failed = {command: output for command, (code, output) in results.items() if code != 0}
    assert failed == {}
    (told,) = [output for command, (_, output) in results.items() if "traces/" in command]
    for event in ("enqueued", "started", "done"):
        assert event in told


def test_every_line_of_a_story_has_its_trace(watched: Watched, story: dict[str, str]) -> None:
    lines = [line["payload"] for line in watched.cloud.journal("log")]
    about = [line for line in lines if isinstance(line, dict) and "generation" in line]
    assert about
    for line in about:
        work = Work(line["bucket"], line["object"], line["generation"], line["run"])
        assert line["trace"] == work.trace
        field = line["logging.googleapis.com/trace"]
        assert field == f"projects/{watched.cloud.project}/traces/{work.trace}"


def test_logs_of_a_missing_object_say_so(watched: Watched, story: dict[str, str]) -> None:
    gone = story | {"OBJECT": f"gs://{watched.uploads}/nothing.jpg"}
    code, output = typed(watched.deployment, 'make logs OBJECT="$OBJECT"', **gone)
    assert code != 0
    assert "is not there. If it is deleted, name its generation" in output


# The page about costs


def test_the_page_about_costs_is_as_computed() -> None:
    script = [sys.executable, str(ROOT / "scripts/cost.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_photo_takes_the_operations_that_its_cost_counts(
    watched: Watched, story: dict[str, str]
) -> None:
    calls = [line for line in watched.cloud.journal("api") if line["code"] == 200]
    writes = [
        line
        for line in calls
        if line["method"] == "storage.objects.insert"
        and story["TRACE"]
        and "stories/one.jpg" in json.dumps(line["params"])
        and "files-dev-processor" in line["principal"]
    ]
    assert len(writes) == 3


# The evaluator itself


def counters(**amounts: list[tuple[float, float]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, points in amounts.items():
        counter = Counter()
        for time, amount in points:
            counter.add(time, amount)
        made[name] = {frozenset({("k", name)}): counter}
    return made


NOTHING = frozenset()


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("sum(increase(a[1m]))", 3.0),  # at 100 the window is 40 to 100
        ("sum(increase(a[2m])) > 3", 8.0),
        ("sum(increase(a[1m])) > 3", None),
        ("sum(increase(a[1m])) / sum(increase(b[1m]))", 1.5),
        ("sum(increase(a[1m])) > 1 and sum(increase(b[1m])) > 5", None),
        ("sum(increase(a[1m])) > 1 unless sum(increase(b[1m])) > 5", 3.0),
        ("sum(increase(missing[1m])) or vector(0)", 0.0),
        ("2 * sum(increase(b[1m])) >= 4", 4.0),
        ('sum(increase(a{k!="a"}[1m]))', None),
        ('sum(increase(a{k=~"A|a"}[1m]))', 3.0),
    ],
)
def test_queries_mean_what_prometheus_means(query: str, value: float | None) -> None:
    series = counters(a=[(10, 5), (50, 1), (100, 2)], b=[(60, 2)])
    assert evaluate(query, series, 100) == ({} if value is None else {NOTHING: value})


def test_a_quantile_lies_within_its_bucket() -> None:
    series: dict[str, Any] = {"t_bucket": {}}
    for bound, count in (("1.0", 10), ("2.0", 20), ("+Inf", 20)):
        counter = Counter()
        counter.add(5, count)
        series["t_bucket"][frozenset({("le", bound)})] = counter
    query = "histogram_quantile(0.75, sum by (le) (increase(t_bucket[10s])))"
    assert evaluate(query, series, 10) == {NOTHING: 1.5}


def test_a_gauge_was_least_between_its_steps() -> None:
    gauge = Gauge(lambda at: 0.0 if 20 <= at < 30 else 4.0, [20, 30])
    series = {"depth": {NOTHING: gauge}}
    assert evaluate("min_over_time(depth[1m])", series, 60) == {NOTHING: 0.0}
    assert evaluate("min_over_time(depth[20s])", series, 60) == {NOTHING: 4.0}


@pytest.mark.parametrize("query", ["rate(a[5m])", "sum(a", "a[5m] offset 1m", "a ! b"])
def test_what_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(QueryError):
        parse(query)


@pytest.mark.parametrize(
    ("filter_", "holds"),
    [
        ('severity>=WARNING AND jsonPayload.event="retry"', True),
        ("severity>=ERROR", False),
        ('jsonPayload.event=("done" OR "retry")', True),
        ('jsonPayload.event="done" OR jsonPayload.run=0 AND jsonPayload.age_seconds>60', True),
        ("jsonPayload.age_seconds<=61.5", True),
        ("jsonPayload.missing=1", False),
        ('NOT jsonPayload.event="retry"', False),
        ("jsonPayload.retryable=true", True),
        ('jsonPayload.event=~"^re"', True),
    ],
)
def test_log_filters_mean_what_logging_means(filter_: str, holds: bool) -> None:
    payload = {"event": "retry", "run": 0, "age_seconds": 61.5, "retryable": True}
    assert matches(filter_, {"severity": "WARNING", "jsonPayload": payload}) is holds


def test_a_filter_that_is_none_is_refused() -> None:
    with pytest.raises(FilterError):
        matches("severity >=", {})
