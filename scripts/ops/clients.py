"""Google's clients, made on first use, with the login that Terraform would use."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import quote

import google.auth
from google.oauth2.credentials import Credentials

from .problems import Problem, denied, explained

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
TIMEOUT_SECONDS = 60


class Clients:
    def __init__(self, project: str) -> None:
        self.project = project

    @cached_property
    def credentials(self) -> Any:
        """An access token where there is one, as workflows have it, else the default login."""
        if token := os.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN"):
            return Credentials(token)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about quota projects: told when it matters
            return google.auth.default(scopes=SCOPES)[0]

    @cached_property
    def storage(self) -> Any:
        from google.cloud import storage

        return storage.Client(self.project, credentials=self.credentials)

    @cached_property
    def tasks(self) -> Any:
        from google.cloud import tasks_v2

        return tasks_v2.CloudTasksClient(credentials=self.credentials, transport="rest")

    @cached_property
    def subscriber(self) -> Any:
        from google.cloud import pubsub_v1

        return pubsub_v1.SubscriberClient(credentials=self.credentials)

    @cached_property
    def _session(self) -> Any:
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(self.credentials)

    def pages(self, url: str, items: str) -> Iterator[dict[str, Any]]:
        """What a list method lists, page by page. Raises Problem."""
        token, mark = "", "&" if "?" in url else "?"
        while True:
            answer = (
                self.rest("GET", url + (f"{mark}pageToken={quote(token)}" if token else "")) or {}
            )
            yield from answer.get(items, [])
            token = answer.get("nextPageToken", "")
            if not token:
                return

    def rest(self, verb: str, url: str, body: Any = None) -> dict[str, Any] | None:
        """The answer of a REST method that has no client here; None for 404. Raises Problem."""
        answer = self._session.request(verb, url, json=body, timeout=TIMEOUT_SECONDS)
        if answer.status_code == 404:
            return None
        if answer.status_code == 200:
            return dict(answer.json())
        try:
            text = str(answer.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            text = answer.reason
        if answer.status_code == 403:
            raise denied(" ".join(text.split()))
        if answer.status_code == 401:
            raise explained(google.auth.exceptions.RefreshError("")) or Problem(text)
        raise Problem(f"Google answered {answer.status_code} to {url}: {text}. Run this again")
