"""Requests through a local cloud's door, in anybody's name: raw ones, and Google's own client's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.oauth2.credentials import Credentials
from requests.adapters import HTTPAdapter

from tests.localcloud.client import OWNER, LocalCloud

Http = Callable[..., requests.Response]
S = TypeVar("S", bound=requests.Session)


def through(cloud: LocalCloud, session: S) -> S:
    """The session, to which Google's hosts are this cloud, whatever the environment says."""
    session.trust_env = False
    session.proxies, session.verify = {"https": cloud.proxy}, str(cloud.authority)
    return session


def caller(cloud: LocalCloud, session: requests.Session | None = None) -> Http:
    """`http("GET", "https://…", member=…)` over one connection; None has no login."""
    reaching = through(cloud, session or requests.Session())
    tokens: dict[str, str] = {}

    def send(verb: str, url: str, member: str | None = OWNER, **more: Any) -> requests.Response:
        headers = dict(more.pop("headers", {}))
        if member:
            if member not in tokens:
                tokens[member] = cloud.token(member)
            headers.setdefault("Authorization", f"Bearer {tokens[member]}")
        return reaching.request(verb, url, headers=headers, timeout=60, **more)

    return send


def call(
    cloud: LocalCloud, verb: str, url: str, member: str | None = OWNER, **more: Any
) -> requests.Response:
    """One request; without a token when `member` is None."""
    with requests.Session() as session:
        return caller(cloud, session)(verb, url, member, **more)


def owners_session(cloud: LocalCloud) -> AuthorizedSession:
    """The owner's requests, of as many as 16 threads."""
    session = AuthorizedSession(Credentials(cloud.token()))
    session.mount("https://", HTTPAdapter(pool_maxsize=16))
    return through(cloud, session)


def owners_storage(cloud: LocalCloud) -> storage.Client:
    """Google's storage client, as the owner."""
    session = owners_session(cloud)
    return storage.Client(cloud.project, credentials=AnonymousCredentials(), _http=session)
