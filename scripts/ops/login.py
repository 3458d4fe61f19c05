"""The operator's own login, as Cloud Run takes it: an identity token."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import google.auth
from google.auth import exceptions, jwt
from google.auth.transport.requests import Request
from google.oauth2 import id_token
from known import LOGIN
from tokens import NoLogin, printed

from .problems import Problem

# Cloud Run takes users' tokens that were made for gcloud (gcloud auth login --update-adc).
GCLOUD = "32555940559.apps.googleusercontent.com"
EARLY = 300.0  # seconds before its end at which a token is made anew


class Login:
    """Tokens by audience. A user's are made for gcloud, a service account's for the function."""

    def __init__(self, fetch: Callable[[str], str] | None = None) -> None:
        self._fetch, self._lock = fetch or fetched, threading.Lock()
        self._kept: dict[str, tuple[str, float]] = {}

    def header(self, audience: str) -> dict[str, str]:
        """Raises Problem. Beside it, Authorization stays the page's own."""
        with self._lock:
            token, until = self._kept.get(audience, ("", 0.0))
            if time.time() > until - EARLY:
                token = self._fetch(audience)
                until = float(jwt.decode(token, verify=False)["exp"])
                self._kept[audience] = token, until
        return {"X-Serverless-Authorization": f"Bearer {token}"}


def fetched(audience: str) -> str:
    """Raises Problem where nobody is logged in."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about quota projects: none is used here
            credentials: Any = google.auth.default()[0]
            if not hasattr(credentials, "refresh_token"):
                return str(id_token.fetch_id_token(Request(), audience))
            credentials.refresh(Request())
    except (exceptions.GoogleAuthError, OSError):
        return _of_gcloud()
    token = str(credentials.id_token or "")
    if token and jwt.decode(token, verify=False).get("aud") == GCLOUD:
        return token
    return _of_gcloud()


def _of_gcloud() -> str:
    try:
        token = printed("identity")
    except NoLogin:
        token = ""
    if token.count(".") != 2:
        raise Problem(f"nobody is logged in whom Cloud Run would know. {LOGIN}")
    return token
