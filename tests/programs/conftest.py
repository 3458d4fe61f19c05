"""emulator.py is a file of tests, over the deployment of tests/system."""

from __future__ import annotations

from tests.system.conftest import clean, pipeline

__all__ = ["clean", "pipeline"]
