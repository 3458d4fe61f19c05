"""Who calls, as the setting `access` has it, and so whose files they see.

iam: Cloud Run let the caller in. Whoever may call sees every file, and names the owner. No header
is read for an identity: Cloud Run passes an Authorization on that it did not verify where
X-Serverless-Authorization was checked.
tokens: an OpenID token of Google or Firebase, verified here; the owner follows from it.
anyone: nobody is asked; who knows a file_id sees the file.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from web.problems import Problem, Unreached, bad

IAM, TOKENS, ANYONE = "iam", "tokens", "anyone"
FIREBASE = "https://securetoken.google.com/"
NOBODY = "-"
_OWNER = re.compile(r"-|[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_TOKEN_BYTES = 8192
CERTIFICATE_SECONDS = 300  # where Google's answer says nothing

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Access:
    """kind: iam, tokens or anyone. issuer, audience: of the tokens."""

    kind: str
    issuer: str = ""
    audience: str = ""

    @classmethod
    def parse(cls, text: str) -> Access:
        """Raises ValueError for what is not a setting."""
        access = cls(**json.loads(text))
        if access.kind not in (IAM, TOKENS, ANYONE):
            raise ValueError("kind must be iam, tokens or anyone")
        if (access.kind == TOKENS) != bool(access.issuer and access.audience):
            raise ValueError("issuer and audience belong to tokens")
        return access


class Callers:
    """verify: token → claims, raising ValueError; by default google-auth's for the issuer."""

    def __init__(self, access: Access, verify: Callable[[str], Claims] | None = None) -> None:
        self.access = access
        self._verify = verify or (_google(access) if access.kind == TOKENS else _nobody)

    def owner(self, authorization: str | None, named: object) -> str:
        """Whose files this call is about. Raises Problem 400, 401 or 503."""
        if self.access.kind == IAM:
            return NOBODY if named is None else checked_owner(named)
        if named is not None:
            detail = "owner cannot be chosen: it follows from the caller's token."
            if self.access.kind == ANYONE:
                detail = "owner cannot be chosen: here everybody may call, and files have no owner."
            raise Problem(400, "owner_not_yours", detail, field="owner")
        if self.access.kind == ANYONE:
            return NOBODY
        claims = self._claims(authorization)
        return digest(claims["iss"], claims["sub"])

    def _claims(self, authorization: str | None) -> Claims:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(token) <= MAX_TOKEN_BYTES:
            raise Problem(401, "no_token", "Send an ID token: Authorization: Bearer TOKEN.")
        try:
            claims = self._verify(token.strip())
        except Problem:
            raise
        except Exception:  # whatever a hostile token makes the libraries raise
            detail = "The token is not valid here, or no longer: sign in again and retry."
            raise Problem(401, "bad_token", detail) from None
        if not (isinstance(claims.get("sub"), str) and claims["sub"]):
            raise Problem(401, "bad_token", "The token names no subject.")
        return claims


def _nobody(token: str) -> Claims:
    raise ValueError("no token is taken")


def _google(access: Access) -> Callable[[str], Claims]:
    from google.oauth2 import id_token

    request = Certificates()

    def verify(token: str) -> Claims:
        if access.issuer.startswith(FIREBASE):
            claims = id_token.verify_firebase_token(token, request, access.audience)
            expected = {access.issuer}
        else:
            claims = id_token.verify_oauth2_token(token, request, access.audience)
            expected = {access.issuer, access.issuer.removeprefix("https://")}
        if claims["iss"] not in expected:
            raise ValueError("another issuer's token")
        return dict(claims)

    return verify


class Certificates:
    """google-auth's transport, which remembers what it got for as long as Google says."""

    def __init__(self, fetch: Callable[..., Any] | None = None) -> None:
        self._fetch, self._lock = fetch, threading.Lock()
        self._kept: dict[str, tuple[float, Any]] = {}

    def __call__(self, url: str, method: str = "GET", **more: Any) -> Any:
        with self._lock:
            until, response = self._kept.get(url, (0.0, None))
            if time.monotonic() < until:
                return response
            response = self._get(url, method, **more)
            self._kept[url] = (time.monotonic() + _max_age(response.headers), response)
            return response

    def _get(self, url: str, method: str, **more: Any) -> Any:
        from google.auth.exceptions import TransportError
        from google.auth.transport.requests import Request

        self._fetch = self._fetch or Request()
        try:
            response = self._fetch(url, method=method, timeout=10, **more)
        except TransportError:
            raise Unreached("The issuer of tokens", "TransportError", None) from None
        if response.status != 200:
            raise Unreached("The issuer of tokens", "certificates", 503)
        return response


def _max_age(headers: Mapping[str, str]) -> float:
    control = next((v for k, v in headers.items() if k.lower() == "cache-control"), "")
    for part in control.split(","):
        name, _, value = part.strip().partition("=")
        if name == "max-age" and value.isascii() and value.isdigit():
            return min(float(value), 86400.0)
    return CERTIFICATE_SECONDS


def digest(*parts: object) -> str:
    """The first 128 bits of SHA-256 over the parts as a JSON list, in hex."""
    text = json.dumps(parts, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def checked_owner(owner: object) -> str:
    """A label that a calling server gives. Raises Problem 400."""
    if not (isinstance(owner, str) and _OWNER.fullmatch(owner)):
        raise bad(
            "owner",
            "must be 1 to 64 letters, digits, dots, underscores or hyphens, the first not a mark",
        )
    return owner
