"""What the workflows call: `python3 -m scripts.ci --help`. Each command runs on a laptop, too."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import deploy
from backend import BOOTSTRAP, use_bucket
from build_functions import BuildError
from deployables import deployables
from known import Early, Refused
from patience import apply
from prepare import Unprepared
from runner import PROJECT, Environment, Failed, SavedPlan, terraform

from . import ROOT, affected, plans, texts
from .github import GitHub
from .plans import Json
from .store import Store

HERE = ROOT / "build" / "ci"  # summaries, and what `prepare` leaves to `apply`
PLAN = "plan.tfplan"
SHOWCASE = "showcase"  # for trying, and delivered nowhere
WHO = ("project", "plan_provider", "plan_account", "apply_provider", "apply_account")


def delivered() -> list[str]:
    """The environments in the order in which a change reaches them."""
    known = deploy.environments()
    first = [name for name in ("dev", "staging", "prod") if name in known]
    own = (*first, BOOTSTRAP, SHOWCASE)
    return first + [name for name in known if name not in own]


def store(environment: Environment) -> Store:
    return Store(f"{environment.project}-{environment.prefix}-plans")


# Commands


def command_affected(arguments: argparse.Namespace) -> None:
    """Which environments the commits between base and head touch."""
    span = f"{arguments.base}...{arguments.head}"
    paths = git("diff", "--name-only", "--no-renames", span).splitlines()
    touched = affected.environments(paths, delivered())
    notes = affected.notes(paths, touched, arguments.fork)
    planned = [] if arguments.fork else touched
    output(environments=json.dumps(planned), notes=json.dumps(notes))
    show("\n\n".join(notes or [f"Touched: {', '.join(touched) or 'no environment'}."]))


def command_plan(arguments: argparse.Namespace) -> None:
    """Plans for review: shows the plan, and keeps what was reviewed where the state is kept."""
    environment = named(arguments)
    commit = arguments.head or git("rev-parse", "HEAD")
    shown, zips, _ = fresh_plan(environment)
    plan = plans.normalised(shown)
    name = f"reviewed/{environment.name}/{commit}/{run_name()}.json"
    store(environment).write(name, json.dumps(plan).encode())
    summed = plans.summary(environment.name, commit, shown, zips)
    save(f"{environment.name}.json", summed)
    show(texts.plan(summed))


def command_prepare(arguments: argparse.Namespace) -> None:
    """Plans to apply: compares with what was reviewed, and keeps plan and zips for `apply`.

    Raises:
        Refused: the plan is not the reviewed one, nor accepted, and nobody is asked later.
    """
    environment = named(arguments)
    commit = git("rev-parse", "HEAD")
    shown, zips, plan_file = fresh_plan(environment)
    plan, digest = plans.normalised(shown), plans.digest(plans.normalised(shown))
    summed = plans.summary(environment.name, commit, shown, zips)
    show(texts.plan(summed))
    prepared: Json = {"summary": summed, "changes": plans.changes_anything(plan)}
    if prepared["changes"]:
        if problem := objection(environment, plan, digest, arguments):
            if not arguments.approval:
                show(problem)
                raise Refused(problem)
            show(f"> [!WARNING]\n> {problem}\n\nAn approval of this run accepts the plan above.")
        data = bundle(plan_file, zips)
        prepared["name"] = f"prepared/{environment.name}/{commit}/{run_name()}.zip"
        prepared["sha256"] = hashlib.sha256(data).hexdigest()
        store(environment).write(prepared["name"], data)
    save(f"{environment.name}-prepared.json", prepared)
    output(
        changes=str(prepared["changes"]).lower(),
        name=prepared.get("name", ""),
        sha256=prepared.get("sha256", ""),
    )


def objection(
    environment: Environment, plan: Json, digest: str, arguments: argparse.Namespace
) -> str | None:
    """Why this plan is not applied by itself; None when it is the reviewed or the accepted one."""
    if arguments.reviewed:
        if arguments.reviewed == digest:
            return None
        return texts.departed(
            environment.name, [f"accepted was {arguments.reviewed}, made was {digest}"], digest
        )
    kept = store(environment)
    head = arguments.head
    name = kept.newest(f"reviewed/{environment.name}/{head}/") if head else None
    if name is None:
        return texts.unreviewed(environment.name, digest)
    differences = plans.difference(json.loads(kept.read(name)), plan)
    return texts.departed(environment.name, differences, digest) if differences else None


def command_apply(arguments: argparse.Namespace) -> None:
    """Applies what `prepare` kept, that and nothing else, and plans once more: no changes."""
    environment = named(arguments)
    name, sha256 = arguments.name, arguments.sha256
    if not name:
        prepared = HERE / f"{environment.name}-prepared.json"
        if not prepared.exists():
            raise Refused("nothing is prepared. First: python3 -m scripts.ci prepare")
        kept = json.loads(prepared.read_text())
        prepared.unlink()  # once: whatever comes of it, the next apply needs a new plan
        if not kept["changes"]:
            print(f"ci: {environment.name}: nothing to apply")
            return
        name, sha256 = kept["name"], kept["sha256"]
    data = store(environment).read(name)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Refused(f"{name} is not what was prepared: its sha256 is another. Nothing is applied")
    plan = SavedPlan(environment, unbundle(data))
    try:
        use_bucket(environment)
        deploy.compare(plan)
        deploy.build_images(plan)
        try:
            apply(plan)
        except (Failed, Refused) as error:
            # Stale plans and held locks are refused before anything is done.
            if isinstance(error, (Failed, Early)) or "login" in str(error):
                show(texts.half_applied(environment.name))
            raise
    finally:
        plan.path.unlink(missing_ok=True)
    if deploy.differs(environment):
        raise Refused(f"{environment.name} was applied, and yet a new plan has changes: see above")
    show(f"{environment.name}: applied, and a new plan has no changes.")


def command_drift(arguments: argparse.Namespace) -> None:
    """Whether an environment differs from this commit; tells, changes nothing."""
    environment = named(arguments)
    shown, zips, _ = fresh_plan(environment)
    summed = plans.summary(environment.name, git("rev-parse", "HEAD"), shown, zips)
    summed["differs"] = plans.changes_anything(plans.normalised(shown))
    save(f"{environment.name}.json", summed)
    show(texts.plan(summed))


def command_comment(arguments: argparse.Namespace) -> None:
    """Writes or updates the comment of a pull request from the summaries in build/ci."""
    expected, notes = json.loads(arguments.environments), json.loads(arguments.notes)
    text = texts.comment(notes, expected, summaries(expected), arguments.run)
    GitHub.from_environ().comment(arguments.number, texts.COMMENT_MARK, text)


def command_issue(arguments: argparse.Namespace) -> None:
    """Opens, updates or closes the issue of each environment that has a summary in build/ci."""
    github = GitHub.from_environ()
    for summed in summaries(delivered()):
        name = summed["environment"]
        text = texts.issue(summed, arguments.run) if summed["differs"] else None
        closing = texts.issue_closed(name, arguments.run)
        done = github.keep_issue(texts.issue_mark(name), texts.issue_title(name), text, closing)
        print(f"ci: {name}: issue: {done}")


def command_reviewed(arguments: argparse.Namespace) -> None:
    """Which commit was reviewed, for the one that was merged."""
    output(head=GitHub.from_environ().reviewed_head(arguments.head))


def command_notes(arguments: argparse.Namespace) -> None:
    """The release notes of a version, from CHANGELOG.md."""
    try:
        print(texts.release_notes((ROOT / "CHANGELOG.md").read_text("utf-8"), arguments.version))
    except ValueError as error:
        raise Refused(str(error)) from error


def command_who(arguments: argparse.Namespace) -> None:
    """Project, providers and accounts of an environment, from the repository's variable."""
    text = os.environ.get("ENVIRONMENTS", "")
    try:
        settings = json.loads(text or "{}").get(arguments.environment, {})
    except (ValueError, AttributeError) as error:
        raise Refused(f"the variable ENVIRONMENTS is not a JSON object: {error}") from error
    if missing := [name for name in WHO if not isinstance(settings.get(name), str)]:
        raise Refused(
            f"the repository's variable ENVIRONMENTS lacks {', '.join(missing)} of "
            f"{arguments.environment}: set it as docs/delivery.md says"
        )
    output(**{name: settings[name] for name in WHO})


