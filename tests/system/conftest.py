"""The dev environment, applied once by the repository's own commands; real clients talk to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.localcloud.client.deployment import deployed
from tests.system.operating import Operator
from tests.system.pipeline import Pipeline

_serial = itertools.count(1)


@pytest.fixture(scope="session")
def pipeline() -> Iterator[Pipeline]:
    with deployed("dev") as deployment:
        yield Pipeline.of(deployment)


@pytest.fixture(scope="session")
def ops(pipeline: Pipeline) -> Iterator[Operator]:
    """The operator's tool; keywords are environment variables.

    Others than the owner ask Terraform for the outputs, which is part of what their roles are for.
    """
    with Operator(pipeline.deployment, pipeline.outputs) as operator:
        yield operator


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: no faults, everything up."""
    yield
    if "pipeline" in request.fixturenames:
        pipeline: Pipeline = request.getfixturevalue("pipeline")
        pipeline.cloud.delete("/faults")
        for service in ("bridge", "processor-default"):
            pipeline.cloud.post("/run/up", {"service": f"files-dev-{service}"})
        pipeline.settle()


@pytest.fixture
def fresh() -> str:
    """A prefix that no other test uses."""
    return f"t{next(_serial):03}"
