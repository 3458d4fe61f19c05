"""One provider for all plans: Google's own where `terraform init` finds it, else the stand-in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud.client import LocalCloud
from tests.localcloud.terraform import choose

from .plans import PROJECT, Root

MakeRoot = Callable[..., Root]


PROVIDER = pytest.StashKey[str]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if title := config.stash.get(PROVIDER, None):
        terminalreporter.write_line(f"Terraform planned with: {title}")


@pytest.fixture(scope="session")
def environ(pytestconfig: pytest.Config) -> Iterator[dict[str, str]]:
    """What Terraform needs to plan against a local cloud, which answers the data sources."""
    with LocalCloud.start(PROJECT) as cloud:
        provider = choose(cloud)
        pytestconfig.stash[PROVIDER] = provider.title
        yield dict(os.environ) | cloud.environ() | provider.environ


@pytest.fixture(scope="module")
def root(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> MakeRoot:
    """Makes the folder under test ready to be planned: root("terraform/modules/bucket", name=…)."""

    def make(folder: str, example: str = "", **inputs: Any) -> Root:
        scratch: Path = tmp_path_factory.mktemp(Path(folder).name)
        return Root(folder, scratch, environ, inputs, example)

    return make
