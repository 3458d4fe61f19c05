"""Image formats: a row of formats.json for each, and the memory that an image of it takes.

Terraform checks a lane's memory by the same file. Its `memory` holds
    base_mib: the interpreter, all libraries, and what the allocator keeps.
    fixed_mib: of each image, whatever its size. photo_mib: of a usual photo, all in all.
    rendition_bytes_per_pixel: while one is made; AVIF's encoder takes more than all else.
Its `kinds`, of lanes with libraries of their own, hold what a file takes: base_mib, and copies.
Bytes per pixel were measured on 12-megapixel files of each sort (tests/bench prints them anew).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processor import headers
from processor.headers import Header

_TABLE = json.loads(Path(__file__).with_suffix(".json").read_bytes())
BASE_BYTES = _TABLE["memory"]["base_mib"] << 20
RENDERED: int = _TABLE["memory"]["rendition_bytes_per_pixel"]
KINDS: Mapping[str, Mapping[str, int]] = _TABLE["kinds"]
FIXED: int = _TABLE["memory"]["fixed_mib"] << 20


@dataclass(frozen=True, slots=True)
class Format:
    """What is known of a format.

    decoder: Pillow's name of it. bytes_per_pixel: at the peak of decoding, a JPEG without the scans
    that its header tells of. copies: of the file in memory; libwebp is handed one and keeps one of
    its own. extension and encoder: of renditions, "" where none is made in this format; AVIF's has
    one thread, so that the same picture makes the same bytes.
    """

    content_type: str
    decoder: str
    header: Callable[[bytes], Header | None]
    bytes_per_pixel: float
    copies: int
    aliases: tuple[str, ...] = ()
    extension: str = ""
    encoder: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As manifests and renditions call it."""
        return self.decoder.lower()


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What videos are made in. video, audio: encoders. qualities: crf at quality 0 and 100."""

    content_type: str
    extension: str
    video: str
    audio: str
    qualities: tuple[int, int]
    options: Mapping[str, str]

    def crf(self, quality: int) -> int:
        worst, best = self.qualities
        return round(worst + (best - worst) * quality / 100)


FORMATS = tuple(
    Format(**row | {"header": getattr(headers, row["header"])}) for row in _TABLE["images"]
)
VIDEOS = {row["extension"]: VideoFormat(**row) for row in _TABLE["videos"]}
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
    needed = size * format.copies + RENDERED * target_pixels + FIXED
    needed += int(pixels * (format.bytes_per_pixel / draft**2 + header.scans))
    return needed
