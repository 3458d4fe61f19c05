"""One local cloud for all tests of a session; each test uses names of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.localcloud.client import OWNER, LocalCloud
from tests.localcloud.core.api import Api
from tests.localcloud.core.server import Cloud

_serial = itertools.count(1)


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud.start() as started:
        yield started


@pytest.fixture
def fresh() -> str:
    """A name that no other test uses."""
    return f"t{next(_serial):03}"


@pytest.fixture
def no_faults(cloud: LocalCloud) -> Iterator[None]:
    """Takes every fault away at the end."""
    yield
    cloud.delete("/faults")


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    """All methods of a cloud in this process, that nobody serves."""
    return Cloud(tmp_path_factory.mktemp("cloud"), "some-project", "a@b.c", Path("unused")).api


@pytest.fixture(scope="session")
def http(cloud: LocalCloud) -> Callable[..., requests.Response]:
    """`http("GET", "https://…", member=…)`: a raw request through the door."""
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"https": cloud.proxy}
    session.verify = str(cloud.authority)
    tokens: dict[str, str] = {}

    def send(verb: str, url: str, member: str | None = OWNER, **more: Any) -> requests.Response:
        headers = dict(more.pop("headers", {}))
        if member:
            token = tokens.setdefault(member, "") or cloud.token(member)
            tokens[member] = token
            headers.setdefault("Authorization", f"Bearer {token}")
        return session.request(verb, url, headers=headers, timeout=60, **more)

    return send
