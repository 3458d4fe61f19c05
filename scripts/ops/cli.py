"""The commands: `python -m scripts.ops --help`."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import click

from . import approvals, commands, costs
from .doctor import Doctor, Finding
from .filters import Filter
from .logs import logs
from .naming import name_of
from .options import SPAN, Session, acting, as_json, filtered, one_file
from .output import SHOWN, Output, counted
from .problems import Problem, explained
from .reconcile import Reconciliation, cost_of
from .redrive import Redrive, Selection, names
from .status import failed, status_of
from .subscribers import ROLES, Subscribers
from .tasks import tasks
from .verify import TIMEOUT, Verification
from .work import Queues

FOUND, STOPPED, INTERRUPTED = 1, 2, 130

EPILOG = """
Exit codes: 0 all is well · 1 something is wrong in the environment, as printed · 2 the command
could not do its work; one line says why and how to go on · 130 interrupted.

Commands that enqueue only show what they would do; --apply makes them do it. All are safe to
repeat, to interrupt and to run twice at once: the name of a task follows from its work.
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-e", "--environment", "name", default="dev", show_default=True,
              help="A folder of environments/.")  # fmt: skip
@click.option("--project", default="", help="Refuse to work on any other project than this one.")
@click.option("--outputs", type=click.Path(path_type=Path), metavar="FILE",
              help="What `terraform output -json` printed; Terraform is not asked.")  # fmt: skip
@click.option("--uploads-bucket", default="", help="In place of Terraform's output.")
@click.option("--results-bucket", default="", help="In place of Terraform's output.")
@click.option("--dead-letter-subscription", default="", help="In place of Terraform's output.")
@click.pass_context
def cli(ctx: click.Context, /, name: str, project: str, outputs: Path | None, **names: str) -> None:
    """Operates a deployed environment: where files stand, what failed, what is missing, what is
    wrong, and how it is fixed.

    It works with your own login (gcloud auth application-default login), and asks Terraform for the
    names. docs/operations.md lists the roles that each command needs.
    """
    ctx.obj = Session(name, project, outputs, **names)


cli.add_command(logs)
cli.add_command(tasks)


@cli.command()
@click.argument("url", metavar="[gs://UPLOADS/NAME | FILE_ID | TASK]", required=False)
@click.option("--failed", "all_failed", is_flag=True, help="List failures, grouped by reason.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True,
              help="With --failed: at most so many failures.")  # fmt: skip
@filtered
@as_json
@click.pass_obj
def status(
    session: Session, url: str | None, all_failed: bool, limit: int,
    prefix: str, since: datetime | None, until: datetime | None, as_json: bool,
) -> None:  # fmt: skip
    """Where one object stands, each generation and run of it; or, with --failed, what has failed.

    \b
    done           a manifest was written: final
    failed         a failure record, with its reason
    processing     an attempt was started and has left no record yet
    queued         its task waits in the queue
    dead_lettered  the bridge never took its event: redrive --dead-letters
    pending        none of these: its event is on the way, or was lost: reconcile
    ignored        deliberately left alone, with the reason
    handed_over    its lane keeps no records

    \b
    status gs://my-project-files-dev-uploads/cats/tom.jpg
    status photos-0123456789abcdef0123456789abcdef
    status --failed --prefix cats/ --since 24h
    """
    output = Output(as_json)
    if bool(url) == all_failed:
        raise click.UsageError("name one object as gs://UPLOADS/NAME, or say --failed")
    if url:
        _show_object(session, output, url)
        return
    with output.progress("failures") as step:
        chosen = Filter(prefix, since, until)
        found = failed(session.clients, session.environment, chosen, limit, step)
    if as_json:
        output.document(found)
        return
    if not found["failures"]:
        output.say("Nothing has failed.")
        return
    rows = [
        (g["count"], g["reason"], "yes" if g["retryable"] else "no", g["example"])
        for g in found["groups"]
    ]
    output.table(("failures", "reason", "retryable", "example"), rows)
    listed = [
        (o["object"], _which(o), o["run"], o["reason"], o["recorded"])
        for o in found["objects"][:SHOWN]
    ]
    output.say("")
    output.table(("object", "generation", "run", "reason", "recorded"), listed)
    output.more(found["failures"])
    if found["cut"]:
        output.say(f"There are more than {limit:,}: raise --limit")


def _which(generation: dict[str, Any]) -> str:
    return f"{generation['generation']}{' (live)' if generation['live'] else ''}"


