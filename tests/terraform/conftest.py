"""One provider for all plans: Google's own where `terraform init` finds it, else the stand-in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SAYS
from tests.localcloud.client import LocalCloud
from tests.localcloud.client.terraform import choose

from .plans import PROJECT, Root

MakeRoot = Callable[..., Root]


PROVIDER = pytest.StashKey[str]()


@pytest.fixture(autouse=True)
def say_which_provider(
    pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> Iterator[None]:
    yield
    if title := pytestconfig.stash.get(PROVIDER, None):
        record_property(SAYS, f"Terraform planned with: {title}")


@pytest.fixture(scope="session")
def environ(pytestconfig: pytest.Config) -> Iterator[dict[str, str]]:
    """What Terraform needs to plan against a local cloud, which answers the data sources."""
    with LocalCloud.start(PROJECT) as cloud:
        provider = choose(cloud)
        pytestconfig.stash[PROVIDER] = provider.title
        yield dict(os.environ) | cloud.environ() | provider.environ


@pytest.fixture(scope="session")
def root(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> MakeRoot:
    """Makes the folder under test ready to be planned: root("terraform/modules/bucket", name=…).

    Whoever asks for the same gets the same, with the plans that were already made, unless `copy`
    names one of its own.
    """
    made: dict[str, Root] = {}

    def make(
        folder: str, copy: str = "", files: dict[str, str] | None = None, **inputs: Any
    ) -> Root:
        key = json.dumps([folder, copy, files, inputs])
        if key not in made:
            scratch: Path = tmp_path_factory.mktemp(Path(folder).name)
            made[key] = Root(folder, scratch, environ, inputs, files or {})
        return made[key]

    return make
