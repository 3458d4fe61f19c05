"""The operator's tool without a cloud: pace, filters, names, errors, estimates."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from bridge.enqueue import enqueue
from contract.identity import Work
from scripts.ops import ROOT, costs, filters
from scripts.ops.cli import cli
from scripts.ops.declared import State
from scripts.ops.doctor.access import BUILDS_WITH, KEEPS_WITH
from scripts.ops.environment import load
from scripts.ops.problems import Problem, explained
from scripts.ops.verify import Verification
from scripts.ops.work import Item, Pace, in_parallel, item_of
from sweep.listing import Upload
from sweep.rest import WithStatus

SETTINGS = {
    "PROJECT_ID": "my-project",
    "ENVIRONMENT": "dev",
    "UPLOADS_BUCKET": "up",
    "RESULTS_BUCKET": "down",
    "TASKS_INVOKER": "invoker@my-project.iam.gserviceaccount.com",
    "LANES": json.dumps(
        {
            lane: {
                "queue": f"projects/my-project/locations/us-central1/queues/{lane}",
                "url": "https://work.example",
                "audience": "work",
                "dispatch_deadline_seconds": 360,
                "prefixes": prefixes,
            }
            for lane, prefixes in (("default", []), ("big", ["big/"]))
        }
    ),
    "INCLUDE_PREFIXES": "[]",
    "EXCLUDE_PREFIXES": '["tmp/"]',
    "HASH_OBJECT_NAMES": "false",
}
OUTPUTS = {
    "bridge_settings": SETTINGS,
    "dead_letter_subscription": "projects/my-project/subscriptions/dead",
    "uploads_bucket": "up",
    "results_bucket": "down",
}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps({name: {"value": value} for name, value in OUTPUTS.items()}))
    return path


# Pace


def test_a_pace_lets_no_more_than_its_rate_pass() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(8.0, clock=lambda: now[0], sleep=sleep)
    for _ in range(81):
        pace.wait()
    assert now[0] == pytest.approx(10.0)
    assert len(slept) == 80


def test_a_pace_does_not_catch_up_after_a_pause() -> None:
    now, slept = [0.0], []
    pace = Pace(1.0, clock=lambda: now[0], sleep=slept.append)
    pace.wait()
    now[0] = 100.0
    pace.wait()
    pace.wait()
    assert slept == [1.0]


def test_parallel_work_keeps_its_order_and_does_not_run_ahead() -> None:
    taken: list[int] = []

    def numbers() -> Any:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_parallel(lambda number: number * 2, numbers())
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 30


# What is enqueued


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("cats/tom.jpg", "9", "default"),
        ("big/film.mov", "9", "big"),
        ("tmp/x", "9", "excluded_prefix"),
        ("folder/", "0", "folder_marker"),
        ("gcloud/tmp/parallel_composite_uploads/x", "9", "composite_part"),
    ],
)
def test_the_bridges_own_rules_decide(outputs: Path, name: str, size: str, expected: str) -> None:
    config = load("dev", outputs=outputs).config
    resource = {"bucket": "up", "name": name, "generation": "1", "size": size}
    item = item_of(Upload(name, "1", datetime.now(UTC), resource), 0, config)
    assert (item if isinstance(item, str) else item.lane) == expected


def rest_error(code: int, body: bytes) -> Exception:
    import requests

    response = requests.Response()
    response.status_code = code
    response._content = body
    response.request = requests.Request("POST", "https://x").prepare()  # type: ignore[assignment]
    return api.from_http_response(response)


def rest_status(code: int, status: str) -> Exception:
    return rest_error(code, json.dumps({"error": {"code": code, "status": status}}).encode())


class Refusing:
    """The REST client of Cloud Tasks, which answers with an error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def create_task(self, request: Any, *, timeout: float) -> object:
        raise self._error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (rest_status(409, "ALREADY_EXISTS"), "already_exists"),
        (rest_status(409, "ABORTED"), "queue_unavailable"),
        (rest_status(429, "RESOURCE_EXHAUSTED"), "queue_throttled"),
        (rest_error(429, b"slow"), "queue_throttled"),
        (rest_error(502, b"<html>"), "queue_unavailable"),
        (rest_status(503, "UNAVAILABLE"), "queue_unavailable"),
        (rest_status(403, "PERMISSION_DENIED"), "queue_refused"),
        (rest_error(400, b"[]"), "queue_refused"),
        (ConnectionError("refused"), "queue_unavailable"),
    ],
)
def test_errors_over_rest_mean_what_the_bridges_own_mean(
    outputs: Path, error: Exception, reason: str
) -> None:
    config = load("dev", outputs=outputs).config
    resource = {"bucket": "up", "name": "x", "generation": "1", "size": "9"}
    item = item_of(Upload("x", "1", datetime.now(UTC), resource), 0, config)
    assert isinstance(item, Item)
    client = WithStatus(Refusing(error))
    assert enqueue(client, config, item.notification, item.lane)[0] == reason


