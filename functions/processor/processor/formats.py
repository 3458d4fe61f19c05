"""Image formats: a row of FORMATS for each, and the memory that an image of it takes.

Bytes per pixel were measured on 12-megapixel files of each sort (tests/bench prints them anew).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from processor import headers
from processor.headers import Header

# Bytes per pixel of a rendition while it is made: AVIF's encoder takes more than all else.
RENDERED = 45
_FIXED = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Format:
    """What is known of a format.

    decoder: Pillow's name of it. bytes_per_pixel: at the peak of decoding, a JPEG without the scans
    that its header tells of. copies: of the file in memory. converted: to another mode beside what
    was decoded. extension and encoder: of renditions, "" where none is made in this format.
    """

    content_type: str
    decoder: str
    header: Callable[[bytes], Header | None]
    bytes_per_pixel: float
    copies: int = 1
    converted: bool = False
    aliases: tuple[str, ...] = ()
    extension: str = ""
    encoder: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As manifests and renditions call it."""
        return self.decoder.lower()


FORMATS = (
    Format(
        "image/avif", "AVIF", headers.iso, 20.0, copies=3, extension="avif",
        encoder={"max_threads": 1},  # the same bytes each time
    ),
    Format("image/bmp", "BMP", headers.bmp, 5.0, converted=True, aliases=("image/x-ms-bmp",)),
    Format("image/gif", "GIF", headers.gif, 5.0),
    Format("image/heic", "HEIF", headers.iso, 16.0, copies=2, aliases=("image/heif",)),
    Format(
        "image/jpeg", "JPEG", headers.jpeg, 4.0, aliases=("image/jpg", "image/pjpeg"),
        extension="jpg", encoder={"optimize": True},
    ),
    Format("image/png", "PNG", headers.png, 5.0, converted=True, extension="png"),
    Format("image/tiff", "TIFF", headers.directory, 10.0),
    # libwebp is handed a copy of the file, and keeps one of its own.
    Format("image/webp", "WEBP", headers.webp, 17.0, copies=3, extension="webp"),
)  # fmt: skip
BY_TYPE = {one.content_type: one for one in FORMATS}
ENCODED = {one.name: one for one in FORMATS if one.extension}  # what renditions are made in


def header(head: bytes, format: Format) -> Header | None:
    """None where these bytes do not tell."""
    try:
        found = format.header(head)
    except (struct.error, ValueError):
        return None
    return found if found and found.width and found.height else None


def memory(format: Format, header: Header, size: int, draft: int, target_pixels: int) -> int:
    """Bytes that one image of `size` bytes takes at its peak.

    draft is the JPEG decoder's own reduction (1, 2, 4 or 8), target_pixels the largest rendition's.
    """
    pixels = header.width * header.height
    needed = size * format.copies + RENDERED * target_pixels + _FIXED
    needed += int(pixels * (format.bytes_per_pixel / draft**2 + header.scans))
    if format.converted:  # to less than 4 x 4 pixels for each of the rendition's
        needed += 4 * min(pixels, 16 * target_pixels)
    return needed
