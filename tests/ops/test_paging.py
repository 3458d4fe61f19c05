"""Every list that the scripts read is read to its end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

from scripts.ops import ROOT
from scripts.ops.clients import Clients

DOCUMENTS = resources.files("googleapiclient") / "discovery_cache/documents"
SERVICES = (
    "artifactregistry.v1", "cloudbuild.v1", "cloudfunctions.v2", "cloudresourcemanager.v1",
    "cloudscheduler.v1", "cloudtasks.v2", "iam.v1", "logging.v2", "monitoring.v3", "pubsub.v1",
    "run.v2", "serviceusage.v1", "serviceusage.v1beta1", "storage.v1", "workflows.v1",
)  # fmt: skip
# A call of clients.rest (or look.get) that reads: its address as it is written.
READS = re.compile(r'(?:rest|get)\(\s*"GET",\s*f?"([^"]+)"')
PAGED = "pageToken"


def methods(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from resource.get("methods", {}).values()
    for inner in resource.get("resources", {}).values():
        yield from methods(inner)


def paged() -> set[str]:
    """The last part of the address of every list that comes in pages."""
    found = set()
    for name in SERVICES:
        document = json.loads((DOCUMENTS / f"{name}.json").read_text("utf-8"))
        for method in methods(document):
            if method["httpMethod"] == "GET" and PAGED in method.get("parameters", {}):
                found.add(method["path"].rpartition("/")[2])
    return found


def test_no_list_that_comes_in_pages_is_read_as_one() -> None:
    lists = paged()
    assert {"services", "consumerQuotaMetrics", "o", "tasks"} <= lists
    read = [
        (path.relative_to(ROOT), address)
        for path in (ROOT / "scripts").rglob("*.py")
        for address in READS.findall(path.read_text("utf-8"))
    ]
    assert len(read) >= 8
    assert [one for one in read if one[1].partition("?")[0].rpartition("/")[2] in lists] == []


def test_whoever_asks_for_pages_itself_goes_on_to_the_next() -> None:
    """Those that need no client library: each sends the token that it was given."""
    for name in ("scripts/ops/logs.py", "scripts/ci/store.py", "scripts/ops/clients.py"):
        text = (ROOT / name).read_text("utf-8")
        assert "nextPageToken" in text, name
        assert PAGED in text, name


def test_pages_are_read_to_the_end_and_an_empty_list_is_one() -> None:
    answers = {
        "": {"x": [1], "nextPageToken": "a b"},
        "a%20b": {"nextPageToken": "c"},
        "c": {"x": [2]},
    }

    class Google:
        asked: list[str] = []

        def rest(self, verb: str, url: str) -> Any:
            self.asked.append(url)
            return answers[url.partition("pageToken=")[2]]

    google: Any = Google()
    assert list(Clients.pages(google, "https://a/b?c=d", "x")) == [1, 2]
    assert google.asked[1] == "https://a/b?c=d&pageToken=a%20b"
    google.rest = lambda *_: None
    assert list(Clients.pages(google, "https://a/b", "x")) == []
