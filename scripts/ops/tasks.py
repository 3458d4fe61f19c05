"""Submitted tasks, through the submit service: list, show, submit, redrive, cancel."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import click
import requests

from .environment import terraform
from .login import Login
from .output import Output
from .problems import Problem

LINES = 1000  # a call
POLL_SECONDS = 5.0
TIMEOUT_SECONDS = 130
STATES = ("waiting", "done", "failed", "cancelled")


class Service:
    """The submit service of an environment, called with the operator's own login."""

    def __init__(self, base: str, login: Login | None) -> None:
        self.base, self.login, self._session = base, login, requests.Session()
        self._session.auth = lambda request: request  # nobody's .netrc

    @classmethod
    def of(cls, environment: str, project: str = "") -> Service:
        """Raises Problem."""
        outputs = json.loads(terraform(environment, "output", "-json", project=project) or "{}")
        batch = outputs.get("batch", {}).get("value")
        if not batch:
            raise Problem(
                f"{environment} has no output batch. Switch it on as environments/showcase does, "
                f"and apply: make apply ENV={environment} PROJECT={project or '…'}"
            )
        return cls(batch["submit"], Login() if batch["access"] == "iam" else None)

    def call(self, verb: str, path: str, **sent: Any) -> dict[str, Any]:
        """Raises Problem with the service's own detail."""
        headers = self.login.header(self.base) if self.login else {}
        try:
            answer = self._session.request(
                verb, self.base + path, headers=headers, timeout=TIMEOUT_SECONDS, **sent
            )
        except requests.RequestException as error:
            raise Problem(f"submit gave no answer ({type(error).__name__}). Try again") from None
        try:
            body = dict(answer.json())
        except ValueError:
            body = {}
        if answer.ok:
            return body
        if answer.status_code in (401, 403):
            raise Problem("submit does not let this login in: it needs roles/run.invoker (callers)")
        raise Problem(body.get("detail") or f"submit answered {answer.status_code}")

    def tasks(self, batch: str, status: str) -> Iterator[dict[str, Any]]:
        """All of them, page by page."""
        query = {k: v for k, v in (("batch_id", batch), ("status", status)) if v}
        while True:
            page = self.call("GET", f"/tasks?{urlencode(query)}")
            yield from page["tasks"]
            if "next_page_token" not in page:
                return
            query["page_token"] = page["next_page_token"]

    def counts(self, batch: str) -> dict[str, Any]:
        return self.call("GET", f"/batches/{batch}")


@click.group()
def tasks() -> None:
    """Submitted tasks, where batch is switched on: docs/batch.md."""


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@tasks.command("list")
@click.option("--batch", default="", help="Only of this batch.")
@click.option("--status", type=click.Choice(STATES), default=None, help="Only those.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most.")
@as_json
@click.pass_obj
def list_(session: Any, batch: str, status: str | None, limit: int, as_json: bool) -> None:
    """Tasks, with their status."""
    output, every = Output(as_json), session.batch.tasks(batch, status or "")
    found = list(islice(every, limit))
    if as_json:
        output.document({"tasks": found})
    elif found:
        rows = [(t["task_id"], t["status"], t["created"][:19] + "Z") for t in found]
        output.table(("task", "status", "created"), rows)
        if next(every, None):
            output.say(f"There are more than {limit:,}: raise --limit.")
        if any(task["status"] == "failed" for task in found):
            output.say("Why one failed: tasks show TASK")
    else:
        output.say("There is no such task.")


@tasks.command()
@click.argument("task_id")
@click.pass_obj
def show(session: Any, task_id: str) -> None:
    """One task: its request, and its outcome."""
    Output(True).document(session.batch.call("GET", f"/tasks/{task_id}"))


@tasks.command()
@click.argument("file", type=click.File("rb"))
@click.option("--batch", required=True, help="Its name: repeating submits nothing twice.")
@click.option("--wait", is_flag=True, help="Until nothing waits; ends with 1 where a task failed.")
@click.pass_obj
def submit(session: Any, file: Any, batch: str, wait: bool) -> None:
    """A file of tasks, a JSON object with a key on each line."""
    output, lines, rejected = Output(False), [line for line in file if line.strip()], 0
    left = iter(lines)
    while part := list(islice(left, LINES)):
        answer = session.batch.call("POST", f"/tasks:batch?batch_id={batch}", data=b"".join(part))
        output.say(f"{answer['submitted']} submitted, {answer['already']} were there already")
        for one in answer["rejected"]:
            output.say(f"  line {one['line']}: {one['detail']}")
        rejected += len(answer["rejected"])
    counts = session.batch.counts(batch) if wait else {}
    told = 0
    while waiting := counts.get("waiting"):
        if waiting != told:
            click.echo(f"{waiting:,} of {counts['total']:,} wait …", err=True)
        told = waiting
        time.sleep(POLL_SECONDS)
        counts = session.batch.counts(batch)
    if wait:
        output.say(", ".join(f"{counts[state]} {state}" for state in STATES))
    sys.exit(1 if rejected or counts.get("failed") else 0)


@tasks.command()
@click.argument("task_ids", nargs=-1, required=True)
@click.option("--apply", is_flag=True, help="Do it. Without: only show it.")
@click.pass_obj
def redrive(session: Any, task_ids: tuple[str, ...], apply: bool) -> None:
    """Submits failed or cancelled tasks again: an outcome is final, so each gets a new id."""
    output = Output(False)
    for task_id in task_ids:
        known = session.batch.call("GET", f"/tasks/{task_id}")
        if known["status"] not in ("failed", "cancelled"):
            output.say(f"{task_id} is {known['status']}: left alone")
        elif apply:
            wanted = {k: v for k, v in known["request"].items() if k != "run_after"}
            made = session.batch.call("POST", "/submit-task", json=wanted)
            output.say(f"{task_id} is submitted again as {made['task_id']}")
        else:
            output.say(f"{task_id} would be submitted again ({known.get('reason', 'cancelled')})")


@tasks.command()
@click.argument("batch")
@click.option("--apply", is_flag=True, help="Do it. Without: only show it.")
@click.pass_obj
def cancel(session: Any, batch: str, apply: bool) -> None:
    """What waits of a batch: it is not begun any more."""
    output, done, more = Output(False), 0, apply
    while more:
        answer = session.batch.call("POST", f"/batches/{batch}:cancel")
        done, more = done + answer["cancelled"], answer["more"]
    if apply:
        output.say(f"{done} cancelled")
    else:
        output.say(f"{session.batch.counts(batch)['waiting']} would be cancelled")
