"""Approvals: who waits, answering, and starting again what hangs. See terraform/approvals."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from google.api_core import exceptions as api

from contract.identity import parse_key, shortened

from .clients import Clients
from .environment import Environment
from .filters import Filter
from .naming import FILE_ID, name_of
from .options import SPAN, Session, as_json, filtered
from .output import Output
from .problems import Problem
from .work import in_parallel

RUNS = "https://workflowexecutions.googleapis.com/v1"
USER = "https://openidconnect.googleapis.com/v1/userinfo"
ENDS = ("published", "rejected")
ACTIVE = ("ACTIVE", "QUEUED")
POLL_SECONDS = 0.5
FOUND = 1


@dataclass(frozen=True)
class Request:
    """Somebody was asked. state: waiting, or hung where no execution waits for its key any more."""

    key: str
    execution: str
    content: dict[str, Any]
    state: str = ""

    def as_json(self) -> dict[str, Any]:
        named = {"key": self.key, "state": self.state, "execution": self.execution}
        return {k: v for k, v in self.content.items() if k != "schema"} | named


class Approvals:
    def __init__(self, clients: Clients, environment: Environment) -> None:
        """Raises Problem where the environment has none."""
        there = environment.outputs.get("approvals") or {}
        if not there.get("workflow"):
            raise Problem(
                f"{environment.name} has no output approvals. Switch it on as environments/showcase"
                f" does, and apply: make apply ENV={environment.name} PROJECT={environment.project}"
            )
        self._clients, self._environment = clients, environment
        self.bucket, self.workflow = str(there["published_bucket"]), str(there["workflow"])

    def requests(self, prefix: str = "") -> list[Request]:
        """Those about files that have not ended; of what hung, none whose key another waits for."""
        ended = self.ended(prefix)
        names = [name for name in self._names("requests", prefix) if _key(name) not in ended]
        found = [one for one in in_parallel(self._request, names) if one]
        waiting = {one.key for one in found if one.state == "waiting"}
        return [one for one in found if one.state == "waiting" or one.key not in waiting]

    def ended(self, prefix: str = "") -> set[str]:
        """The keys that are published or rejected."""
        return {name.removesuffix(".json") for kind in ENDS for name in self._names(kind, prefix)}

    def end(self, key: str) -> dict[str, Any] | None:
        """The record of a file's end."""
        for kind in ENDS:
            if record := self._read(f"{kind}/{key}.json"):
                return record
        return None

    def hung(self, chosen: Filter, min_age: timedelta) -> Iterator[str]:
        """The keys of finished files that have no end, and no execution that waits for one."""
        ended = self.ended(chosen.prefix)
        asked = {one.key for one in self.requests(chosen.prefix) if one.state == "waiting"}
        old = datetime.now(UTC) - min_age
        listed = self._clients.storage.list_blobs(
            self._environment.results, prefix=f"manifests/{chosen.prefix}"
        )
        for blob in listed:
            key = blob.name.removeprefix("manifests/").removesuffix(".json")
            # Without a least age the clocks of two machines do not matter.
            aged = not min_age or blob.time_created <= old
            if aged and chosen.takes(blob.time_created) and key not in ended | asked:
                yield key

    def start(self, key: str) -> None:
        """As the completion's push does. Another execution of the same file does no harm."""
        attributes = {"status": "done", "objectId": f"manifests/{key}.json"}
        argument = json.dumps({"data": {"message": {"attributes": attributes}}})
        url = f"{RUNS}/{self.workflow}/executions"
        if self._clients.rest("POST", url, {"argument": argument}) is None:
            raise Problem(f"{self.workflow} does not exist: see doctor")

    def cancel(self, execution: str) -> None:
        """Has an execution ask nobody any more: its file is erased."""
        url = f"{RUNS}/{self.workflow}/executions/{execution}"
        if (self._clients.rest("GET", url) or {}).get("state") in ACTIVE:
            self._clients.rest("POST", f"{url}:cancel", {})

    def named(self, target: str) -> str:
        """The key that a person means: a key, or the only one of an object that waits.

        Raises Problem.
        """
        known = parse_key(target)
        if known and len(known.generation) >= 14 and not target.startswith("gs://"):
            return target
        if not (target.startswith("gs://") or FILE_ID.fullmatch(target)):
            raise Problem(
                f"{target} names no file: give its key, as approvals prints it "
                f"(name/generation), its object (gs://{self._environment.uploads}/…) or its file_id"
            )
        name = shortened(name_of(self._clients, self._environment, target))
        keys = sorted({one.key for one in self.requests(f"{name}/") if _name(one.key) == name})
        if not keys:
            raise Problem(f"nobody is asked about {target}: approvals lists who is")
        if len(keys) > 1:
            raise Problem(f"{target} waits more than once: name one of {', '.join(keys)}")
        return keys[0]

    def answer(self, key: str, decision: str, because: str) -> int:
        """Tells every execution that waits about this key; how many heard. Raises Problem."""
        asked = [one for one in self.requests(key) if one.key == key]
        if not asked:
            end = self.end(key) or {}
            said = f"it is {end['status']} already" if end else "nobody is asked about it"
            raise Problem(f"{key} does not wait: {said}")
        body = {"decision": decision, "claimed_by": self._who(), "because": because}
        heard = 0
        for one in asked:
            url = f"{RUNS}/{self.workflow}/executions/{one.execution}/callbacks"
            listed = self._clients.rest("GET", url) if one.state == "waiting" else None
            for callback in (listed or {}).get("callbacks", []):
                sent = self._clients.rest(callback["method"], f"{RUNS}/{callback['name']}", body)
                heard += sent is not None
        if not heard:
            raise Problem(f"no execution waits for {key} any more: approvals --restart --apply")
        return heard

    def settled(self, key: str, seconds: float) -> dict[str, Any] | None:
        """The record of its end, as soon as there is one."""
        until = time.monotonic() + seconds
        while (record := self.end(key)) is None and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return record

    def _who(self) -> str:
        """What is claimed: the audit log has who it was."""
        try:
            email = (self._clients.rest("GET", USER) or {}).get("email", "")
        except Problem:  # a login without that scope
            email = ""
        return str(email or getpass.getuser())

    def _request(self, name: str) -> Request | None:
        """None for one that was erased meanwhile."""
        content = self._read(f"requests/{name}")
        if content is None:
            return None
        execution = name.rpartition("/")[2].removesuffix(".json")
        found = self._clients.rest("GET", f"{RUNS}/{self.workflow}/executions/{execution}") or {}
        state = "waiting" if found.get("state") in ACTIVE else "hung"
        return Request(_key(name), execution, content, state)

    def _names(self, kind: str, prefix: str) -> Iterator[str]:
        """Without the kind in front."""
        for blob in self._clients.storage.list_blobs(self.bucket, prefix=f"{kind}/{prefix}"):
            yield blob.name.removeprefix(f"{kind}/")

    def _read(self, name: str) -> dict[str, Any] | None:
        blob = self._clients.storage.bucket(self.bucket).blob(name)
        try:
            return dict(json.loads(blob.download_as_bytes()))
        except api.NotFound:
            return None


