"""What the first bytes of an image tell about its size, in plain Python: no decoder is involved.

A reader returns None where these bytes do not tell; over odd ones it may raise struct.error or
ValueError. processor.formats says which format has which.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

HEAD_BYTES = 256 * 1024  # the header of nearly every image, profiles and previews included
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Header(NamedTuple):
    """Pixels, and the bytes per pixel that a JPEG keeps of all its scans until the last one."""

    width: int
    height: int
    scans: float = 0.0


def jpeg(head: bytes) -> Header | None:
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


def webp(head: bytes) -> Header | None:
    if head[12:16] == b"VP8X":
        return Header(*(1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27)))
    if head[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return Header(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    width, height = struct.unpack_from("<HH", head, 26)
    return Header(width & 0x3FFF, height & 0x3FFF)


def png(head: bytes) -> Header:
    return Header(*struct.unpack_from(">II", head, 16))


def gif(head: bytes) -> Header:
    return Header(*struct.unpack_from("<HH", head, 6))


def bmp(head: bytes) -> Header:
    os2 = head[14:15] == b"\x0c"  # its short header
    width, height = struct.unpack_from("<HH" if os2 else "<ii", head, 18)
    return Header(abs(width), abs(height))


def iso(head: bytes) -> Header | None:
    """The largest image of an ISO container, AVIF's and HEIC's: tiles, or what they make."""
    return max(_extents(head), key=lambda one: one.width * one.height, default=None)


def directory(head: bytes) -> None:
    """TIFF: its directory may be anywhere."""


def _extents(head: bytes) -> Iterator[Header]:
    """The sizes of all images in an ISO container: of tiles, and of what they make together."""
    at = head.find(b"ispe")
    while at >= 0:
        if at + 16 <= len(head):
            yield Header(*struct.unpack_from(">II", head, at + 8))
        at = head.find(b"ispe", at + 4)
