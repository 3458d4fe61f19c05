"""Plans, applies, verifies and destroys the environments: `python3 scripts/deploy.py --help`.

Everything that Terraform needs is passed on its command line or in its environment, so nobody edits
a file to try this. Each problem that has a known way on is told in one line.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import build_functions
import capacity
import images
from backend import BOOTSTRAP, drop_local_state, initialized, use_bucket, use_local_file
from known import NO_LOGIN, Refused
from patience import apply
from prepare import ROOT, Unprepared, check_terraform, told
from runner import (
    PREFIX,
    PROJECT,
    Environment,
    Failed,
    SavedPlan,
    prefix_of,
    terraform,
)
from spelling import misspelt
from tokens import access_token

PLATFORMS = ("linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64")
TOKENS = ("GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CREDENTIALS", "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT")
INTERRUPTED = 130
NOBODY = "nobody is here to ask. Say --yes (make: YES=1) to go on without a question"


# Commands


def plan(environment: Environment, path: Path, *options: str) -> bool:
    """Makes and shows a plan. Saves it, unless it changes nothing, and returns whether it does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    changes = differs(environment, f"-out={path}", *options)
    if changes:
        path.chmod(0o600)
    else:
        path.unlink(missing_ok=True)
    return changes


def differs(environment: Environment, *options: str, quiet: bool = False) -> bool:
    """Whether a plan, which is shown unless quiet, would change anything."""
    try:
        terraform(environment, "plan", "-input=false", "-detailed-exitcode", *options, quiet=quiet)
    except Failed as failure:
        if failure.code == 2:
            return True
        raise
    return False


def plan_and_apply(environment: Environment, question: str, yes: bool, *options: str) -> bool:
    """Shows a plan, asks, and applies that very plan, which no later run can meet.

    Returns whether there was anything to apply.
    """
    if not yes and not sys.stdin.isatty():
        raise Refused(NOBODY)
    path = environment.saved_plan.with_suffix(f".{os.getpid()}.tfplan")
    try:
        changes = plan(environment, path, *options)
        if changes:
            made = SavedPlan(environment, path)
            compare(made)
            if not yes:
                confirm(question)
            build_images(made)
            apply(made, *options)
        return changes
    finally:
        path.unlink(missing_ok=True)


def compare(made: SavedPlan) -> None:
    """What a plan takes, with what the project may. Raises Refused where that is too little."""
    if made.environment.name != BOOTSTRAP:
        capacity.compare(made.environment.project, capacity.tell(made), operators_python())


def build_images(made: SavedPlan) -> None:
    """Has the images built that the plan's jobs run, and that are not there. Raises Refused."""
    if made.environment.name != BOOTSTRAP and images.images(made.shown):
        try:
            images.ensure(made.shown, made.environment.prefix, access_token())
        except images.ImageFailed as error:
            raise Refused(str(error)) from error


def command_plan(environment: Environment, _arguments: argparse.Namespace) -> None:
    made_from = sources(environment)
    environment.planned_from.unlink(missing_ok=True)
    with initialized(environment):
        changes = plan(environment, environment.saved_plan)
        if changes:
            capacity.tell(SavedPlan(environment, environment.saved_plan))
    if changes:
        environment.planned_from.write_text(json.dumps(made_from))
        print(f"deploy: saved. Apply it with: {environment.command('apply')}")


def command_apply(environment: Environment, arguments: argparse.Namespace) -> None:
    made_from = sources(environment)
    with initialized(environment):
        if not saved_whole(environment):
            question = f"Apply this to {environment.name} in {environment.project}?"
            if plan_and_apply(environment, question, arguments.yes):
                tell_the_time(environment)
            return
        # Once: whatever comes of it, the next apply needs a new plan.
        try:
            if made_from != json.loads(environment.planned_from.read_text()):
                raise Refused(
                    "the functions or the configuration changed after the plan was saved, so it is "
                    f"dropped. Plan again: {environment.command('plan')}"
                )
            print(f"deploy: applying the saved plan {environment.saved_plan.relative_to(ROOT)}")
            saved = SavedPlan(environment, environment.saved_plan)
            compare(saved)
            build_images(saved)
            apply(saved)
            tell_the_time(environment)
        finally:
            environment.saved_plan.unlink(missing_ok=True)
            environment.planned_from.unlink(missing_ok=True)


def saved_whole(environment: Environment) -> bool:
    """Whether there is a saved plan; one whose `plan` did not end is dropped, and said so."""
    if not environment.saved_plan.exists():
        return False
    if environment.planned_from.exists():
        return True
    environment.saved_plan.unlink()
    print("deploy: the last plan did not end, so what it saved is dropped, and this plans anew")
    return False


