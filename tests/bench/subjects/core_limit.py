"""The limit: Pillow's decoder alone, scaling a JPEG while it decodes it.

To twice the thumbnail's size, as both processors do for the sake of the filter that follows.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image


def make(file: str, content_type: str) -> Callable[[], None]:
    data = Path(file).read_bytes()

    def step() -> None:
        with Image.open(io.BytesIO(data)) as image:
            share = 600 / max(image.size)
            image.draft(None, (int(image.width * share), int(image.height * share)))
            image.load()

    return step
