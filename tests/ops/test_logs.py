"""The operator's `logs` without a cloud: what it asks, and what it says where it cannot look."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from scripts.ops import ROOT
from scripts.ops.logs import EVENTS, logs, told
from scripts.ops.problems import Problem


class Google:
    """One object of two generations, and two lines of each event."""

    project = "my-project"

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.storage = SimpleNamespace(list_blobs=self.listed)

    def listed(self, bucket: str, prefix: str, versions: bool) -> list[Any]:
        found = [("cats/tom.jpg", 2), ("cats/tom.jpg", 1), ("cats/tom.jpg.bak", 3)]
        named = [SimpleNamespace(name=n, generation=g) for n, g in found if n.startswith(prefix)]
        return named if versions else []

    def rest(self, verb: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(dict(body))
        page = len(self.asked) % 2
        payload = {"event": "done", "message": f"page {page}", "object": "cats/tom.jpg"}
        lines = [
            {"timestamp": f"2026-11-21T10:0{run}:00.123456Z", "severity": "INFO",
             "jsonPayload": payload | {"generation": "1", "run": 1 - run, "seconds": 0.1}}
            for run in (0, 1)
        ]  # fmt: skip
        entries = lines if body["orderBy"].endswith("asc") else lines[::-1]
        return {"entries": entries} | ({"nextPageToken": "more"} if page else {})


def asked(*words: str) -> tuple[Google, Result]:
    google = Google()

    def object_name(url: str) -> str:
        return url.removeprefix("gs://up/")

    environment = SimpleNamespace(uploads="up", prefix="files-dev", object_name=object_name)
    session = SimpleNamespace(clients=google, environment=environment)
    return google, CliRunner().invoke(logs, words, obj=session)


def test_a_story_has_every_generation_oldest_first_page_after_page() -> None:
    google, told = asked("gs://up/cats/tom.jpg")
    heads = [line for line in told.output.splitlines() if line[0] not in " t"]
    assert heads == ["cats/tom.jpg#1", "cats/tom.jpg#2"]
    assert [one.get("pageToken") for one in google.asked] == [None, "more"] * 2
    assert {one["orderBy"] for one in google.asked} == {"timestamp asc"}
    line = "  2026-11-21 10:00:00.123  INFO       done      page 1  run=1 seconds=0.1"
    assert told.output.splitlines()[2:4] == [
        line,
        line.replace(":00:", ":01:").replace("run=1 ", ""),
    ]


def test_a_generation_that_is_gone_has_its_story_too() -> None:
    google, told = asked("gs://up/gone.jpg#1732180000000000")
    assert told.output.startswith("gone.jpg#1732180000000000\ntrace=")
    assert google.asked
    _, gone = asked("gs://up/gone.jpg")
    assert isinstance(gone.exception, Problem)
    assert "is not there. If it is deleted, name its generation" in str(gone.exception)


def test_an_events_newest_lines_are_of_this_environment_alone() -> None:
    google, told = asked("--event", "retry", "--since", "2h", "--limit", "7")
    (body,) = google.asked
    assert (body["orderBy"], body["pageSize"]) == ("timestamp desc", 7)
    sources = " OR ".join(
        f'resource.labels.{name}=~"^files-dev-"'
        for name in ("service_name", "job_name", "workflow_id")
    )
    assert f"({sources})" in body["filter"]
    assert 'jsonPayload.event="retry"' in body["filter"]
    assert since(body) == pytest.approx(2 * 3600, abs=60)
    first, second = told.output.splitlines()[1:]
    assert "object=cats/tom.jpg#1" in first
    assert (first.split()[1], second.split()[1]) == ("10:00:00.123", "10:01:00.123")


def since(body: dict[str, Any]) -> float:
    """Seconds before now from which on lines are asked for."""
    match = re.search(r'timestamp>="([^"]+)"', body["filter"])
    assert match
    return (datetime.now(UTC) - datetime.fromisoformat(match[1])).total_seconds()


def test_either_a_file_or_an_event_is_asked_for() -> None:
    for words in ((), ("gs://up/cats/tom.jpg", "--event", "retry")):
        google, refused = asked(*words)
        assert (refused.exit_code, google.asked) == (2, [])
        assert "name a file" in refused.output


def test_a_line_of_text_is_told_as_it_is() -> None:
    entry = {"timestamp": "2026-11-21T10:00:00.1Z", "severity": "ERROR", "textPayload": "Killed."}
    assert told(entry, True).endswith("Killed.")


@pytest.mark.parametrize(
    ("target", "filter_"),
    [
        (f"photos-{'7' * 32}", f'jsonPayload.object=~"^photos/[^/]+/{"7" * 32}/"'),
        ("9" * 64, f'jsonPayload.task="{"9" * 64}"'),
        (f"projects/p/locations/r/queues/q/tasks/{'9' * 64}", f'jsonPayload.task="{"9" * 64}"'),
    ],
)
def test_a_file_of_the_portal_and_a_task_are_searched_for(target: str, filter_: str) -> None:
    google, _ = asked(target)
    assert google.asked[0]["filter"].endswith(filter_)
    assert since(google.asked[0]) == pytest.approx(30 * 86_400, abs=60)


def test_its_events_are_those_of_the_page() -> None:
    page = (ROOT / "docs/reasons.md").read_text()
    rows = re.findall(r"^\| `\w+` \| `(\w+)` \| \d|^\| `(\w+)` \| (?:\d+[, \d]*)?\|", page, re.M)
    found = {bridge or other for bridge, other in rows}
    assert sorted(found) == sorted(EVENTS)


@pytest.mark.parametrize("target", ["photos-12", "x"])
def test_what_is_neither_an_object_nor_a_file_id_nor_a_task_is_refused(target: str) -> None:
    google, told = asked(target)
    assert isinstance(told.exception, Problem)
    assert "a file_id (FOLDER-, then 32 hex digits), or a task" in str(told.exception)
    assert not google.asked
