"""libvips: scaled while decoded, upright, as JPEG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyvips


def make(file: str, content_type: str) -> Callable[[], None]:
    pyvips.cache_set_max(0)
    data = Path(file).read_bytes()

    def step() -> None:
        image = pyvips.Image.thumbnail_buffer(data, 300, height=300, size="down")
        image.jpegsave_buffer(Q=85, optimize_coding=True)

    return step
