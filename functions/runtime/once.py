"""What an instance makes once, however many requests come first at the same time."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def once(make: Callable[[], T]) -> Callable[[], T]:
    """Like functools.cache, but two first calls at the same time make one thing, not two."""
    lock = threading.Lock()
    cached = functools.cache(make)

    def get() -> T:
        with lock:
            return cached()

    return get
