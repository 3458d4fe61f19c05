"""What the first bytes of an image tell about its size, in plain Python: no decoder is involved.

Memory per pixel was measured on 12-megapixel files of each sort (tests/bench prints it anew).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

# Bytes per pixel at the peak of decoding. JPEG without what Header tells, scaled by its draft.
DECODED = {
    "AVIF": 20.0, "BMP": 5.0, "GIF": 5.0, "HEIF": 16.0, "JPEG": 4.0, "PNG": 5.0, "TIFF": 10.0,
    "WEBP": 17.0,
}  # fmt: skip
# libwebp is handed a copy of the file, and keeps one of its own.
COPIES = {"WEBP": 3, "AVIF": 3, "HEIF": 2}
# Bytes per pixel of a rendition while it is made: AVIF's encoder takes more than all else.
RENDERED = 45
_FIXED = 8 * 1024 * 1024
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Header(NamedTuple):
    """Pixels, and the bytes per pixel that a JPEG keeps of all its scans until the last one."""

    width: int
    height: int
    scans: float = 0.0


def header(head: bytes, format: str) -> Header | None:
    """None where these bytes do not tell."""
    found = _header(head, format)
    return found if found and found.width and found.height else None


def _header(head: bytes, format: str) -> Header | None:
    try:
        if format == "JPEG":
            return _jpeg(head)
        if format == "PNG":
            return Header(*struct.unpack_from(">II", head, 16))
        if format == "GIF":
            return Header(*struct.unpack_from("<HH", head, 6))
        if format == "BMP":
            os2 = head[14:15] == b"\x0c"  # its short header
            width, height = struct.unpack_from("<HH" if os2 else "<ii", head, 18)
            return Header(abs(width), abs(height))
        if format == "WEBP":
            return _webp(head)
        if format in ("AVIF", "HEIF"):
            return max(_extents(head), key=lambda one: one.width * one.height, default=None)
    except (struct.error, ValueError):
        pass
    return None  # TIFF: its directory may be anywhere


def memory(format: str, header: Header, size: int, draft: int, target_pixels: int) -> int:
    """Bytes that one image of `size` bytes takes at its peak.

    draft is the JPEG decoder's own reduction (1, 2, 4 or 8), target_pixels the largest rendition's.
    """
    pixels = header.width * header.height
    needed = size * COPIES.get(format, 1) + RENDERED * target_pixels + _FIXED
    needed += int(pixels * (DECODED[format] / draft**2 + header.scans))
    if format in ("PNG", "BMP"):  # converted beside what was decoded, to less than 4 x 4 for each
        needed += 4 * min(pixels, 16 * target_pixels)
    return needed


def _jpeg(head: bytes) -> Header | None:
    """From the frame header, and the first scan's: more scans to come mean that all are kept."""
    found: Header | None = None
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        (length,) = struct.unpack_from(">H", head, at + 2)
        if marker in _START_OF_FRAME and not found:
            height, width, components = struct.unpack_from(">HHB", head, at + 5)
            factors = head[at + 11 : at + 11 + 3 * components : 3]
            samples = sum((f >> 4) * (f & 15) for f in factors)
            widest = max((f >> 4) for f in factors) * max(f & 15 for f in factors)
            found = Header(width, height, 2.2 * samples / widest if widest else 16.0)
            sequential = marker in (0xC0, 0xC1)
        elif marker == 0xDA:
            if found and sequential and head[at + 4] == components:
                return found._replace(scans=0.0)
            break
        at += 2 + length
    return found


def _webp(head: bytes) -> Header | None:
    if head[12:16] == b"VP8X":
        return Header(*(1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27)))
    if head[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return Header(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    width, height = struct.unpack_from("<HH", head, 26)
    return Header(width & 0x3FFF, height & 0x3FFF)


def _extents(head: bytes) -> Iterator[Header]:
    """The sizes of all images in an ISO container: of tiles, and of what they make together."""
    at = head.find(b"ispe")
    while at >= 0:
        if at + 16 <= len(head):
            yield Header(*struct.unpack_from(">II", head, at + 8))
        at = head.find(b"ispe", at + 4)
