"""Workload identity federation: a token from outside, exchanged under a provider's conditions.

The provider's expressions are evaluated as Google does: the mapping over `assertion`, the claims of
the token, then the condition over `assertion`, `google` and `attribute`. One that cannot be
evaluated, such as one on a claim that the token lacks, refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
from starlette.responses import JSONResponse, Response

from ...core.iam import program
from ...core.identity import Principal
from .pools import GITHUB

if TYPE_CHECKING:
    from ...core.server import Cloud

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = ("urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token")
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
SECONDS = 600  # a federated token's life; what it impersonates may live for an hour
LONGEST = 127  # bytes of a mapped attribute


class Rejected(Exception):
    """The exchange is refused, with OAuth's error code."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error


def _evaluate(expression: str, **names: Any) -> Any:
    from celpy import CELEvalError, json_to_cel

    try:
        return program(expression).evaluate({k: json_to_cel(v) for k, v in names.items()})
    except CELEvalError as error:
        raise Rejected("invalid_grant", f"Error evaluating {expression!r}: {error}") from error


def exchange(cloud: Cloud, fields: dict[str, Any]) -> Response:
    """An STS token exchange request (JSON or form names) → its answer."""
    try:
        principal = _principal(cloud, fields)
    except Rejected as rejected:
        body = {"error": rejected.error, "error_description": str(rejected)}
        cloud.journal.write("sts.refused", error=rejected.error, why=str(rejected))
        return JSONResponse(body, 401 if rejected.error == "unauthorized_client" else 400)
    cloud.journal.write("sts.exchanged", member=principal.member)
    return JSONResponse(
        {
            "access_token": cloud.identity.access_token(principal, SECONDS),
            "issued_token_type": ACCESS,
            "token_type": "Bearer",
            "expires_in": SECONDS,
        }
    )


def _principal(cloud: Cloud, fields: dict[str, Any]) -> Principal:
    """Who the subject token speaks for.

    Raises:
        Rejected: naming what is wrong with the request, the provider or the token.
    """

    def named(snake: str, camel: str) -> str:
        return str(fields.get(snake) or fields.get(camel) or "")

    if named("grant_type", "grantType") != GRANT:
        raise Rejected("unsupported_grant_type", "The grant type must be a token exchange.")
    if named("subject_token_type", "subjectTokenType") not in JWT:
        raise Rejected("invalid_request", "The subject token must be a JWT.")
    audience = str(fields.get("audience", ""))
    name = audience.removeprefix("//iam.googleapis.com/")
    pool_name = name.partition("/providers/")[0]
    pool, provider = cloud.pools.find(pool_name), cloud.pools.find(name)
    if not pool or not provider or pool.get("disabled") or provider.get("disabled"):
        raise Rejected(
            "invalid_target",
            'The target service indicated by the "audience" parameters is invalid. The pool or '
            "provider is disabled or deleted, or it does not exist.",
        )
    claims = _claims(cloud, provider, audience, named("subject_token", "subjectToken"))
    mapped = _mapped(provider["attributeMapping"], claims)
    google = {k.partition(".")[2]: v for k, v in mapped.items() if k.startswith("google.")}
    own = {k.partition(".")[2]: v for k, v in mapped.items() if k.startswith("attribute.")}
    condition = provider.get("attributeCondition")
    if condition and not _evaluate(condition, assertion=claims, google=google, attribute=own):
        raise Rejected(
            "unauthorized_client", "The given credential is rejected by the attribute condition."
        )
    root = f"//iam.googleapis.com/{pool['name']}"
    sets = [f"principalSet:{root}/attribute.{key}/{value}" for key, value in own.items()]
    return Principal(
        f"principal:{root}/subject/{google['subject']}", (f"principalSet:{root}/*", *sets)
    )


def _claims(cloud: Cloud, provider: dict[str, Any], audience: str, token: str) -> dict[str, Any]:
    """The token's claims, once signature, issuer, audience and times are right."""
    oidc = provider["oidc"]
    if oidc["issuerUri"] != GITHUB:
        raise Rejected("invalid_grant", f"The keys of {oidc['issuerUri']} cannot be fetched.")
    audiences = oidc.get("allowedAudiences") or [audience, f"https:{audience}"]
    try:
        claims: dict[str, Any] = jwt.decode(
            token, cloud.pools.key.public_key(), ["RS256"], audience=audiences, issuer=GITHUB
        )
    except jwt.PyJWTError as error:
        raise Rejected("invalid_grant", f"The subject token is refused: {error}") from error
    return claims


def _mapped(mapping: dict[str, str], claims: dict[str, Any]) -> dict[str, str]:
    values = {}
    for key, expression in mapping.items():
        value = _evaluate(expression, assertion=claims)
        if not isinstance(value, str):
            raise Rejected("invalid_grant", f"The mapped attribute {key} must be a string.")
        if len(value.encode()) > LONGEST:
            raise Rejected("invalid_grant", f"The mapped attribute {key} exceeds {LONGEST} bytes.")
        values[key] = str(value)
    return values
