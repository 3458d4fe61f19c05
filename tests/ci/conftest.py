"""A local cloud with federation, and what GitHub would sign."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.localcloud.client import OWNER, LocalCloud

from .site import Site, delivering, with_a_bucket_more

Http = Callable[..., requests.Response]


def door(cloud: LocalCloud) -> Http:
    """`http("GET", "https://…", member=…)`: a request through the door; None has no login."""
    session = requests.Session()
    session.trust_env = False
    session.proxies, session.verify = {"https": cloud.proxy}, str(cloud.authority)

    def send(verb: str, url: str, member: str | None = OWNER, **more: Any) -> requests.Response:
        headers = dict(more.pop("headers", {}))
        if member:
            headers["Authorization"] = f"Bearer {cloud.token(member)}"
        return session.request(verb, url, headers=headers, timeout=60, **more)

    return send


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud.start() as started:
        yield started


@pytest.fixture(scope="session")
def http(cloud: LocalCloud) -> Http:
    return door(cloud)


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with delivering(with_a_bucket_more) as made:
        yield made