def told(end: dict[str, Any] | None) -> str:
    """How a file ended, and by whose decision."""
    if end is None:
        return "neither published nor rejected yet: approvals tells who is asked"
    made = end["decision"]
    by = made.get("claimed_by") or made["by"]
    decided = "" if made["decision"] == end["status"] else f": {made['decision']}"
    return f"{end['status']}{decided} by {by}. {made['because']}".rstrip()


def _key(request: str) -> str:
    """Of requests/<key>/<execution>.json, without its beginning."""
    return request.rpartition("/")[0]


def _name(key: str) -> str:
    parts = parse_key(key)
    return parts.name if parts else ""


@click.command()
@click.option("--restart", is_flag=True, help="What hangs: start it again.")
@click.option("--apply", "--yes", "apply", is_flag=True, help="Do it. Without: only show them.")
@click.option("--min-age", type=SPAN, default="15m", show_default=True,
              help="Leave younger files alone: they are on their way.")  # fmt: skip
@filtered
@as_json
@click.pass_obj
def approvals(
    session: Session, restart: bool, apply: bool, min_age: timedelta, prefix: str,
    since: datetime | None, until: datetime | None, as_json: bool,
) -> None:  # fmt: skip
    """Which files wait for a person; or, with --restart, which hang, and their restart.

    A file hangs where it is finished, has no end (published or rejected), and no execution waits
    for one: it failed, was cancelled, or never began. Files from before approvals were switched
    on hang, too: --since leaves them out.

    \b
    approvals
    approvals --restart
    approvals --restart --apply
    """
    output, job = Output(as_json), Approvals(session.clients, session.environment)
    if restart:
        _restart(output, job, Filter(prefix, since, until), min_age, apply)
        return
    found = sorted(job.requests(prefix), key=lambda one: str(one.content.get("asked")))
    if as_json:
        output.document({"requests": [one.as_json() for one in found]})
    elif not found:
        output.say("Nobody is asked about anything.")
    else:
        rows = [
            (one.key, one.state, one.content.get("rule") or "the check", one.content.get("asked"),
             one.content.get("expires"))
            for one in found
        ]  # fmt: skip
        output.table(("key", "state", "asked by", "asked", "expires"), rows)
        output.say("Answer with: approve KEY, or reject KEY --because TEXT")
    if any(one.state == "hung" for one in found):
        output.say("What hung is started again by: approvals --restart --apply")
        sys.exit(FOUND)


