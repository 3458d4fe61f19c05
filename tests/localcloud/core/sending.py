"""What Pub/Sub and Cloud Tasks share as senders: acting as an account, and one request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..services.run.service import NoAnswer
from .api import Json
from .errors import ApiError
from .identity import Principal

if TYPE_CHECKING:
    from .server import Cloud

log = logging.getLogger(__name__)


def act_as(cloud: Cloud, principal: Principal, sender: str, oidc: Json) -> None:
    """Checks that `principal` may have `sender` (a resource) speak for the account of `oidc`.

    Raises:
        ApiError: 403 without iam.serviceAccounts.actAs on it, 404 without such an account.
    """
    project = "/".join(sender.split("/")[:2])
    account = f"{project}/serviceAccounts/{oidc.get('serviceAccountEmail', '')}"
    cloud.iam.require(principal, "iam.serviceAccounts.actAs", account)
    if not cloud.accounts.exists(account):
        raise ApiError(404, f"Service account {account} does not exist.")


async def send(
    cloud: Cloud,
    source: str,
    url: str,
    verb: str,
    headers: dict[str, str],
    body: bytes,
    timeout: float,
    oidc: Json | None,
) -> int | None:
    """One request with the account's token: its status, None when no answer came in time."""
    if oidc:
        audience = oidc.get("audience") or url
        token = cloud.identity.oidc_token(oidc["serviceAccountEmail"], audience)
        headers = headers | {"Authorization": f"Bearer {token}"}
    try:
        result = await cloud.run.invoke(url, verb, headers, body, timeout, source)
    except NoAnswer:
        return None
    except Exception:  # a defect of the local cloud must not lose the message
        log.exception("no answer from %s", url)
        return None
    return int(result.status)