def test_an_estimate_grows_with_the_files_and_shrinks_with_the_rate() -> None:
    one, many = costs.estimate(1, 8), costs.estimate(10_000, 8)
    assert many.requests == 10_000 * one.requests
    assert many.seconds == 1250
    assert 0.5 < many.dollars < 8  # the sources' $8 for 10,000 files a month hold it


# Filters


def test_times_are_utc_and_spans_count_back_from_now() -> None:
    assert filters.moment("2026-11-21T10:00") == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert filters.moment("2026-11-21T10:00+01:00") == datetime(2026, 11, 21, 9, tzinfo=UTC)
    before = datetime.now(UTC)
    ago = filters.moment("2h") + timedelta(hours=2)
    assert before <= ago <= datetime.now(UTC)


def test_a_filter_takes_its_beginning_and_not_its_end() -> None:
    since, until = filters.moment("2026-11-01"), filters.moment("2026-11-02")
    chosen = filters.Filter("", since, until)
    assert chosen.takes(since)
    assert not chosen.takes(until)


def test_one_file_is_that_name_and_not_those_that_begin_with_it() -> None:
    chosen = filters.Filter.of_name("a/b.jpg", None, None)
    assert chosen.names("a/b.jpg")
    assert not chosen.names("a/b.jpg.txt")
    assert chosen.keys("a/b.jpg/7")
    assert not chosen.keys("a/b.jpg/7/8")
    long = "ü" * 500
    chosen = filters.Filter.of_name(long, None, None)
    assert long.startswith(chosen.prefix)
    assert chosen.keys(Work("up", long, "7").key)


def test_a_prefix_longer_than_names_are_told_apart_by_is_refused() -> None:
    with pytest.raises(Problem, match="812 bytes"):
        filters.Filter("x" * 813)


# Names of the environment


def test_names_come_from_terraforms_outputs_and_flags_win(outputs: Path) -> None:
    environment = load("dev", outputs=outputs, overrides={"results_bucket": "other"})
    assert (environment.uploads, environment.results) == ("up", "other")
    assert environment.config.results_bucket == "other"
    assert environment.dead_letters == "projects/my-project/subscriptions/dead"


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ({}, "dev is not applied: make apply ENV=dev"),
        ({"uploads_bucket": "up"}, "lacks the output bridge_settings, dead_letter_subscription"),
        (OUTPUTS | {"bridge_settings": {}}, "bridge_settings of dev is wrong.*LANES is missing"),
    ],
)
def test_outputs_that_do_not_do_are_told(tmp_path: Path, found: Any, line: str) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(found))
    with pytest.raises(Problem, match=line):
        load("dev", outputs=path)


def test_another_project_than_the_named_one_is_refused(outputs: Path) -> None:
    with pytest.raises(Problem, match="initialized for my-project, not your-project"):
        load("dev", "your-project", outputs)


def test_an_unknown_environment_names_those_there_are() -> None:
    with pytest.raises(
        Problem, match="no environment qa; there are bootstrap, dev, prod, showcase, staging"
    ):
        load("qa")


@pytest.mark.parametrize("url", ["cats/tom.jpg", "gs://up", "gs://other/cats/tom.jpg"])
def test_an_object_of_another_bucket_is_refused(outputs: Path, url: str) -> None:
    with pytest.raises(Problem, match="up"):
        load("dev", outputs=outputs).object_name(url)


