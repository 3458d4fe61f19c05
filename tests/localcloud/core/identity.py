"""Who calls: principals, access tokens, OIDC tokens, and the documents that let others verify them.

An access token is opaque and names one principal; an OIDC token is a JWT signed by the key that
`jwks` publishes. Both expire on real time, whatever the clock of the cloud says.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from .errors import ApiError

ISSUER = "https://accounts.google.com"
FIREBASE = "https://securetoken.google.com/"  # and the project
LIFETIME = 3600  # seconds: what Google gives by default


@dataclass(frozen=True)
class Principal:
    """A caller: `member` as IAM spells it (user:…, serviceAccount:…, principal://…), or nobody."""

    member: str
    attributes: tuple[str, ...] = ()  # principalSet://… members that a federated token matches

    @property
    def email(self) -> str:
        return self.member.partition(":")[2]


ANONYMOUS = Principal("allUsers")
# The OAuth client that people's own tools have here: the audience of a person's identity token,
# which Cloud Run takes for any service as it takes that of gcloud.
CLIENT = "32555940559.apps.googleusercontent.com"


def speaker(email: str) -> Principal:
    """Whose identity token names this email."""
    kind = "serviceAccount" if email.endswith(".gserviceaccount.com") else "user"
    return Principal(f"{kind}:{email}")


@dataclass
class _Access:
    principal: Principal
    expires: float


@dataclass
class Identity:
    """Mints and verifies tokens for one local cloud."""

    key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    _access: dict[str, _Access] = field(default_factory=dict)
    _refresh: dict[str, Principal] = field(default_factory=dict)
    _issued: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    # What `verify_oidc` has found right once, by token: a signature costs.
    _verified: dict[str, dict[str, Any]] = field(default_factory=dict)

    def access_token(self, principal: Principal, seconds: float = LIFETIME) -> str:
        now = time.time()
        if len(self._access) > 10_000:
            self._access = {t: a for t, a in self._access.items() if a.expires > now}
        token = "ya29.local-" + secrets.token_urlsafe(24)
        self._access[token] = _Access(principal, now + seconds)
        return token

    def refresh_token(self, principal: Principal) -> str:
        token = "1//local-" + secrets.token_urlsafe(24)
        self._refresh[token] = principal
        return token

    def redeem(self, refresh_token: str) -> tuple[Principal, str]:
        """A refresh token → its principal and a fresh access token."""
        principal = self._refresh.get(refresh_token)
        if principal is None:
            raise ApiError(400, "invalid_grant: the refresh token is unknown", "INVALID_ARGUMENT")
        return principal, self.access_token(principal)

    def expire(self, authorization: str) -> None:
        """The token of this Authorization header stops working (a fault on request)."""
        self._access.pop(authorization.partition(" ")[2].strip(), None)

    def authenticate(self, authorization: str | None) -> Principal:
        """An Authorization header → its principal.

        Raises:
            ApiError: 401 when the header is not a known, live bearer token.
        """
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        access = self._access.get(token.strip()) if scheme.lower() == "bearer" else None
        if access is None or access.expires < time.time():
            raise ApiError(
                401,
                "Request had invalid authentication credentials. Expected OAuth 2 access token, "
                "login cookie or other valid authentication credential.",
                "UNAUTHENTICATED",
                reason="authError",
            )
        return access.principal

    def oidc_token(
        self, email: str, audience: str, seconds: float = LIFETIME, issuer: str = ISSUER
    ) -> str:
        """A signed identity token of an account; reused while it has time left.

        issuer: Google's, or Firebase's, whose audience is a project and which call no function.
        """
        if issuer != ISSUER and not (audience and issuer == FIREBASE + audience):
            raise ApiError(400, f"issuer must be {ISSUER}, or {FIREBASE} and the audience")
        token, expires = self._issued.get((email, audience), ("", 0.0))
        if (seconds, issuer) == (LIFETIME, ISSUER) and expires > time.time() + 300:
            return token
        now = int(time.time())
        claims = {
            "iss": issuer,
            "aud": audience,
            "azp": email,
            "sub": email,
            "email": email,
            "email_verified": True,
            "iat": now,
            "exp": int(now + seconds),
        }
        token = jwt.encode(claims, self.key, "RS256", headers={"kid": "local"})
        if (seconds, issuer) == (LIFETIME, ISSUER):
            self._issued[email, audience] = (token, now + seconds)
        return token

    def verify_oidc(self, token: str, audiences: list[str]) -> Principal:
        """A JWT → who it speaks for; people's count for CLIENT alone.

        Raises:
            ApiError: 401 naming what is wrong (signature, issuer, audience, expiry).
        """
        known = self._verified.get(token)
        if known and known["exp"] > time.time() and known["aud"] in audiences:
            return speaker(known["email"])
        try:
            claims = jwt.decode(
                token, self.key.public_key(), ["RS256"], audience=audiences, issuer=ISSUER
            )
            if claims["aud"] == CLIENT and speaker(claims["email"]).member.startswith("service"):
                raise jwt.InvalidAudienceError("a person's audience in a service account's token")
        except jwt.PyJWTError as error:
            raise ApiError(
                401, f"The identity token is refused: {error}", "UNAUTHENTICATED"
            ) from error
        if len(self._verified) > 1000:
            self._verified.clear()
        self._verified[token] = claims
        return speaker(claims["email"])

    def certificates(self) -> dict[str, str]:
        """The same key as `jwks`, in a certificate: what google-auth asks for."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "accounts.google.com")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .sign(self.key, hashes.SHA256())
        )
        return {"local": certificate.public_bytes(Encoding.PEM).decode()}

    def jwks(self) -> dict[str, Any]:
        jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [jwk | {"kid": "local", "use": "sig", "alg": "RS256"}]}
