"""What the services that send share: acting as an account, one request, what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from starlette.types import Message

from ..services.run.instances import Result
from ..services.run.service import NoAnswer
from .api import Json
from .errors import ApiError
from .identity import Principal

if TYPE_CHECKING:
    from .server import Cloud

log = logging.getLogger(__name__)
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GOOGLES = re.compile(r"https://[a-z0-9.-]+\.googleapis\.com/.*")

CODES = {  # HTTP status → google.rpc.Code of an attempt; the rest by its hundreds
    400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 499: 1, 501: 12, 503: 14, 504: 4,
}  # fmt: skip


def rpc_status(status: int | None, late: bool) -> Json:
    """An attempt's google.rpc.Status: {} for success; without an answer, whether it came late."""
    if status is None:
        reason, code = ("DEADLINE_EXCEEDED", 4) if late else ("UNAVAILABLE", 14)
    else:
        reason, code = f"HTTP {status}", CODES.get(status, 0 if status < 300 else 2)
    return {"code": code, "message": reason} if code else {}


def act_as(cloud: Cloud, principal: Principal, sender: str, token: Json) -> None:
    """Checks that `principal` may have `sender` (a resource) speak for the account of `token`.

    Raises:
        ApiError: 403 without iam.serviceAccounts.actAs on it, 404 without such an account.
    """
    project = "/".join(sender.split("/")[:2])
    account = f"{project}/serviceAccounts/{token.get('serviceAccountEmail', '')}"
    cloud.iam.require(principal, "iam.serviceAccounts.actAs", account)
    if not cloud.accounts.exists(account):
        raise ApiError(404, f"Service account {account} does not exist.")


def with_token(cloud: Cloud, principal: Principal, sender: str, url: str, target: Json) -> Json:
    """The oidcToken or oauthToken of an HTTP target, complete; {} where it has none.

    Raises:
        ApiError: as `act_as`; 400 for both, and for an oauthToken that would leave Google.
    """
    oidc, oauth = target.get("oidcToken"), target.get("oauthToken")
    if oidc and oauth:
        raise ApiError(400, "Only one of oidcToken and oauthToken can be set.")
    if oauth and not GOOGLES.fullmatch(url):
        raise ApiError(400, "oauthToken is for https://*.googleapis.com alone: it is a bearer.")
    if oidc or oauth:
        act_as(cloud, principal, sender, oidc or oauth or {})
    if oidc:
        return {"oidcToken": {"audience": url} | oidc}
    return {"oauthToken": {"scope": SCOPE} | oauth} if oauth else {}


async def send(
    cloud: Cloud,
    source: str,
    url: str,
    verb: str,
    headers: dict[str, str],
    body: bytes,
    timeout: float,
    target: Json,
) -> int | None:
    """One request with the token that `target` names: its status, None when none came in time."""
    if oidc := target.get("oidcToken"):
        audience = oidc.get("audience") or url
        token = cloud.identity.oidc_token(oidc["serviceAccountEmail"], audience)
        headers = headers | {"Authorization": f"Bearer {token}"}
    elif oauth := target.get("oauthToken"):
        account = Principal(f"serviceAccount:{oauth['serviceAccountEmail']}")
        token = cloud.identity.access_token(account)
        headers = headers | {"Authorization": f"Bearer {token}"}
    try:
        if GOOGLES.fullmatch(url):
            return (await call_google(cloud, url, verb, headers, body)).status or None
        result = await cloud.run.invoke(url, verb, headers, body, timeout, source)
    except NoAnswer:
        return None
    except Exception:  # a defect of the local cloud must not lose the message
        log.exception("no answer from %s", url)
        return None
    return int(result.status)


async def call_google(
    cloud: Cloud, url: str, verb: str, headers: dict[str, str], body: bytes
) -> Result:
    """One call of a Google API of this cloud, as through the door."""
    parts, result = urlsplit(url), Result(0)
    given = {"host": parts.hostname or ""} | {k.lower(): v for k, v in headers.items()}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": verb,
        "scheme": "https",
        "server": (parts.hostname, 443),
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in given.items()],
        "transport": asyncio.Transport(),  # of nobody: a fault that resets shows as 499
    }

    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Future()  # the caller stays until it has its answer
        sent = True
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            result.status = message["status"]
            result.headers |= {k.decode().lower(): v.decode() for k, v in message["headers"]}
        else:
            result.body += message.get("body", b"")

    with contextlib.suppress(NotImplementedError):  # by the transport that is none
        await cloud(scope, receive, send)
    return result
