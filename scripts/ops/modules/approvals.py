"""Approvals: the workflow and who starts it, what hangs, and how many wait."""

from __future__ import annotations

from collections.abc import Iterator

from ..approvals import Approvals
from ..declared import block
from ..look import Checks, Finding, Look, short
from .completions import undelivered

WORKFLOWS = "https://workflows.googleapis.com/v1"
PROJECTS = "https://cloudresourcemanager.googleapis.com/v1/projects"
MANY = 8000  # of the 10,000 executions that a region takes


def least(look: Look) -> dict[str, int]:
    return {
        "google_pubsub_subscription": 1,
        "google_pubsub_topic": 1,
        "google_service_account": 1,
        "google_storage_bucket": 1,
        "google_storage_notification": 3,
        "google_workflows_workflow": 1,
    }


def workflow(look: Look) -> Iterator[Finding]:
    check = "workflow of approvals"
    for declared in look.state.of("google_workflows_workflow"):
        values = declared.values
        place = f"projects/{values['project']}/locations/{values['region']}"
        name = f"{place}/workflows/{short(values['name'])}"
        there = look.get("GET", f"{WORKFLOWS}/{name}")
        if there is None:
            yield look.absent(check, declared, name)
            continue
        account = short(there.get("serviceAccount", "")), short(values["service_account"])
        pairs = {
            "state": (there.get("state"), "ACTIVE"),
            "account": account,
            "settings": (there.get("userEnvVars", {}), values.get("user_env_vars") or {}),
        }
        yield from look.differing(check, name, pairs)
        if there.get("sourceContents") != values["source_contents"]:
            yield Finding("error", check, f"{name} runs another source than declared", look.apply)


def starter(look: Look) -> Iterator[Finding]:
    """The account that starts executions holds bootstrap's role, without which none begins."""
    check = "starter of approvals"
    project = look.environment.project
    body = {"options": {"requestedPolicyVersion": 3}}
    policy = look.get("POST", f"{PROJECTS}/{project}:getIamPolicy", body) or {}
    held = {(b["role"], m) for b in policy.get("bindings", []) for m in b["members"]}
    for declared in look.state.of("google_pubsub_subscription"):
        token = block(declared.values, "push_config", "oidc_token")
        email = token.get("service_account_email", "")
        if declared.module == "approvals" and email.endswith(
            f"-starter@{project}.iam.gserviceaccount.com"
        ):
            prefix = email.partition("-approvals-starter@")[0].replace("-", "_")
            role = f"projects/{project}/roles/{prefix}_approvals_starter"
            if (role, f"serviceAccount:{email}") not in held:
                what = f"{email} lacks {role} on {project}: no approval begins"
                yield Finding("error", check, what, look.bootstrap)


def waiting(look: Look) -> Iterator[Finding]:
    check = "executions of approvals"
    asked = Approvals(look.clients, look.environment).requests()
    hung = [one.key for one in asked if one.state == "hung"]
    if hung:
        what = f"{len(hung)} files are asked about, and no execution waits any more: {hung[0]} …"
        fix = look.ops("approvals --restart --apply")
        yield Finding("error", check, what, fix)
    if len(asked) > MANY:
        what = f"{len(asked)} files wait for somebody; beyond 10,000 none begins to"
        yield Finding("error", check, what, look.ops("approvals"))


CHECKS: Checks = {
    "dead letters of approvals": undelivered("approvals"),
    "executions of approvals": waiting,
    "starter of approvals": starter,
    "workflow of approvals": workflow,
}