# What they share


def named(arguments: argparse.Namespace) -> Environment:
    if arguments.environment not in delivered():
        raise Refused(
            f"there is no environment {arguments.environment}; there are {', '.join(delivered())}"
        )
    deploy.check_project(arguments.project)
    # Whoever runs this: what is planned is what the account applies, which must act as others.
    applies = f"{arguments.prefix}-apply@{arguments.project}.iam.gserviceaccount.com"
    os.environ.setdefault("TF_VAR_deployer", f"serviceAccount:{applies}")
    return Environment(arguments.environment, arguments.project, arguments.prefix)


def fresh_plan(environment: Environment) -> tuple[Json, dict[str, str], Path]:
    """A plan of the checkout as Terraform shows it, the zips' hashes, and the plan's file.

    Without a lock: a plan changes nothing, and who plans may not write the state. A plan that
    somebody overtakes is refused by Terraform when it is applied.
    """
    deploy.check_spelling(environment)
    made_from = deploy.sources(environment)
    zips = {one.name: made_from[one.name] for one in deployables()}
    use_bucket(environment)
    path = HERE / f"{environment.name}.tfplan"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    terraform(environment, "plan", "-input=false", "-lock=false", f"-out={path}", quiet=True)
    path.chmod(0o600)
    return SavedPlan(environment, path).shown, zips, path


