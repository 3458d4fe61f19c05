"""Commands beside those about single files: erase, pause, resume, stats."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path

import click

from .erase import Erasure, Scope
from .options import TIME, Session, as_json
from .output import Output
from .problems import Problem, explained
from .stats import HOUR, Statistics, drawn


@click.command()
@click.argument("target", metavar="[gs://UPLOADS/NAME | FILE_ID]", default="")
@click.option("--owner", default="", help="Every file of an owner, as the portal names them.")
@click.option("--timeout", type=click.FloatRange(0), default=600, show_default=True,
              help="Seconds to wait for work under way.")  # fmt: skip
@click.option("--apply", "--yes", "apply", is_flag=True, help="Do it. Without: only count.")
@as_json
@click.pass_obj
def erase(
    session: Session, target: str, owner: str, timeout: float, apply: bool, as_json: bool
) -> None:
    """Erase a file: every generation of its upload, its outputs, its records, its tasks.

    Waits for work under way, and can be repeated. Leaves a record without a name, erased/…. What
    soft delete and logs keep, and for how long, is in docs/operations.md.

    \b
    erase gs://my-project-files-dev-uploads/cats/tom.jpg --apply
    erase photos-0123456789abcdef0123456789abcdef --apply
    erase --owner 0123456789abcdef0123456789abcdef --apply
    """
    output = Output(as_json)
    if bool(target) == bool(owner):
        raise click.UsageError("name one object, a file_id, or an --owner")
    scope = Scope.of(session.environment, target, owner)
    job = Erasure(session.clients, session.environment, scope)
    with output.progress("erasing") as step:
        told = partial(step, 0)
        counts = job.erase(timeout, told) if apply else job.find().counts()
    if as_json:
        output.document({"applied": apply, "objects": counts})
        return
    rows = [(kind, f"{count:,}") for kind, count in counts.items() if count]
    if not rows:
        output.say("There is nothing of it.")
        return
    output.table(("", "objects, earlier versions too"), rows)
    output.say("Erased." if apply else "Nothing was changed: --apply erases them.")


def _set(session: Session, only: str, method: str, said: str) -> None:
    lanes = session.environment.config.lanes
    if only and only not in lanes:
        raise Problem(f"there is no lane {only}; there are {', '.join(sorted(lanes))}")
    for name in [only] if only else lanes:
        for queue in lanes[name].queues:
            try:
                getattr(session.clients.tasks, method)(name=queue)
            except Exception as error:
                raise explained(error, queue) or error from None
        Output(False).say(f"{name}: {said}")


@click.command()
@click.option("--lane", default="", help="Only this lane. [default: all]")
@click.pass_obj
def pause(session: Session, lane: str) -> None:
    """Stop the lanes' queues at once. Uploads still become tasks; none runs until `resume`.

    Nothing is lost within 31 days. `doctor` and the next plan say that it is so, with the command
    that ends it.
    """
    _set(session, lane, "pause_queue", "paused; its tasks wait for at most 31 days")


@click.command()
@click.option("--lane", default="", help="Only this lane. [default: all]")
@click.pass_obj
def resume(session: Session, lane: str) -> None:
    """Let the lanes' queues go on."""
    _set(session, lane, "resume_queue", "runs")


@click.command()
@click.option("--since", type=TIME, default="7d", show_default=True,
              help="Files recorded from this time on.")  # fmt: skip
@click.option("--until", type=TIME, help="Only before this time.")
@click.option("--prefix", default="", help="Only objects whose name begins so.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE",
              help="Draw them into a page of its own.")  # fmt: skip
@as_json
@click.pass_obj
def stats(
    session: Session, since: datetime, until: datetime | None, prefix: str, html: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Numbers of the records: files, outcomes, failures by reason, how long each stage took, bytes,
    and what a day costs.

    A file counts by its newest record. One read for each record of the time.
    """
    output = Output(as_json)
    with output.progress("reading") as step:
        job = Statistics(session.clients, session.environment, since, until, prefix)
        found = job.read(step)
    if html:
        html.write_text(drawn(found), "utf-8")
        output.say(f"Drawn into {html}")
    if as_json:
        output.document(found)
        return
    output.table(("", "files"), [("all", f"{found['files']:,}"), *found["outcomes"].items()])
    if found["failures"]:
        output.table(("failed because", "files"), found["failures"].items())
    rows = [(stage, *(f"{v:,.2f}" for v in its.values())) for stage, its in found["stages"].items()]
    if rows:
        output.table(("seconds", *next(iter(found["stages"].values()))), rows)
    days = [
        (day, f"{its['files']:,}", f"{its['bytes']:,}", f"${its['dollars']:.4f}")
        for day, its in found["days"].items()
    ]
    output.table(("day", "files", "bytes", "about"), days)
    output.say(f"Redrives and re-renders: {found['reruns']:,}. {HOUR}")