def _show_object(session: Session, output: Output, url: str) -> None:
    name = name_of(session.clients, session.environment, url)
    found = status_of(session.clients, session.environment, name)
    if output.as_json:
        output.document(found)
    elif not found["generations"]:
        output.say(f"{url} was never uploaded, or is gone without a trace.")
    else:
        rows = [
            (
                _which(one),
                one["state"],
                one["run"],
                one.get("attempt") or max((r["attempts"] for r in one["runs"]), default=0),
                one.get("reason"),
                one["uploaded"],
            )
            for one in found["generations"]
        ]
        output.table(("generation", "state", "run", "attempt", "reason", "uploaded"), rows)
        for one in found["generations"]:
            for task in one.get("tasks", ()):
                output.say(
                    f"{one['generation']}: run {task['run']} waits in lane {task['lane']}, "
                    f"{task['dispatches']} dispatches, next at {task['next']}"
                    + (f", last answer {task['lastAnswer']}" if task["lastAnswer"] else "")
                    + (", and its queue is paused: resume" if task["paused"] else "")
                )
            for name in one.get("outputs", ()):
                output.say(f"{one['generation']}: made {name}")
            for run in one["runs"]:
                if run["record"]:
                    output.say(
                        f"{one['generation']}: run {run['run']} is recorded in {run['record']}"
                    )
            if one.get("detail"):
                output.say(f"{one['generation']}: {one['detail']}")
            if "approval" in one:
                output.say(f"{one['generation']}: {approvals.told(one['approval'])}")
            output.say(f"{one['generation']}: trace {one['trace']}")
    if not found["generations"]:
        sys.exit(FOUND)


@cli.command()
@click.option("--dead-letters", is_flag=True, help="The events that the bridge never took.")
@click.option("--rerender", is_flag=True,
              help="Done objects, after changed settings; needs --until.")  # fmt: skip
