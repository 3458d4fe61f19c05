"""One local cloud for all tests of a session; each test uses names of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.calls import Http, caller
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
def http(cloud: LocalCloud) -> Http:
    """`http("GET", "https://…", member=…)`: a raw request through the door."""
    return caller(cloud)
