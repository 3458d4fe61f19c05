"""The tutorial's work on one image, from its bytes to the thumbnail's."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from processor import shrink


def make(file: str, content_type: str) -> Callable[[], None]:
    data = Path(file).read_bytes()
    return lambda: shrink(io.BytesIO(data), io.BytesIO())
