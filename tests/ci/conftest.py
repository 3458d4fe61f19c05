"""A local cloud with federation, and what GitHub would sign."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.localcloud.client import LocalCloud
from tests.localcloud.client.calls import Http, caller

from .site import Site, delivering, with_a_bucket_more


@pytest.fixture(scope="session")
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud.start() as started:
        yield started


@pytest.fixture(scope="session")
def http(cloud: LocalCloud) -> Http:
    return caller(cloud)


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with delivering(with_a_bucket_more) as made:
        yield made
