"""The operator's identity token: whose it is, and where it comes from."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.ops import login
from scripts.ops.problems import Problem

AUDIENCE = "https://upload.example"


def token(audience: str, seconds: float = 3600) -> str:
    claims = {"aud": audience, "exp": int(time.time() + seconds)}
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    head = base64.urlsafe_b64encode(b'{"alg": "RS256"}').decode().rstrip("=")
    return f"{head}.{body}.c2ln"


class User:
    """A person's credentials, as the default login gives them."""

    refresh_token, id_token = "1//x", ""

    def __init__(self, audience: str) -> None:
        self._audience = audience

    def refresh(self, request: Any) -> None:
        self.id_token = token(self._audience)


@pytest.fixture
def gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A gcloud that knows whom it speaks for."""
    printed = token(login.GCLOUD)
    program = tmp_path / "gcloud"
    program.write_text(f"#!/bin/sh\necho {printed}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return printed


def logged_in(monkeypatch: pytest.MonkeyPatch, credentials: Any) -> None:
    monkeypatch.setattr(login.google.auth, "default", lambda: (credentials, None))


def test_a_login_made_for_gcloud_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    logged_in(monkeypatch, User(login.GCLOUD))
    assert login.fetched(AUDIENCE).count(".") == 2


def test_a_login_made_for_another_client_is_not_sent_and_gcloud_asked(
    monkeypatch: pytest.MonkeyPatch, gcloud: str
) -> None:
    logged_in(monkeypatch, User("764086051850.apps.googleusercontent.com"))
    assert login.fetched(AUDIENCE) == gcloud


def test_a_service_account_s_token_is_made_for_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged_in(monkeypatch, object())
    made = lambda request, audience: f"for {audience}"  # noqa: E731
    monkeypatch.setattr(login.id_token, "fetch_id_token", made)
    assert login.fetched(AUDIENCE) == f"for {AUDIENCE}"


def test_without_a_login_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Any:
        raise login.exceptions.DefaultCredentialsError("no")

    monkeypatch.setattr(login.google.auth, "default", nobody)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Problem, match="Log in with"):
        login.fetched(AUDIENCE)


def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    asked: list[str] = []

    def fetch(audience: str) -> str:
        asked.append(audience)
        return token(audience, 3600 if len(asked) > 1 else 200)

    header = login.Login(fetch).header
    for _ in range(3):
        assert header(AUDIENCE)["X-Serverless-Authorization"].startswith("Bearer ")
    assert len(asked) == 2
