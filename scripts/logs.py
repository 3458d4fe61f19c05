"""What the logs say, as a story: one object's, or the newest lines of one event.

    make logs PROJECT=my-project OBJECT=gs://…-uploads/cats/tom.jpg        all its generations
    make logs PROJECT=my-project OBJECT=gs://…-uploads/cats/tom.jpg#1732…  one generation
    make logs PROJECT=my-project FILE=photos-0123…                         a file_id of the portal
    make logs PROJECT=my-project TASK=9f86…                                a task, by its id
    make logs PROJECT=my-project ENV=prod EVENT=retry                      the newest such lines

The trace id follows from the object, so a story needs no search. Reads with the login of gcloud, or
with GOOGLE_OAUTH_ACCESS_TOKEN where that is set. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "functions"))

from tokens import LOGIN, NoLogin, access_token

from contract.identity import Work

# As docs/reasons.md explains them.
EVENTS = (
    "done", "duplicate", "enqueued", "failed", "ignored", "rejected", "retry", "started",
    "unavailable",
    # of the portal
    "status_broken", "status_failed", "status_refused", "upload_accepted", "upload_broken",
    "upload_failed", "upload_refused",
    # of the sweep
    "late", "left", "redriven", "restored", "sweep_failed", "swept",
)  # fmt: skip
FILE_ID = re.compile(r"([a-z0-9][a-z0-9-]*)-([0-9a-f]{32})")
FIELDS = ("reason", "attempt", "seconds", "age_seconds", "delivery", "lane", "detail", "error")


class Problem(Exception):
    """One sentence for a person: why it did not work, and how to go on."""


def ask(url: str, bearer: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """A Google API's answer. Raises Problem."""
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        try:
            text = json.loads(text)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            text = error.reason
        if error.code == 401:
            text += f" {LOGIN}"
        raise Problem(f"Google answered {error.code}: {text}") from None
    except urllib.error.URLError as error:
        raise Problem(f"Google cannot be reached: {error.reason}") from None


def works(url: str, bearer: str) -> list[Work]:
    """The generations that gs://bucket/name[#generation] means. Raises Problem."""
    match = re.fullmatch(r"gs://([^/]+)/(.+?)(?:#([1-9][0-9]{14,19}))?", url, re.S)
    if match is None:
        raise Problem(
            f"{url} is not an object: write gs://BUCKET/NAME or gs://BUCKET/NAME#GENERATION"
        )
    bucket, name, generation = match.groups()
    if generation:
        return [Work(bucket, name, generation)]
    query = {
        "prefix": name,
        "versions": "true",
        "fields": "items(name,generation)",
        "maxResults": "100",
    }
    listed = ask(
        f"https://storage.googleapis.com/storage/v1/b/{urllib.parse.quote(bucket, safe='')}/o?"
        + urllib.parse.urlencode(query),
        bearer,
    )
    found = [
        Work(bucket, name, item["generation"])
        for item in listed.get("items", [])
        if item["name"] == name
    ]
    if not found:
        raise Problem(
            f"{url} is not there. If it is deleted, name its generation: {url}#GENERATION"
        )
    return sorted(found, key=lambda work: int(work.generation))


def entries(project: str, filter_: str, bearer: str, newest: int = 0) -> Iterator[dict[str, Any]]:
    """Log entries, oldest first; with `newest`, only that many. Raises Problem."""
    body: dict[str, Any] = {
        "resourceNames": [f"projects/{project}"],
        "filter": filter_,
        "orderBy": "timestamp desc" if newest else "timestamp asc",
        "pageSize": newest or 1000,
    }
    while True:
        answer = ask("https://logging.googleapis.com/v2/entries:list", bearer, body)
        page = answer.get("entries", [])
        yield from reversed(page) if newest else page
        if newest or not answer.get("nextPageToken"):
            return
        body["pageToken"] = answer["nextPageToken"]


