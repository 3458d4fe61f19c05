"""The operator's tool without a cloud: pace, filters, names, errors, estimates."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import runner
from click.testing import CliRunner
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from bridge.enqueue import enqueue
from bridge.notification import Notification
from bridge.settings import Config
from contract.identity import Work
from scripts.ops import ROOT, costs, environment, filters, redrive
from scripts.ops.cli import cli
from scripts.ops.declared import State
from scripts.ops.doctor.access import BUILDS_WITH, KEEPS_WITH
from scripts.ops.environment import Environment, load
from scripts.ops.problems import Problem, explained
from scripts.ops.redrive import Redrive
from scripts.ops.verify import Verification
from scripts.ops.work import Item, Outcome, Pace, Queues, in_parallel, item_of
from sweep.listing import Listings, Record, Upload
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
        (rest_error(500, b""), "queue_unavailable"),
        (rest_error(502, b"<html>"), "queue_unavailable"),
        (api.AlreadyExists("over gRPC"), "already_exists"),
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
    with pytest.raises(Problem, match="of my-project, not of your-project"):
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
        (["logs"], "name a file (make: OBJECT=, FILE= or TASK=), or an --event"),
        (["logs", "gs://up/x", "--event", "done"], "name a file"),
        (["logs", "--event", "dnoe"], "'dnoe' is not one of 'done', 'duplicate'"),
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


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """environments/dev alone, and a Terraform that notes its calls and finds no outputs."""
    folder = tmp_path / "environments/dev"
    (folder / ".terraform").mkdir(parents=True)
    (folder / "main.tf").write_text('module "pipeline" {\n  prefix = "pix"\n}\n')
    script = f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\ncase "$*" in *output*) echo {{}};; esac\n'
    (tmp_path / "terraform").write_text(script)
    (tmp_path / "terraform").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for module in (environment, runner):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("last", "project", "initializes"),
    [("", "my-project", True), ("your-project-pix-tfstate", "my-project", True),
     ("my-project-pix-tfstate", "my-project", False), ("", "", False)],
)  # fmt: skip
def test_a_project_that_is_named_is_the_one_that_terraform_reads(
    checkout: Path, last: str, project: str, initializes: bool
) -> None:
    state = checkout / "environments/dev/.terraform/terraform.tfstate"
    state.write_text(json.dumps({"backend": {"config": {"bucket": last}}}))
    with pytest.raises(Problem, match=f"dev is not applied: .*PROJECT={project or '…'}$"):
        load("dev", project)
    calls = (checkout / "calls").read_text().splitlines()
    init = f"-chdir={checkout}/environments/dev init -no-color -input=false -reconfigure "
    init += "-backend-config=bucket=my-project-pix-tfstate"
    assert calls[:-1] == [init] * initializes
    assert calls[-1].endswith("output -no-color -json")


def test_without_a_project_one_that_was_never_initialized_asks_for_it(
    checkout: Path,
) -> None:
    script = "#!/bin/sh\necho 'Error: Backend initialization required' >&2; exit 1\n"
    (checkout / "terraform").write_text(script)
    with pytest.raises(Problem, match="name its project with --project"):
        load("dev")


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


# The pace of the tool


def test_tasks_are_made_at_four_fifths_of_the_queues_rate_so_that_uploads_keep_their_room() -> None:
    def get_queue(name: str) -> Any:
        rate = 10.0 if name.endswith("default") else 5.0
        limits = SimpleNamespace(max_dispatches_per_second=rate)
        return SimpleNamespace(rate_limits=limits, state=SimpleNamespace(name="RUNNING"))

    clients: Any = SimpleNamespace(tasks=SimpleNamespace(get_queue=get_queue))
    config = Config.from_env(SETTINGS)
    assert Queues(clients, config).per_second == {"default": 8.0, "big": 4.0}
    assert Queues(clients, config, 4.0).per_second == {"default": 4.0, "big": 4.0}
    with pytest.raises(Problem, match="--rate 5 is not below the 5/s of lane big"):
        Queues(clients, config, 5.0)


# Dead letters while Cloud Tasks is away


class Letters:
    """Two dead letters that wait; what is acknowledged, and what is let go again."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.released: list[str] = []
        names = ("a.jpg", "b.jpg")
        self.waiting: list[Any] = [
            SimpleNamespace(message_id=name, notification=notification(name)) for name in names
        ]

    def batches(self, size: int) -> Any:
        yield self.waiting

    def acknowledge(self, letters: list[Any]) -> None:
        self.acknowledged += [letter.message_id for letter in letters]

    def release(self, letters: list[Any]) -> None:
        self.released += [letter.message_id for letter in letters]


def notification(name: str) -> Notification:
    resource = {"name": name, "size": "9", "timeCreated": "2026-11-21T10:00:00Z"}
    return Notification("OBJECT_FINALIZE", Work("up", name, "1795262349442183"), resource)


@pytest.mark.parametrize(
    ("answer", "settled"),
    [("queue_unavailable", False), ("queue_throttled", False), ("created", True), ("alive", True)],
)
def test_a_dead_letter_is_taken_off_only_once_its_task_is_there(
    answer: str, settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = Letters()
    monkeypatch.setattr(redrive, "DeadLetters", lambda *_: letters)
    monkeypatch.setattr(Redrive, "_records_of", lambda *_: [])

    class Away:
        per_second = {"default": 8.0}

        def enqueue(self, items: Any) -> Any:
            for number, item in enumerate(items):
                yield Outcome(item, answer if number == 0 else "created", None)

    dev = Environment("dev", Config.from_env(SETTINGS), "dead")
    queues: Any = Away()
    clients: Any = SimpleNamespace(storage=None)
    found = Redrive(clients, dev, filters.Filter(), 10).dead_letters(queues)
    assert found.enqueued == Counter([answer, "created"])
    assert letters.acknowledged == ["a.jpg", "b.jpg"][not settled :]
    assert letters.released == ["a.jpg"][: not settled]


# A selection by time


def test_what_is_left_out_for_its_time_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = datetime(2026, 11, 21, 10, tzinfo=UTC)
    records = [Record("manifests", "a.jpg/1", 0, made, "manifests/a.jpg/1.json")]
    clients: Any = SimpleNamespace(storage=None)
    dev = Environment("dev", Config.from_env(SETTINGS), "dead")
    monkeypatch.setattr(Listings, "records", lambda *_: iter(records))
    chosen = filters.Filter(until=made)
    found = Redrive(clients, dev, chosen, 10).done(False)
    assert (found.items, found.left_out) == ([], Counter(other_time=1))