# Errors


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (auth.DefaultCredentialsError("no"), "gcloud auth application-default login"),
        (auth.RefreshError("invalid_grant"), "expired or was revoked. Log in with"),
        (
            api.Forbidden("a@b.c does not have storage.objects.list access to the bucket."),
            "lacks storage.objects.list.*roles/storage.objectViewer",
        ),
        (
            api.PermissionDenied(
                'The principal lacks IAM permission "cloudtasks.tasks.create" for'
            ),
            "lacks cloudtasks.tasks.create.*roles/cloudtasks.enqueuer",
        ),
        (api.PermissionDenied("User not authorized to perform this action."), "docs/operations.md"),
        (api.Forbidden("this API requires a quota project"), "set-quota-project"),
        (api.NotFound("no bucket"), "right environment"),
        (api.ServiceUnavailable("away"), "503.*Run this again"),
        (auth.TransportError("no route"), "cannot be reached"),
    ],
)
def test_an_error_of_google_becomes_one_line_with_the_way_on(error: Exception, line: str) -> None:
    problem = explained(error)
    assert problem is not None
    assert re.search(line, str(problem))
    assert "\n" not in str(problem)


def test_an_error_of_ours_is_not_explained_away() -> None:
    assert explained(KeyError("x")) is None


# Commands


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["status"], "name one object"),
        (["status", "gs://up/x", "--failed"], "name one object"),
        (["redrive", "--rerender"], "needs --until"),
        (["redrive", "--rerender", "--dead-letters", "--until", "1h"], "exclude each other"),
        (["redrive", "--dead-letters", "--reason", "x"], "about failures"),
        (["redrive", "--since", "yesterday"], "'yesterday' is not a time: write"),
        (["reconcile", "--min-age", "long"], "'long' is not a span: write 90s"),
        (["reconcile", "--limit", "0"], "--limit"),
    ],
)
def test_options_that_make_no_sense_are_refused(words: list[str], line: str) -> None:
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert line in result.output


def test_bootstrap_has_no_files() -> None:
    with pytest.raises(Problem, match="name the environment that has"):
        load("bootstrap")


@pytest.mark.parametrize("project", ["my-project", ""])
def test_the_way_on_names_the_project(
    project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "terraform").write_text("#!/bin/sh\necho 'run terraform init' >&2; exit 1\n")
    (tmp_path / "terraform").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(Problem, match=f"make verify ENV=dev PROJECT={project or '…'}$"):
        load("dev", project)


def commands(group: click.Group = cli, *before: str) -> list[tuple[tuple[str, ...], click.Command]]:
    """The words of each command, and what it is; those of a group in its place."""
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in sorted(group.commands.items()):
        words = (*before, name)
        found += (
            commands(command, *words) if isinstance(command, click.Group) else [(words, command)]
        )
    return found


@pytest.mark.parametrize(
    ("words", "command"), commands(), ids=lambda it: "-".join(it) if isinstance(it, tuple) else ""
)
def test_each_command_has_help_with_every_option_described(
    words: tuple[str, ...], command: click.Command
) -> None:
    assert CliRunner().invoke(cli, [*words, "--help"]).exit_code == 0
    assert command.help
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert all(option.help for option in options)


def test_the_doctor_knows_what_bootstrap_grants_the_build_account() -> None:
    text = (ROOT / "environments/bootstrap/main.tf").read_text()
    granted = re.findall(r'member += module\.build_account\.member\n.*\n +role += "(.*)"', text)
    assert sorted(granted) == sorted((*BUILDS_WITH, KEEPS_WITH))


@pytest.mark.parametrize(
    ("age", "timeout", "looks"),
    [(60, None, 540), (599, None, 180), (601, None, 180), (-60, None, 180), (60, 1, 1)],
    ids=["new", "nearly old", "old", "a clock ahead", "as told"],
)
def test_verify_looks_for_as_long_as_iam_may_need(
    outputs: Path, age: float, timeout: float | None, looks: float
) -> None:
    made = SimpleNamespace(time_created=datetime.now(UTC) - timedelta(seconds=age))
    clients: Any = SimpleNamespace(storage=SimpleNamespace(get_bucket=lambda name: made))
    environment = load("dev", outputs=outputs)
    job = Verification(clients, environment, State("dev", []), timeout)
    assert job._timeout == pytest.approx(looks, abs=5)


def test_verify_without_a_look_at_the_bucket_has_its_usual_patience(outputs: Path) -> None:
    def refuse(name: str) -> Any:
        raise api.Forbidden("storage.buckets.get")

    clients: Any = SimpleNamespace(storage=SimpleNamespace(get_bucket=refuse))
    environment = load("dev", outputs=outputs)
    assert Verification(clients, environment, State("dev", []), None)._timeout == 180
