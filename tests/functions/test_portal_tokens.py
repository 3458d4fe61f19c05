"""access = tokens: what google-auth verifies, with the issuer's keys of the tests' own."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

GOOGLE, FIREBASE = "https://accounts.google.com", "https://securetoken.google.com/shop"


class Issuer:
    """A key, its certificate as Google publishes it, and tokens."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self.key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.fetched: list[str] = []
        self.status = 200

    def fetch(self, url: str, method: str = "GET", **more: Any) -> Any:
        self.fetched.append(url)
        data = json.dumps({"k1": self.pem}).encode()
        headers = {"Cache-Control": "public, max-age=1000"}
        return SimpleNamespace(status=self.status, data=data, headers=headers)

    def token(self, *, alg: str = "RS256", key: Any = None, **claims: Any) -> str:
        import jwt

        now = int(time.time())
        body = {"iss": GOOGLE, "aud": "me", "sub": "42", "iat": now - 9, "exp": now + 60} | claims
        body = {name: value for name, value in body.items() if value is not None}
        secret = "" if alg == "none" else key or self.key
        return jwt.encode(body, secret, alg, headers={"kid": "k1"})


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def callers(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> Any:
    return made(issuer, GOOGLE, "me", monkeypatch)


def made(issuer: Issuer, name: str, audience: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    from web import access

    certificates = access.Certificates(issuer.fetch)
    monkeypatch.setattr(access, "Certificates", lambda: certificates)
    issuer.fetched.clear()
    issuer.status = 200
    return access.Callers(access.Access("tokens", name, audience))


def refused(callers: Any, token: str) -> str:
    from web.problems import Problem

    with pytest.raises(Problem) as problem:
        callers.owner(f"Bearer {token}", None)
    assert problem.value.status == 401
    return str(problem.value.reason)


def test_a_good_token_names_its_owner(callers: Any, issuer: Issuer) -> None:
    owner = callers.owner(f"Bearer {issuer.token()}", None)
    assert len(owner) == 32
    assert owner == callers.owner(f"bearer {issuer.token(iat=int(time.time()) - 20)}", None)
    assert owner != callers.owner(f"Bearer {issuer.token(sub='43')}", None)


def test_certificates_are_fetched_once_in_their_time(
    callers: Any, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        callers.owner(f"Bearer {issuer.token()}", None)
    assert len(issuer.fetched) == 1
    later = time.monotonic() + 1000
    monkeypatch.setattr("web.access.time.monotonic", lambda: later)
    callers.owner(f"Bearer {issuer.token()}", None)
    assert len(issuer.fetched) == 2


@pytest.mark.parametrize(
    ("says", "seconds"),
    [("public, max-age=1000", 1000), ("max-age=9999999", 86_400), ("max-age=-1", 300),
     ("max-age=²", 300), ("no-store", 300)],
)  # fmt: skip
def test_certificates_are_kept_as_long_as_google_says_and_a_day_at_most(
    says: str, seconds: float
) -> None:
    from web.access import _max_age

    assert _max_age({"cache-control": says}) == seconds


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "somebody-else"},
        {"aud": None},
        {"aud": ["somebody", "else"]},
        {"iss": "https://evil.example"},
        {"iss": FIREBASE},
        {"exp": 1},
        {"exp": None},
        {"iat": 2**40},
        {"sub": None},
        {"sub": ""},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_claim_is_refused(
    callers: Any, issuer: Issuer, claims: dict[str, Any]
) -> None:
    assert refused(callers, issuer.token(**claims)) == "bad_token"


def test_a_token_of_another_key_is_refused(callers: Any, issuer: Issuer) -> None:
    assert refused(callers, issuer.token(key=Issuer().key)) == "bad_token"


def test_a_token_without_a_signature_is_refused(callers: Any, issuer: Issuer) -> None:
    assert refused(callers, issuer.token(alg="none")) == "bad_token"


def test_a_token_signed_with_the_certificate_as_a_secret_is_refused(
    callers: Any, issuer: Issuer
) -> None:
    header, body, _ = issuer.token().split(".")
    false = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').decode().rstrip("=")
    assert refused(callers, f"{false}.{body}.{header}") == "bad_token"


@pytest.mark.parametrize("token", ["x", "a.b.c", "." * 5, "\x00", "é.é.é", "e30.e30.e30"])
def test_nonsense_is_refused(callers: Any, token: str) -> None:
    assert refused(callers, token) == "bad_token"


def test_firebase_s_tokens_are_verified_as_such(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers = made(issuer, FIREBASE, "shop", monkeypatch)
    assert callers.owner(f"Bearer {issuer.token(iss=FIREBASE, aud='shop')}", None)
    assert "securetoken@system" in issuer.fetched[0]
    other = "https://securetoken.google.com/another"
    for claims in ({"iss": GOOGLE, "aud": "shop"}, {"iss": other, "aud": "shop"}):
        assert refused(callers, issuer.token(**claims)) == "bad_token"


def test_an_issuer_that_gives_no_answer_is_an_outage_and_no_verdict(
    callers: Any, issuer: Issuer
) -> None:
    from web.problems import Problem

    for issuer.status in (500, 404):
        with pytest.raises(Problem) as problem:
            callers.owner(f"Bearer {issuer.token()}", None)
        assert problem.value.status == 503
        assert problem.value.retry_after
