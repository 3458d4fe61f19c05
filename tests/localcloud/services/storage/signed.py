"""Signed URLs (V4, RSA) of Cloud Storage's XML API: who signed, and whether all of it is right.

Times are real, as those of tokens: the signer knows no other clock.
https://docs.cloud.google.com/storage/docs/authentication/canonical-requests
"""

from __future__ import annotations

import hashlib
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.requests import Request

from ...core.errors import ApiError
from ...core.identity import Principal

if TYPE_CHECKING:
    from ...core.server import Cloud

ALGORITHM = "GOOG4-RSA-SHA256"
LONGEST = 7 * 86_400  # seconds
EARLY = 900  # seconds that the signer's clock may be ahead
FIELDS = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "Google secret key and signing method."
)


class Rejected(ApiError):
    """An error in the XML API's words: its <Code>, <Message>, <Details> and further elements."""

    def __init__(self, status: int, code: str, message: str, details: str, **more: str) -> None:
        super().__init__(status, message)
        self.xml_code, self.elements = code, {"Details": details, **more}


def _malformed(details: str) -> Rejected:
    return Rejected(400, "AuthorizationQueryParametersError", "Invalid argument.", details)


def pairs(query: str) -> list[tuple[str, str]]:
    """A raw query → its parameters, decoded ("+" stays what it is)."""
    split = (part.partition("=") for part in query.split("&") if part)
    return [(unquote(name), unquote(value)) for name, _, value in split]


def signer(cloud: Cloud, request: Request) -> Principal:
    """Who signed the URL of `request`.

    Raises:
        Rejected: 400 for what is missing, malformed or past its time; 403 for a signature that is
            not of the account's key over this very request.
    """
    given = pairs(request.scope["query_string"].decode("ascii"))
    values = dict(given)
    for field in FIELDS:
        if not values.get(f"X-Goog-{field}"):
            raise _malformed(f"Missing query parameter X-Goog-{field}.")
    if values["X-Goog-Algorithm"] != ALGORITHM:
        raise _malformed(f"X-Goog-Algorithm must be {ALGORITHM} here.")
    email, _, scope = values["X-Goog-Credential"].partition("/")
    stamp = values["X-Goog-Date"]
    if not re.fullmatch(rf"{stamp[:8]}/[a-z0-9-]+/storage/goog4_request", scope):
        raise _malformed(f"The scope of X-Goog-Credential is malformed: {scope!r}.")
    _in_time(stamp, values["X-Goog-Expires"])
    canonical = _canonical(request, given, values["X-Goog-SignedHeaders"].split(";"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join((ALGORITHM, stamp, scope, digest))
    key = cloud.accounts.keys.get(email)
    try:
        if key is None:
            raise InvalidSignature
        signature = bytes.fromhex(values["X-Goog-Signature"])
        key.public_key().verify(signature, text.encode(), padding.PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        raise Rejected(
            403,
            "SignatureDoesNotMatch",
            "Access denied.",
            MISMATCH,
            StringToSign=text,
            CanonicalRequest=canonical,
        ) from None
    return Principal(f"serviceAccount:{email}")


def _in_time(stamp: str, expires: str) -> None:
    try:
        since = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise _malformed(f"X-Goog-Date is not a date as in 20201231T235959Z: {stamp!r}.") from None
    if not (expires.isdigit() and 0 < int(expires) <= LONGEST):
        raise _malformed("X-Goog-Expires must be a number of seconds of at most a week (604800).")
    now, end = time.time(), since + int(expires)
    if since > now + EARLY:
        raise Rejected(
            403, "AccessDenied", "Access denied.", f"Request signature is not yet valid: {stamp}"
        )
    if end <= now:
        ended = datetime.fromtimestamp(end, UTC).isoformat()
        raise Rejected(
            400,
            "ExpiredToken",
            "The provided token has expired.",
            f"Request signature expired at: {ended}",
        )


def _canonical(request: Request, given: list[tuple[str, str]], names: list[str]) -> str:
    """The canonical request: what the signature is over."""
    if "host" not in names:
        raise _malformed("X-Goog-SignedHeaders must name host.")
    query = sorted(
        (quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in given if k != "X-Goog-Signature"
    )
    headers = "".join(f"{n}:{' '.join(request.headers.get(n, '').split())}\n" for n in names)
    return "\n".join(
        (
            request.method,
            request.scope["raw_path"].decode("ascii"),
            "&".join(f"{k}={v}" for k, v in query),
            headers,
            ";".join(names),
            request.headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD")
            if "x-goog-content-sha256" in names
            else "UNSIGNED-PAYLOAD",
        )
    )
