"""The limit: Pillow's decoder alone, scaling a JPEG while it decodes it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image


def make(file: str, content_type: str) -> Callable[[], None]:
    data = Path(file).read_bytes()

    def step() -> None:
        with Image.open(io.BytesIO(data)) as image:
            image.draft(None, (600, 600))
            image.load()

    return step
