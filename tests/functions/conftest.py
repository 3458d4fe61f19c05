"""Loads the functions as their zips are laid out: common/ beside main.py on the path."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

FUNCTIONS = Path(__file__).parents[2] / "functions"
for folder in (Path(__file__).parent, FUNCTIONS, FUNCTIONS / "bridge", FUNCTIONS / "processor"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def load(function: str) -> tuple[Any, Any]:
    """The function's main module and a client that drives it as the framework does."""
    import functions_framework

    app = functions_framework.create_app("handle", str(FUNCTIONS / function / "main.py"))
    return sys.modules["main"], app.test_client()


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Any:
    """Call it for the log lines written since the last call, as dictionaries."""

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return read
