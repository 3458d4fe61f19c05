"""What the logs say, as a story: one file's, or the newest lines of one event.

The trace id follows from the object, so a story needs no search.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from contract.identity import Work

from .clients import Clients
from .environment import Environment
from .naming import FILE_ID, TASK
from .options import SPAN, Session
from .output import Output
from .problems import Problem

LIST = "https://logging.googleapis.com/v2/entries:list"
KEPT = timedelta(days=30)
PAGE = 1000
# As docs/reasons.md explains them.
EVENTS = (
    "done", "duplicate", "enqueued", "failed", "ignored", "rejected", "retry", "started",
    "unavailable",
    # of the portal
    "status_broken", "status_failed", "status_refused", "upload_accepted", "upload_broken",
    "upload_failed", "upload_refused",
    # of the sweep
    "late", "left", "redriven", "restored", "sweep_failed", "swept",
    # of batch
    "batch_submitted", "dead_letters_left", "lease_failed", "submit_broken", "submit_failed",
    "submit_refused", "task_done", "task_duplicate", "task_failed", "task_retry", "task_submitted",
    "task_unknown", "tasks_swept",
    # of approvals
    "approval_asked", "approval_decided", "approval_overdue",
)  # fmt: skip
# What a line of the three kinds of programs is by: services, jobs and workflows.
SOURCES = ("service_name", "job_name", "workflow_id")
FIELDS = (
    "file_id", "folder", "size", "way", "task_id", "task_type", "batch", "submitted", "rejected",
    "seen", "republished", "rule", "decision", "by",
    "reason", "attempt", "seconds", "age_seconds", "delivery", "lane", "detail", "error",
)  # fmt: skip


@click.command()
@click.argument("target", metavar="[gs://UPLOADS/NAME[#GENERATION] | FILE_ID | TASK]",
                required=False)  # fmt: skip
@click.option("--event", type=click.Choice(EVENTS), help="The newest lines of an event.")
@click.option("--since", "span", type=SPAN, default="24h", show_default=True,
              help="With --event: how far back to look.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1, PAGE), default=50, show_default=True,
              help="With --event: at most so many lines.")  # fmt: skip
@click.pass_obj
def logs(
    session: Session, target: str | None, event: str | None, span: timedelta, limit: int
) -> None:
    """One file's story, of all its generations and runs; or the newest lines of one event.

    Each story begins with its filter, for the console or for gcloud logging read.

    \b
    logs gs://my-project-files-dev-uploads/cats/tom.jpg
    logs gs://my-project-files-dev-uploads/cats/tom.jpg#1732180000000000
    logs photos-0123456789abcdef0123456789abcdef
    logs 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    logs --event retry --since 2h
    """
    if bool(target) == bool(event):
        raise click.UsageError("name a file (make: OBJECT=, FILE= or TASK=), or an --event")
    output, clients = Output(False), session.clients
    if target and target.startswith("gs://"):
        _story(output, clients, session.environment, target)
        return
    if target:
        filter_, span, newest = f'resource.type="cloud_run_revision" AND {_of_id(target)}', KEPT, 0
    else:
        own = (f'resource.labels.{name}=~"^{session.environment.prefix}-"' for name in SOURCES)
        filter_, newest = f'({" OR ".join(own)}) AND jsonPayload.event="{event}"', limit
    since = (datetime.now(UTC) - span).strftime("%Y-%m-%dT%H:%M:%SZ")
    filter_ = f'timestamp>="{since}" AND {filter_}'
    output.say(filter_)
    if not _tell(output, entries(clients, filter_, newest), with_object=True):
        output.say(f"No such line since {since}: they appear within seconds, and stay for 30 days.")


def _story(output: Output, clients: Clients, environment: Environment, url: str) -> None:
    lines = 0
    for work in works(clients, environment, url):
        filter_ = f'trace="projects/{clients.project}/traces/{work.trace}"'
        output.say(f"{work.name}#{work.generation}")
        output.say(filter_)
        lines += _tell(output, entries(clients, filter_), with_object=False)
    if not lines:
        output.say("No line yet: logs appear within seconds, and are kept for 30 days.")


def _tell(output: Output, found: Iterator[dict[str, Any]], with_object: bool) -> int:
    lines = 0
    for entry in found:
        output.say("  " + told(entry, with_object))
        lines += 1
    return lines


def works(clients: Clients, environment: Environment, url: str) -> list[Work]:
    """The generations that gs://UPLOADS/NAME[#GENERATION] means. Raises Problem."""
    match = re.fullmatch(r"(.+)#([1-9]\d{14,19})", url, re.S)
    name = environment.object_name(match[1] if match else url)
    if match:
        return [Work(environment.uploads, name, match[2])]
    found = [
        int(blob.generation)
        for blob in clients.storage.list_blobs(environment.uploads, prefix=name, versions=True)
        if blob.name == name
    ]
    if not found:
        raise Problem(
            f"{url} is not there. If it is deleted, name its generation: {url}#GENERATION"
        )
    return [Work(environment.uploads, name, str(one)) for one in sorted(found)]


def _of_id(target: str) -> str:
    """The lines of a file_id, or of a task. Raises Problem."""
    if match := TASK.fullmatch(target):
        return f'jsonPayload.task="{match[1]}"'
    if match := FILE_ID.fullmatch(target):
        # <folder>/<owner>/<id>/<name>; where names are hashed, ask by gs://.
        return f'jsonPayload.object=~"^{match[1]}/[^/]+/{match[2]}/"'
    raise Problem(
        f"{target} is not a file: write gs://UPLOADS/NAME, a file_id (FOLDER-, then 32 hex "
        "digits), or a task (64 hex digits)"
    )


def entries(clients: Clients, filter_: str, newest: int = 0) -> Iterator[dict[str, Any]]:
    """Log entries, oldest first; with `newest`, only that many. Raises Problem."""
    body: dict[str, Any] = {
        "resourceNames": [f"projects/{clients.project}"],
        "filter": filter_,
        "orderBy": "timestamp desc" if newest else "timestamp asc",
        "pageSize": newest or PAGE,
    }
    while True:
        answer = clients.rest("POST", LIST, body) or {}
        page = answer.get("entries", [])
        yield from reversed(page) if newest else page
        if newest or not answer.get("nextPageToken"):
            return
        body["pageToken"] = answer["nextPageToken"]


def told(entry: dict[str, Any], with_object: bool) -> str:
    """An entry as one line."""
    time = entry["timestamp"][:23].replace("T", " ")
    labels = entry.get("resource", {}).get("labels", {})
    service = next((labels[name] for name in SOURCES if name in labels), "")
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
