"""What stops a command, told in one line that names the way on; exit code 2."""

from __future__ import annotations

import re

from google.api_core import exceptions as api
from google.auth import exceptions as auth
from known import LOGIN, NO_LOGIN
from requests import exceptions as http

ROLES = "docs/operations.md lists the roles that each command needs"
# The role that holds a permission, where there is one to be granted for it.
ROLE_OF = {
    "cloudfunctions.functions.get": "roles/cloudfunctions.viewer",
    "cloudtasks.queues.get": "roles/cloudtasks.viewer",
    "cloudtasks.tasks.get": "roles/cloudtasks.viewer",
    "cloudtasks.tasks.create": "roles/cloudtasks.enqueuer",
    "iam.serviceAccounts.actAs": "roles/iam.serviceAccountUser",
    "pubsub.subscriptions.consume": "roles/pubsub.subscriber",
    "pubsub.subscriptions.get": "roles/pubsub.viewer",
    "serviceusage.services.list": "roles/iam.securityReviewer",
    "storage.buckets.get": "roles/storage.bucketViewer",
    "storage.objects.create": "roles/storage.objectUser",
    "storage.objects.get": "roles/storage.objectViewer",
    "storage.objects.list": "roles/storage.objectViewer",
    "workflows.callbacks.list": "bootstrap's role of approvers",
    "workflows.callbacks.send": "bootstrap's role of approvers",
    "workflows.executions.create": "roles/workflows.invoker",
    "workflows.executions.get": "bootstrap's role of approvers",
}
_PERMISSION = re.compile(
    r"(?:does not have |lacks IAM permission \"|Permission ')([\w]+(?:\.[\w]+)+)(?=[' \"])"
    r"|'([\w]+(?:\.[\w]+)+)' (?:permission )?denied"
)


class Problem(Exception):
    """Something that the operator can fix; the message is one line."""


def explained(error: BaseException, what: str = "") -> Problem | None:
    """The problem behind an error of Google's clients; None for any other error.

    what: the thing that was asked for, such as gs://bucket.
    """
    about = f" ({what})" if what else ""
    text = _one_line(error)
    if isinstance(error, auth.DefaultCredentialsError):
        return Problem(NO_LOGIN)
    if isinstance(error, (auth.RefreshError, api.Unauthenticated)):
        return Problem(f"the login has expired or was revoked. {LOGIN}")
    if isinstance(error, api.Unauthorized):
        return Problem(f"Google does not accept the login. {LOGIN}")
    if isinstance(error, api.Forbidden):
        return denied(text, about)
    if isinstance(error, api.NotFound):
        return Problem(f"not found{about}: {text}. Is this the right environment and project?")
    if isinstance(error, (auth.TransportError, http.ConnectionError, api.RetryError)):
        return Problem(f"Google Cloud cannot be reached{about}. Check the network, run this again")
    if isinstance(error, api.GoogleAPICallError):
        code = getattr(error, "code", None)
        return Problem(f"Google answered {code}{about}: {text}. Run this again")
    return None


def denied(text: str, about: str = "") -> Problem:
    """For a 403, whose text usually names the permission."""
    if "quota project" in text:
        return Problem(
            "the login names no quota project. Name it with: "
            "gcloud auth application-default set-quota-project PROJECT"
        )
    if "has not been used in project" in text or "SERVICE_DISABLED" in text:
        return Problem(f"an API is not enabled: {text}. Enable it with: make bootstrap PROJECT=…")
    match = _PERMISSION.search(text)
    if match is None:
        return Problem(f"your login may not do this{about}: {text}. {ROLES}")
    permission = match[1] or match[2]
    role = ROLE_OF.get(permission)
    grant = f"Have {role} granted" if role else "Have it granted"
    return Problem(f"your login lacks {permission}{about}. {grant}; {ROLES}")


def _one_line(error: BaseException) -> str:
    text = str(getattr(error, "message", "") or error)
    return " ".join(text.split()).rstrip(".")[:400]