def _restart(
    output: Output, job: Approvals, chosen: Filter, min_age: timedelta, apply: bool
) -> None:
    keys = []
    with output.progress("looking") as step:
        for key in job.hung(chosen, min_age):
            if apply:
                job.start(key)
            keys.append(key)
            step(len(keys))
    if output.as_json:
        output.document({"hung": keys, "applied": apply})
        return
    output.first(keys, len(keys))
    if not keys:
        output.say("Nothing hangs.")
    elif apply:
        output.say(f"Started {len(keys):,}.")
    else:
        output.say(f"{len(keys):,} hang. --apply starts them.")


def answering(command: Any) -> Any:
    """What approve and reject are told."""
    for option in (
        as_json,
        click.option("--wait", type=click.FloatRange(0), default=30, show_default=True,
                     help="Seconds for the record of the end to appear."),
        click.option("--because", default="", help="A sentence that the record keeps."),
        click.argument("target", metavar="KEY | gs://UPLOADS/NAME | FILE_ID"),
    ):  # fmt: skip
        command = option(command)
    return command


def _decide(
    session: Session, target: str, decision: str, because: str, wait: float, as_json: bool
) -> None:
    output, job = Output(as_json), Approvals(session.clients, session.environment)
    key = job.named(target)
    heard = job.answer(key, decision, because)
    record = job.settled(key, wait)
    if as_json:
        output.document({"key": key, "executions": heard, "end": record})
    elif record is None:
        output.say(f"{key}: told {heard} executions; its record is not there yet")
    else:
        output.say(f"{key} is {told(record)}")
    if record and record["decision"]["decision"] != decision:
        output.say("That is another decision than yours: the first one counts.")
        sys.exit(FOUND)


@click.command()
@answering
@click.pass_obj
def approve(session: Session, target: str, because: str, wait: float, as_json: bool) -> None:
    """Have a file published that waits. The first decision counts.

    \b
    approve contracts/2026.pdf/1795262349442183
    approve gs://my-project-files-dev-uploads/contracts/2026.pdf
    """
    _decide(session, target, "approved", because, wait, as_json)


@click.command()
@answering
@click.pass_obj
def reject(session: Session, target: str, because: str, wait: float, as_json: bool) -> None:
    """Have a file that waits never be published. The first decision counts."""
    _decide(session, target, "rejected", because, wait, as_json)
