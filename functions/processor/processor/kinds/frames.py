"""How many frames a file holds, counted in the file itself: no decoder opens any but the first."""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAX_FRAMES = 10_000


def count(data: memoryview, decoder: str) -> int | None:
    """At least 1, at most MAX_FRAMES + 1; None where the decoder has to tell."""
    walk = _WALKS.get(decoder)
    if walk is None:
        return None
    frames = 0
    try:
        for _ in walk(data):
            frames += 1
            if frames > MAX_FRAMES:
                break
    except (struct.error, IndexError):  # what comes after the first frame is not this one's fate
        pass
    return max(frames, 1)


def _png(data: memoryview) -> Iterator[int]:
    """The frames of an animation: its default image may be none of them."""
    at, is_animation = 8, False
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"acTL":
            is_animation = True
        elif name == b"fcTL" and is_animation:
            yield at
        elif name == b"IEND":
            return
        at += 12 + length


def _gif(data: memoryview) -> Iterator[int]:
    flags = data[10]
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while (kind := data[at]) != 0x3B:
        if kind == 0x2C:
            flags = data[at + 9]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif kind == 0x21:
            at += 2
        else:
            return
        while length := data[at]:
            at += 1 + length
        at += 1
        if kind == 0x2C:
            yield at


def _tiff(data: memoryview) -> Iterator[int]:
    order = "<" if data[0] == ord("I") else ">"
    is_big = 43 in (data[2], data[3])
    entry, number, pointer = (20, order + "Q", order + "Q") if is_big else (
        12, order + "H", order + "I")  # fmt: skip
    (at,) = struct.unpack_from(pointer, data, 8 if is_big else 4)
    seen = set()
    while at and at not in seen:
        seen.add(at)
        (entries,) = struct.unpack_from(number, data, at)
        yield at
        (at,) = struct.unpack_from(pointer, data, at + struct.calcsize(number) + entries * entry)


_WALKS = {"PNG": _png, "GIF": _gif, "TIFF": _tiff}
