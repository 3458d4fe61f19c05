"""One environment for all tests of batch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .deployed import Batch, deployed


@pytest.fixture(scope="session")
def batch() -> Iterator[Batch]:
    with deployed() as made:
        yield made


@pytest.fixture(autouse=True)
def clean(batch: Batch) -> Iterator[None]:
    yield
    batch.cloud.delete("/faults")