def tell_the_time(environment: Environment) -> None:
    """New settings are for new uploads: from when on, and how the others are made again."""
    if environment.name == BOOTSTRAP:
        return
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    again = environment.command("ops", f'ARGS="redrive --rerender --until {now}"')
    print(f"deploy: applied at {now} UTC. What was made before is made again by: {again}")


def command_bootstrap(environment: Environment, arguments: argparse.Namespace) -> None:
    command_apply(environment, arguments)
    # Who plans may read states and write none, yet a first plan would write an empty one.
    github = json.loads(terraform(environment, "output", "-json", quiet=True)).get("github", {})
    for name in github.get("value") or {}:
        if name in environments():
            delivered = Environment(name, environment.project, environment.prefix)
            use_bucket(delivered)
            terraform(delivered, "state", "pull", quiet=True)


def command_verify(environment: Environment, _arguments: argparse.Namespace) -> None:
    sources(environment)
    with initialized(environment):
        print(f"deploy: comparing {environment.name} with its configuration …")
        # A plan that finds nothing has nothing to show; one that does is made again for a person.
        if differs(environment, quiet=True) and differs(environment):
            raise Refused(
                f"{environment.name} differs from its configuration, see above. "
                f"Fix it with: {environment.command('plan')}"
            )
    print(f"deploy: {environment.name} is as configured")
    if environment.name != BOOTSTRAP:
        verify_with_files(environment)


def verify_with_files(environment: Environment) -> None:
    """Puts a picture and a broken file through the pipeline, where the tool for it is installed."""
    python = operators_python()
    if python is None:
        print(
            "deploy: no file was put through it, since the operator's tool is not installed. "
            "Install it with: make prepare"
        )
        return
    command = [python, "-m", "scripts.ops", "--environment", environment.name]
    done = subprocess.run([*command, "--project", environment.project, "verify"], cwd=ROOT)
    if done.returncode:
        raise Failed(done.returncode)


def operators_python() -> str | None:
    """The Python that has what scripts/ops needs: the checkout's, else the one that runs this."""
    own = ROOT / ".venv/bin/python"
    if own.is_file():
        return str(own)
    try:
        needed = (importlib.util.find_spec(name) for name in ("click", "google.cloud.tasks"))
        return sys.executable if all(needed) else None
    except ModuleNotFoundError:
        return None


def command_destroy(environment: Environment, arguments: argparse.Namespace) -> None:
    if environment.name == BOOTSTRAP:
        destroy_bootstrap(environment, arguments.yes)
        return
    sources(environment)
    with initialized(environment):
        question = f"Destroy {environment.name} in {environment.project}?"
        plan_and_apply(environment, question, arguments.yes, "-destroy")


def destroy_bootstrap(environment: Environment, yes: bool) -> None:
    """Destroys the bucket that holds the states, so: not while one of them holds resources."""
    force = "-var=force_destroy=true"
    if not yes and not sys.stdin.isatty():
        raise Refused(NOBODY)
    try:
        if environment.local_state.exists():
            use_local_file(environment)
        else:
            for other in environments():
                if other != BOOTSTRAP:
                    refuse_if_applied(Environment(other, environment.project, environment.prefix))
            use_bucket(environment)
        if not yes:
            terraform(environment, "plan", "-input=false", "-destroy", force)
            confirm(f"Destroy the state bucket and all else of {environment.project}'s bootstrap?")
        if not environment.override.exists():
            print("deploy: moving the state out of its bucket")
            use_local_file(environment, "-migrate-state", "-force-copy")
        # A destroy empties the bucket only if it was applied with force_destroy. Only what follows
        # looks at all resources again: Google's provider takes seconds for that.
        bucket = ("-refresh=false", "-target=module.state.google_storage_bucket.this")
        terraform(environment, "apply", "-input=false", "-auto-approve", force, *bucket, quiet=True)
        terraform(environment, "destroy", "-input=false", "-auto-approve", force)
        drop_local_state(environment)
    finally:
        environment.override.unlink(missing_ok=True)


def refuse_if_applied(environment: Environment) -> None:
    use_bucket(environment)
    state = terraform(environment, "state", "pull", quiet=True)
    if state.strip() and json.loads(state).get("resources"):
        raise Refused(
            f"{environment.name} still exists in {environment.project}, and its state is in the "
            f"bucket. Destroy it first: {environment.command('destroy')}"
        )


def command_unlock(environment: Environment, arguments: argparse.Namespace) -> None:
    if not arguments.lock:
        raise Refused("unlock needs --lock ID, which the refused run has shown")
    with initialized(environment):
        terraform(environment, "force-unlock", "-force", arguments.lock)


def lock_files(names: list[str]) -> None:
    """Writes .terraform.lock.hcl for the platforms that people and CI work on."""
    for name in names:
        environment = Environment(name, "none", "none")
        terraform(environment, "providers", "lock", *(f"-platform={name}" for name in PLATFORMS))


# Checks


def environments() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "environments").glob("*/main.tf"))


