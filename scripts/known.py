"""What Terraform fails with that has a known way on: told in one line, by the text of the error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner import Environment

LOGIN = "Log in with: gcloud auth application-default login"
if (Path(__file__).parents[1] / ".local/activate").exists():
    LOGIN += "; or, for the local cloud that runs here: source .local/activate"
NO_LOGIN = f"no login to Google Cloud is set up. {LOGIN}"


class Refused(Exception):
    """Something that the user can fix: what, and how."""


class NoStateBucket(Refused):
    """The project was not bootstrapped yet."""


class Early(Refused):
    """Google does not know yet what was made a moment ago: what, and for how long."""


# Text of the error → what it means, in words that take the environment and commands of it.
# The first that fits counts.
KNOWN = {
    r"Failed to unlock state": (
        "the state of {name} is not locked with this id. Either it is free already, or the id is "
        "another: a plan that is refused shows it"
    ),
    r"Saved plan is stale|inconsistent final plan": (
        "the plan is older than the state or the zips, and is dropped. Plan again: {plan}"
    ),
    r"nitialization required": (
        "{name} is not initialized in this checkout: name its project with --project (make: "
        "PROJECT=…)"
    ),
    r"Failed to query available provider packages": (
        "the Terraform registry cannot be reached, nor is the provider on this machine. "
        "Check the network and run this again"
    ),
    r"(?i)could not find default credentials": NO_LOGIN,
    r"(?i)getting credentials|invalid_grant"
    r"|invalid authentication|Error 401\b": f"Google does not accept the login. {LOGIN}",
    r"(?i)billing account for|absent billing account|billing (must|to) be enabled": (
        "{project} has no billing account, and needs one. Give it one with: "
        "gcloud billing projects link {project} --billing-account=ACCOUNT"
    ),
    r"permission to use project|not found or permission denied|denied to \w+ service": (
        "there is no project {project}, or this login may not use it. "
        "gcloud projects list shows yours; log in as its owner with: "
        "gcloud auth application-default login"
    ),
    r"has not been used in project|SERVICE_DISABLED|accessNotConfigured": (
        "an API of {project} is not on, or not yet: that takes some minutes after bootstrap. "
        "Run this again then; first, if that was not done: {bootstrap}"
    ),
}
NO_STATE_BUCKET = r"bucket doesn't exist|bucket does not exist"


def known(environment: Environment, errors: str) -> Refused | None:
    """The way on from a failure that is known by its text, or None."""
    text = re.sub(r"\x1b\[[0-9;]*m|[│╷╵]", "", errors)
    if early := _early(text):
        return early
    if locked := _locked(environment, text):
        return locked
    if re.search(NO_STATE_BUCKET, text):
        return NoStateBucket(
            f"the state bucket {environment.state_bucket} does not exist. Make it first: "
            f"{environment.command('bootstrap')}"
        )
    says = next((says for said, says in KNOWN.items() if re.search(said, text)), None)
    if says is None:
        return None
    commands = {target: environment.command(target) for target in ("bootstrap", "plan")}
    return Refused(says.format(name=environment.name, project=environment.project, **commands))


def _locked(environment: Environment, text: str) -> Refused | None:
    found = dict(re.findall(r"^\s*(ID|Who|Operation|Created):\s+(.+?)\s*$", text, re.M))
    if "Error acquiring the state lock" not in text or "ID" not in found:
        return None
    return Refused(
        f"the state of {environment.name} is locked by {found.get('Who', 'somebody')} "
        f"({found.get('Operation', 'an operation')}, since {found.get('Created', '?')}). "
        "Wait for that run to end; if it died, release its lock with: "
        f"{environment.command('unlock', 'LOCK=' + found['ID'])}"
    )


# What each error of an apply says where Google needs minutes to know what it was just told.
# https://docs.cloud.google.com/iam/docs/access-change-propagation, GoogleCloudPlatform/
# cloud-ops-sandbox issue 896, hashicorp/terraform-provider-google issue 20571
EARLY = {
    r"metric referenced by the provided filter is unknown": (
        "Cloud Monitoring does not know the new metrics yet, which takes up to 10 minutes"
    ),
    r"missing permission on the build service account|iam\.service[Aa]ccounts\.actAs": (
        "IAM does not know a new binding yet, which takes up to 7 minutes"
    ),
}


def _early(text: str) -> Early | None:
    """Where every error of a run is one of those that go by themselves."""
    errors = re.split(r"^\s*Error: ", text, flags=re.M)[1:]
    found = [
        next((known for said, known in EARLY.items() if re.search(said, error)), "")
        for error in errors
    ]
    return Early("; ".join(dict.fromkeys(found))) if found and all(found) else None