@click.option("--reason", "reasons", multiple=True, help="Failures: only of this reason.")
@click.option("--permanent", is_flag=True, help="Failures: also those not worth a retry.")
@click.option("--all-generations", is_flag=True, help="Rerender: replaced generations, too.")
@click.option("--subscribers", type=click.Choice(ROLES), help="What webhooks never took.")
@one_file
@filtered
@acting(limit=1000)
@as_json
@click.pass_obj
def redrive(
    session: Session, dead_letters: bool, rerender: bool, reasons: tuple[str, ...],
    permanent: bool, all_generations: bool, subscribers: str | None, file: str, prefix: str,
    since: datetime | None, until: datetime | None, apply: bool, limit: int, rate: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Try again: failures as their next run (by default), dead letters as run 0, or done objects;
    or tell webhooks again what they never took.

    Failures are chosen by the time of their newest record, done objects by that of their newest
    manifest, dead letters by the upload's. --rerender needs --until, the time of the change: what
    was rendered after it is not rendered again when the command is repeated.

    \b
    redrive --reason attempts_exhausted           what would be tried again
    redrive --reason attempts_exhausted --apply   do it
    redrive --dead-letters --apply
    redrive --file photos-0123456789abcdef0123456789abcdef --apply
    redrive --subscribers completions --apply
    redrive --rerender --until 2026-11-21T10:00 --prefix cats/ --apply
    """
    output = Output(as_json)
    _check_redrive(**click.get_current_context().params)
    if subscribers:
        _tell_again(session, output, Subscribers(session.clients, session.environment, subscribers),
                    apply, limit)  # fmt: skip
        return
    queues = Queues(session.clients, session.environment.config, rate)
    with output.progress("looking") as step:
        chosen = session.chosen(file, prefix, since, until)
        job = Redrive(session.clients, session.environment, chosen, limit, step)
        if dead_letters:
            selection = job.dead_letters(queues if apply else None)
        elif rerender:
            selection = job.done(all_generations)
        else:
            selection = job.failures(reasons, permanent)
    estimate = costs.estimate(len(selection.items), min(queues.per_second.values()))
    if apply and not dead_letters:
        output.say(f"Enqueuing {estimate}.")
        with output.progress("enqueuing", len(selection.items)) as step:
            job.progress = step
            job.enqueue(queues)
    if as_json:
        more = {"applied": apply, "estimate": estimate.as_json(), "pausedLanes": queues.paused}
        output.document(selection.as_json() | more)
    else:
        output.first(names(selection.items), len(selection.items))
        _say_counts(output, "By reason", selection.reasons)
        _say_counts(output, "Left out", selection.left_out)
        if rerender:
            _say_of_rerender(output, selection, until)
        elif selection.left_out["permanent"]:
            output.say(
                "A permanent one fails again unless something changed: --permanent takes it."
            )
        _say_end(output, queues, selection.enqueued, apply, str(estimate), len(selection.items))
        if selection.cut:
            output.say(f"There are more than {limit:,}: run again, or raise --limit.")
    _exit_for(selection.enqueued)


def _say_of_rerender(output: Output, selection: Selection, until: datetime | None) -> None:
    if not selection.items and (others := selection.left_out["other_time"]):
        output.say(
            f"Nothing was made at the time that is asked for: {counted(others, 'file')} at another "
            f"one, and --until is {until:%Y-%m-%dT%H:%M:%S} UTC."
        )
    output.say("What failed is not among them: redrive --permanent tries that again.")


def _check_redrive(
    subscribers: str | None, dead_letters: bool, rerender: bool, file: str, permanent: bool,
    reasons: tuple[str, ...], all_generations: bool, until: datetime | None, **_: Any,
) -> None:  # fmt: skip
    """Raises UsageError for options that do not go together."""
    if bool(subscribers) + dead_letters + rerender > 1:
        raise click.UsageError("--dead-letters, --rerender and --subscribers exclude each other")
    if subscribers and file:
        raise click.UsageError("--subscribers is about messages of all files")
    if (dead_letters or rerender) and (reasons or permanent):
        raise click.UsageError("--reason and --permanent are about failures")
    if all_generations and not rerender:
        raise click.UsageError("--all-generations goes with --rerender")
    if rerender and until is None:
        raise click.UsageError("--rerender needs --until, the time of the change")


def _tell_again(
    session: Session, output: Output, job: Subscribers, apply: bool, limit: int
) -> None:
    with output.progress("looking") as step:
        counts = job.redrive(limit, apply, step)
    if output.as_json:
        output.document({"messages": dict(counts), "applied": apply})
    elif not counts:
        output.say("No webhook has dead letters.")
    else:
        output.table(("webhook", "messages"), counts.most_common())
        told = (
            "Published again, each for its webhook." if apply else "--apply publishes them again."
        )
        output.say(told)


@cli.command()
@click.option("--min-age", type=SPAN, default="15m", show_default=True,
              help="Leave younger uploads alone: they are on their way.")  # fmt: skip
@click.option("--current", is_flag=True, help="Only live objects, not replaced generations.")
@one_file
@filtered
@acting(limit=10_000)
@as_json
@click.pass_obj
def reconcile(
    session: Session, min_age: timedelta, current: bool, file: str, prefix: str,
    since: datetime | None, until: datetime | None, apply: bool, limit: int, rate: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare uploads with records; enqueue what has neither a manifest nor a failure record.

    One pass over the listings of both buckets, in constant memory, during uploads if need be. Also
    the way to process a bucket that was filled before there was a pipeline. Without --apply it
    tells what is missing, and what enqueuing and processing it takes.

    \b
    reconcile --prefix cats/
    reconcile --prefix cats/ --apply --limit 100
    """
    output = Output(as_json)
    environment = session.environment
    queues = Queues(session.clients, environment.config, rate)
    if apply:
        most = costs.estimate(limit, min(queues.per_second.values()))
        output.say(f"At most {most}. Listing takes about 2 requests for each 1,000 objects.")
    with output.progress("comparing") as step:
        chosen = session.chosen(file, prefix, since, until)
        job = Reconciliation(session.clients, environment, chosen, min_age, current, step)
        survey = job.enqueue(queues, limit) if apply else job.look()
    estimate = cost_of(survey, queues)
    if as_json:
        more = {"applied": apply, "estimate": estimate.as_json(), "pausedLanes": queues.paused}
        output.document(survey.as_json() | more)
    else:
        _show_survey(output, survey)
        _say_end(output, queues, survey.enqueued, apply, str(estimate), survey.missing)
        if survey.cut:
            output.say(f"Stopped at {limit:,} tasks: run again for the rest, or raise --limit.")
    _exit_for(survey.enqueued)


def _show_survey(output: Output, survey: Any) -> None:
    rows = [
        ("uploads, every generation", survey.uploads),
        ("done", survey.done),
        ("failed", survey.failed),
        ("missing", survey.missing),
        ("too young to be missed", survey.recent),
        ("ignored by a rule", sum(survey.ignored.values())),
        ("handed over", survey.handed_over),
        ("records without an upload", survey.orphans),
        ("foreign objects", survey.foreign),
    ]
    output.table(("", "count"), [(what, f"{n:,}") for what, n in rows if n or what == "missing"])
    for line in survey.examples:
        output.say(f"missing: {line}")
    if survey.missing > len(survey.examples):
        output.say(f"… and {survey.missing - len(survey.examples):,} more")
    dollars = survey.list_requests * costs.LIST_OR_WRITE
    output.say(
        f"Listed with {survey.list_requests:,} requests (${dollars:.4f}) in {survey.seconds:.1f} s."
    )


def _say_counts(output: Output, title: str, counts: Any) -> None:
    if counts:
        text = ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
        output.say(f"{title}: {text}.")


def _say_end(
    output: Output, queues: Queues, enqueued: Any, apply: bool, estimate: str, would: int
) -> None:
    """would: how many would be enqueued without `apply`."""
    for lane in queues.paused:
        output.say(f"The queue of lane {lane} is paused: its tasks wait for at most 31 days.")
    if apply:
        _say_counts(output, "Enqueued", enqueued)
        if not enqueued:
            output.say("Nothing to enqueue.")
    elif would:
        output.say(f"It would take {estimate}. Nothing was changed: --apply does it.")
    else:
        output.say("There is nothing to enqueue.")


def _exit_for(enqueued: Any) -> None:
    """Cloud Tasks was away or throttled for longer than it was worth waiting."""
    if lost := sum(n for reason, n in enqueued.items() if reason.startswith("queue_")):
        raise Problem(f"Cloud Tasks did not take {counted(lost, 'task')}. Run this again")


@cli.command()
@as_json
@click.pass_obj
def doctor(session: Session, as_json: bool) -> None:
    """Check a deployed environment, also what a plan cannot see; each finding with its fix.

    APIs, buckets, exactly one notification, subscriptions with target and audience, queues and
    whether they run, functions and their source against this checkout, every binding, bindings that
    nobody declared, basic roles' access to buckets, what bootstrap granted on the project, and dead
    letters that wait. Changes nothing.
    """
    output = Output(as_json)
    checks = Doctor(session.clients, session.environment, session.state())
    with output.progress("checking", len(checks.checks())) as step:
        numbers = {name: number for number, name in enumerate(checks.checks())}
        findings = checks.examine(begun=lambda name: step(numbers[name], name))
    _show_findings(output, findings)


@cli.command()
@click.option("--timeout", type=click.FloatRange(1),
              help="Seconds until a file must have its record. By default 180, or until the "
                   "environment is 10 minutes old: IAM may need them.")  # fmt: skip
@as_json
@click.pass_obj
def verify(session: Session, timeout: float | None, as_json: bool) -> None:
    """Put a picture and a broken file through the pipeline, then let the doctor look.

    Resources are in the state; the queues' settings are as declared; a picture becomes a manifest,
    a broken file a failure record, each by one attempt. Both files are taken away again.
    """
    output = Output(as_json)
    job = Verification(session.clients, session.environment, session.state(), timeout)
    if timeout is None and (seconds := job.young()) > TIMEOUT:
        output.say(
            "IAM may not know the environment's bindings yet, and refuse a file until it does: "
            f"looking for up to {seconds / 60:.0f} minutes"
        )
    with output.progress("verifying") as step:
        findings = list(job.steps(lambda name: step(0, name)))
    _show_findings(output, findings)


def _show_findings(output: Output, findings: list[Finding]) -> None:
    levels = [finding.level for finding in findings]
    if output.as_json:
        document = {"healthy": not {"error", "unknown"} & {*levels}}
        output.document(document | {"findings": [finding.as_json() for finding in findings]})
    else:
        output.table(("", "check", "finding"), [(f.level, f.check, f.what) for f in findings])
        for finding in findings:
            if finding.fix and finding.fix != finding.what:
                output.say(f"To fix {finding.check}: {finding.fix}")
        output.say(
            f"{counted(levels.count('error'), 'error')}, "
            f"{counted(levels.count('warning'), 'warning')}"
            + (f", {levels.count('unknown')} not checked" if "unknown" in levels else "")
        )
    if "unknown" in levels:
        sys.exit(STOPPED)
    if "error" in levels:
        sys.exit(FOUND)


for command in (
    approvals.approvals, approvals.approve, approvals.reject,
    commands.erase, commands.pause, commands.resume, commands.stats,
):  # fmt: skip
    cli.add_command(command)


def main() -> NoReturn:
    """Runs the command; every problem that is known is one line on stderr."""
    try:
        cli.main(prog_name="python -m scripts.ops", standalone_mode=False)
    except click.exceptions.Abort:
        sys.stderr.write("ops: interrupted; the same command goes on from here\n")
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        problem = error if isinstance(error, Problem) else explained(error)
        if problem is None:
            raise
        sys.stderr.write(f"ops: {problem}\n")
        sys.exit(STOPPED)
    sys.exit(0)