def bundle(plan_file: Path, zips: dict[str, str]) -> bytes:
    """A plan and the functions' zips that it uploads, as one zip; the plan's file goes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.write(plan_file, PLAN)
        for name in zips:
            archive.write(ROOT / "build" / f"{name}.zip", f"{name}.zip")
    plan_file.unlink()
    return buffer.getvalue()


def unbundle(data: bytes) -> Path:
    """Puts the zips where the plan expects them; returns the plan's file."""
    HERE.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in set(archive.namelist()) - {PLAN}:
            (ROOT / "build" / name).write_bytes(archive.read(name))
        path = HERE / PLAN
        path.touch(0o600)
        path.write_bytes(archive.read(PLAN))
    return path


def summaries(names: list[str]) -> list[Json]:
    paths = [HERE / f"{name}.json" for name in names]
    return [json.loads(path.read_text("utf-8")) for path in paths if path.exists()]


def save(name: str, value: Json) -> None:
    HERE.mkdir(parents=True, exist_ok=True)
    (HERE / name).write_text(json.dumps(value, indent=1), "utf-8")


def show(text: str) -> None:
    """To the log, and to the run's page."""
    print(text)
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(page).open("a", encoding="utf-8") as file:
            file.write(texts.limited(text, "") + "\n\n")


def output(**values: str) -> None:
    """Outputs of a workflow's step; on a laptop they are printed."""
    lines = [f"{name}={value}" for name, value in values.items()]
    if any("\n" in line for line in lines):
        raise ValueError("an output of a step is one line")
    if path := os.environ.get("GITHUB_OUTPUT"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    else:
        print("\n".join(lines))


def run_name() -> str:
    """What no other run writes: GitHub's run and attempt, or this machine's time and process."""
    run, attempt = os.environ.get("GITHUB_RUN_ID"), os.environ.get("GITHUB_RUN_ATTEMPT")
    return f"{run}-{attempt}" if run and attempt else f"{time.time_ns()}-{os.getpid()}"


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


COMMANDS = {
    "affected": command_affected,
    "apply": command_apply,
    "comment": command_comment,
    "drift": command_drift,
    "issue": command_issue,
    "notes": command_notes,
    "plan": command_plan,
    "prepare": command_prepare,
    "reviewed": command_reviewed,
    "who": command_who,
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python3 -m scripts.ci", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    for name, function in COMMANDS.items():
        text = (function.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=text, description=function.__doc__)
        if name in ("plan", "prepare", "apply", "drift"):
            command.add_argument("--environment", required=True)
            command.add_argument("--project", default=os.environ.get(PROJECT, ""))
            command.add_argument("--prefix", default="files")
        if name in ("comment", "issue"):
            command.add_argument("--run", default="", help="address of the run")
        if name in ("affected", "plan", "prepare", "reviewed"):
            command.add_argument("--head", default="", help="the commit that is or was reviewed")
    for name, option, extra in (
        ("affected", "--base", {"required": True}),
        ("affected", "--fork", {"type": lambda word: word == "true", "default": False}),
        ("prepare", "--reviewed", {"default": "", "help": "the digest of a plan that was read"}),
        ("prepare", "--approval", {"action": "store_true", "help": "somebody is asked later"}),
        ("apply", "--name", {"default": "", "help": "as prepare said (default: the last)"}),
        ("apply", "--sha256", {"default": ""}),
        ("comment", "--number", {"type": int, "required": True}),
        ("comment", "--environments", {"required": True}),
        ("comment", "--notes", {"default": "[]"}),
        ("notes", "--version", {"required": True}),
        ("who", "--environment", {"required": True}),
    ):
        commands.choices[name].add_argument(option, **extra)
    return made


def main() -> int:
    arguments = parser().parse_args()
    try:
        COMMANDS[arguments.command](arguments)
    except (Refused, Unprepared, BuildError) as error:
        print(f"ci: {error}", file=sys.stderr)
        return 1
    except Failed as error:
        sys.stderr.write(error.said)
        return error.code or 1
    except OSError as error:
        print(f"ci: {error}", file=sys.stderr)
        return 1
    return 0
