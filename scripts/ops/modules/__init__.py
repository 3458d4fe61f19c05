"""What each module of terraform/ adds to the doctor's and verify's work: a file here of its name.

A file may hold, both optional:

    CHECKS: Checks                      name → what looks, beyond what is looked at for every module
    def least(look) -> dict[str, int]   kind of resource → how many the module cannot be without
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field

from ..look import Checks, Look


@dataclass(frozen=True)
class Brought:
    checks: Checks = field(default_factory=dict)
    least: Callable[[Look], dict[str, int]] = lambda _: {}


def brought(module: str) -> Brought:
    """By the module's name, which is its folder's in terraform/."""
    if module not in {found.name for found in pkgutil.iter_modules(__path__)}:
        return Brought()
    file = importlib.import_module(f"{__name__}.{module}")
    found = {
        name.lower(): getattr(file, name) for name in ("CHECKS", "least") if hasattr(file, name)
    }
    return Brought(**found)