def told(entry: dict[str, Any], with_object: bool) -> str:
    """An entry as one line."""
    time = entry["timestamp"][:23].replace("T", " ")
    service = entry.get("resource", {}).get("labels", {}).get("service_name", "")
    payload = entry.get("jsonPayload", {"message": entry.get("textPayload", "")})
    facts = [f"{name}={payload[name]}" for name in FIELDS if name in payload]
    if payload.get("run"):
        facts.insert(0, f"run={payload['run']}")
    if with_object and "object" in payload:
        facts.append(f"object={payload['object']}#{payload.get('generation')}")
    severity = entry.get("severity", "DEFAULT")
    event = payload.get("event", "")
    line = f"{time}  {severity:<8} {service}  {event:<9} {payload.get('message', '')}"
    return f"{line.rstrip()}  {' '.join(facts)}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--project", default="")
    parser.add_argument("--environment", default="dev")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--object", help="gs://BUCKET/NAME or gs://BUCKET/NAME#GENERATION")
    what.add_argument("--file", default="", help="a file_id: FOLDER-32 hex digits")
    what.add_argument("--task", default="", help="a task's id, or its full name")
    what.add_argument("--event", default="", help="an event of docs/reasons.md, such as retry")
    parser.add_argument("--prefix", default="files", help="as in environments/bootstrap")
    parser.add_argument("--hours", type=float, default=24, help="how far back --event looks")
    parser.add_argument("--limit", type=int, default=50, help="how many lines --event shows")
    options = parser.parse_args()
    try:
        if not options.project:
            raise Problem("no project is named. Say which with --project (make: PROJECT=…)")
        if options.file or options.task:
            return searched(options)
        if not options.object and options.event not in EVENTS:
            raise Problem(
                (f"there is no event {options.event}; " if options.event else "")
                + "name an object for its story (make: OBJECT=gs://…), or an event for its newest "
                f"lines (make: EVENT=…): {', '.join(EVENTS)}"
            )
        return story(options) if options.object else events(options)
    except (Problem, NoLogin) as problem:
        print(f"logs: {problem}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0


def story(options: argparse.Namespace) -> int:
    bearer, lines = access_token(), 0
    for work in works(options.object, bearer):
        filter_ = f'trace="projects/{options.project}/traces/{work.trace}"'
        print(f"{work.name}#{work.generation}\n{filter_}")
        for entry in entries(options.project, filter_, bearer):
            print("  " + told(entry, with_object=False))
            lines += 1
    if not lines:
        print("No line yet: logs appear within seconds, and are kept for 30 days.")
    return 0


def searched(options: argparse.Namespace) -> int:
    """The lines of a file_id, or of a task. Raises Problem."""
    since = (datetime.now(UTC) - timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    if options.task:
        filter_ = f'jsonPayload.task="{options.task.rpartition("/")[2]}"'
    elif match := FILE_ID.fullmatch(options.file):
        # <folder>/<owner>/<id>/<name>; where names are hashed, ask by OBJECT.
        filter_ = f'jsonPayload.object=~"^{match[1]}/[^/]+/{match[2]}/"'
    else:
        raise Problem(f"{options.file} is not a file_id: it is FOLDER-, then 32 hex digits")
    filter_ = f'timestamp>="{since}" AND resource.type="cloud_run_revision" AND {filter_}'
    print(filter_)
    lines = 0
    for entry in entries(options.project, filter_, access_token()):
        print("  " + told(entry, with_object=True))
        lines += 1
    if not lines:
        print("No such line: logs appear within seconds, and are kept for 30 days.")
    return 0


def events(options: argparse.Namespace) -> int:
    since = (datetime.now(UTC) - timedelta(hours=options.hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    filter_ = (
        f'timestamp>="{since}" AND resource.type="cloud_run_revision" AND '
        f'resource.labels.service_name=~"^{options.prefix}-{options.environment}-" AND '
        f'jsonPayload.event="{options.event}"'
    )
    bearer, lines = access_token(), 0
    print(filter_)
    for entry in entries(options.project, filter_, bearer, newest=options.limit):
        print("  " + told(entry, with_object=True))
        lines += 1
    if not lines:
        print(f"No such line in the last {options.hours:g} hours.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