def check_login() -> None:
    """Whether there is a login at all; whether Google accepts it, only Google can tell."""
    key = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if key and not Path(key).is_file():
        raise Refused(f"GOOGLE_APPLICATION_CREDENTIALS names {key}, where there is no file")
    if key or any(os.environ.get(name) for name in TOKENS):
        return
    config = os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config/gcloud"
    if (Path(config) / "application_default_credentials.json").is_file():
        return
    # There the machine itself is logged in.
    if (
        os.environ.get("CLOUD_SHELL") == "true"
        or os.environ.get("GCE_METADATA_HOST")
        or on_google()
    ):
        return
    raise Refused(NO_LOGIN)


def on_google(product: Path = Path("/sys/class/dmi/id/product_name")) -> bool:
    """Whether this is a machine of Compute Engine's, told as google-auth tells it."""
    try:
        return product.read_text().startswith("Google")
    except OSError:
        return False


def check_project(project: str) -> None:
    if not project:
        raise Refused("no project is named. Say which with --project (make: PROJECT=…)")
    if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", project):
        raise Refused(
            f"{project} is not a project id: 6 to 30 lower-case letters, digits and hyphens. "
            "gcloud projects list shows yours"
        )


def sources(environment: Environment) -> dict[str, str]:
    """What a plan is made from, by its sha256: the zips, built here, and the configuration."""
    digest = hashlib.sha256(environment.prefix.encode())
    for folder in (environment.folder, ROOT / "terraform"):
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(ROOT).parts
            # All that Terraform may read, a workflow's source too; not what init makes, no pages.
            ours = path.suffix != ".md" and not any(part.startswith(".") for part in parts)
            if ours and path.is_file() and path != environment.override:
                digest.update("/".join(parts).encode() + path.read_bytes())
    zips = {} if environment.name == BOOTSTRAP else build_functions.build()
    return zips | {"configuration": digest.hexdigest()}


def check_spelling(environment: Environment) -> None:
    """Of the settings within objects; all else Terraform checks itself."""
    call = environment.folder / "main.tf"
    if environment.name != BOOTSTRAP and (wrong := misspelt(call)):
        raise Refused(f"environments/{wrong}")


def check_prefix(environment: Environment) -> None:
    """The state lies under the command's prefix, and what it holds under that of the call."""
    said = prefix_of(environment.folder)
    if said not in (None, environment.prefix):
        raise Refused(
            f'environments/{environment.name}/main.tf has the prefix "{said}", and this command '
            f'"{environment.prefix}". Name the same with --prefix (make: PREFIX=…)'
        )


def confirm(question: str) -> None:
    if input(f"{question} Only 'yes' goes on: ").strip() != "yes":
        raise Refused("nothing was changed")


COMMANDS: dict[str, Callable[[Environment, argparse.Namespace], None]] = {
    "apply": command_apply,
    "bootstrap": command_bootstrap,
    "destroy": command_destroy,
    "plan": command_plan,
    "unlock": command_unlock,
    "verify": command_verify,
}


def run(arguments: argparse.Namespace) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever has an older one is told so
        raise Refused(f"Python {sys.version.split()[0]} is too old: install Python 3.11 or newer")
    check_terraform()
    name = BOOTSTRAP if arguments.command == "bootstrap" else arguments.environment
    if name and name not in environments():
        raise Refused(f"there is no environment {name}; there are {', '.join(environments())}")
    if arguments.command == "lock":
        lock_files([name] if name else environments())
        return
    if not name:
        raise Refused("no environment is named. Say which with --environment (make: ENV=…)")
    check_project(arguments.project)
    check_login()
    environment = Environment(name, arguments.project, arguments.prefix)
    if name != BOOTSTRAP:
        check_prefix(environment)
    if arguments.command in ("plan", "apply", "verify"):
        check_spelling(environment)
    COMMANDS[arguments.command](environment, arguments)


def parser() -> argparse.ArgumentParser:
    description = "Plans, applies, verifies and destroys the environments."
    made = argparse.ArgumentParser(description=description)
    made.add_argument("command", choices=sorted([*COMMANDS, "lock"]))
    made.add_argument("--environment", default="", help="a folder of environments/")
    made.add_argument("--project", default=os.environ.get(PROJECT, ""))
    made.add_argument("--prefix", default=PREFIX, help="as in the environments (default: files)")
    made.add_argument("--yes", action="store_true", help="do not ask before changing anything")
    made.add_argument("--lock", default="", help="unlock: the lock's id")
    return made


def main() -> int:
    # In a log as on a terminal: what is said here stands before what Terraform says after it.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # So that what is under way is tidied up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(parser().parse_args())
    except (Refused, Unprepared, build_functions.BuildError) as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    except Failed as error:
        sys.stderr.write(error.said)
        return error.code
    except OSError as error:
        print(f"deploy: {told(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("deploy: interrupted; the same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
