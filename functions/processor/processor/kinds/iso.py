"""The boxes of a HEIC or AVIF file (ISO/IEC 14496-12, 23008-12), as far as a decoder leaves them to
whoever calls it: whether all of the picture's data is there, and which part of it is to be shown.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

_METHOD_FILE, _METHOD_IDAT = 0, 1
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_MAX_ITEMS = 100_000


class Extent(NamedTuple):
    method: int
    start: int
    length: int


class Crop(NamedTuple):
    """A clean aperture in pixels, before any turn."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass
class Items:
    """What the file's `meta` box says; types and properties in the file's memory.

    A property is a box from its type on; an item's are in their order.
    """

    primary: int = 0
    types: dict[int, memoryview] = field(default_factory=dict)
    extents: dict[int, list[Extent]] = field(default_factory=dict)
    parts: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    auxiliaries: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    properties: dict[int, list[memoryview]] = field(default_factory=lambda: defaultdict(list))
    idat_bytes: int = 0

    def property(self, type: bytes) -> memoryview | None:
        """The primary item's first of that type."""
        return next((box for box in self.properties[self.primary] if type_of(box) == type), None)

    def of_picture(self) -> set[int]:
        """The primary item, what it is made of, and its transparency."""
        alpha = [
            item for item in self.auxiliaries[self.primary]
            if any(type_of(box) == b"auxC" and any(name in bytes(box) for name in _ALPHA)
                   for box in self.properties[item])
        ]  # fmt: skip
        found: set[int] = set()
        wanted = [self.primary, *alpha]
        while wanted and len(found) < _MAX_ITEMS:
            item = wanted.pop()
            if item not in found:
                found.add(item)
                wanted += self.parts[item]
        return found


def type_of(box: memoryview) -> bytes:
    return bytes(box[:4])


def read(data: memoryview) -> Items | None:
    """None where there is no `meta` box, or where it cannot be read: the decoder is to judge."""
    try:
        for type, start, end in _boxes(data, 0, len(data)):
            if type == b"meta":
                return _items(data[start + 4 : end])
    except (struct.error, IndexError, ValueError):
        pass
    return None


def is_complete(items: Items, size: int) -> bool:
    """Whether all of the picture's data lies within the `size` bytes of the file."""
    ends = {_METHOD_FILE: size, _METHOD_IDAT: items.idat_bytes}
    return all(
        extent.start + extent.length <= ends.get(extent.method, extent.start + extent.length)
        for item in items.of_picture()
        for extent in items.extents.get(item, ())
    )


def crop(items: Items, width: int, height: int) -> Crop | None:
    """The primary item's clean aperture (14496-12, 12.1.4) within a picture of that size."""
    box = items.property(b"clap")
    if box is None or len(box) < 36:
        return None
    numbers = struct.unpack_from(">IIIIiIiI", box, 4)
    if not all(numbers[1::2]):
        return None
    wide, high, right, down = (
        Fraction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)
    )
    left, top = right + Fraction(width - wide, 2), down + Fraction(height - high, 2)
    found = Crop(round(left), round(top), round(left) + int(wide), round(top) + int(high))
    across = 0 <= found.left < found.right <= width
    return found if across and 0 <= found.top < found.bottom <= height else None


def _items(meta: memoryview) -> Items:
    items, shared = Items(), list[memoryview]()
    links: list[tuple[int, int]] = []
    for type, start, end in _boxes(meta, 0, len(meta)):
        body = meta[start:end]
        if type == b"pitm":
            items.primary = int.from_bytes(body[4:8] if body[0] else body[4:6], "big")
        elif type == b"iinf":
            items.types = dict(_types(body))
        elif type == b"iloc":
            items.extents = dict(_locations(body))
        elif type == b"iref":
            _references(body, items)
        elif type == b"idat":
            items.idat_bytes = len(body)
        elif type == b"iprp":
            for inner, begin, stop in _boxes(body, 0, len(body)):
                if inner == b"ipco":
                    shared = [body[one - 4 : two] for _, one, two in _boxes(body, begin, stop)]
                elif inner == b"ipma":
                    links += _associations(body[begin:stop])
    for item, index in links:
        if 0 < index <= len(shared):
            items.properties[item].append(shared[index - 1])
    return items


def _boxes(data: memoryview, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, and where the body begins and ends: no further than `end`."""
    while at + 8 <= end:
        (length,), head = struct.unpack_from(">I", data, at), 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, at + 8), 16
        length = length or end - at
        if length < head:
            return
        yield bytes(data[at + 4 : at + 8]), at + head, min(at + length, end)
        at += length


def _locations(body: memoryview) -> Iterator[tuple[int, list[Extent]]]:
    version, sizes = body[0], (body[4] >> 4, body[4] & 15, body[5] >> 4, body[5] & 15)
    offset_size, length_size, base_size, index_size = sizes
    at = 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(body):
            raise ValueError("iloc ends early")
        return int.from_bytes(body[at - size : at], "big")

    for _ in range(min(number(4 if version == 2 else 2), _MAX_ITEMS)):
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else _METHOD_FILE
        number(2)  # data_reference_index
        base, extents = number(base_size), []
        for _ in range(number(2)):
            if version:
                number(index_size)
            extents.append(Extent(method, base + number(offset_size), number(length_size)))
        yield item, extents


def _types(body: memoryview) -> Iterator[tuple[int, memoryview]]:
    for type, start, _ in _boxes(body, 8 if body[0] else 6, len(body)):
        version = body[start]
        if type == b"infe" and version in (2, 3):
            size = 4 if version == 3 else 2
            item = int.from_bytes(body[start + 4 : start + 4 + size], "big")
            at = start + 4 + size + 2
            yield item, body[at : at + 4]


def _references(body: memoryview, items: Items) -> None:
    size = 4 if body[0] else 2
    for type, start, end in _boxes(body, 4, len(body)):
        ids = [
            int.from_bytes(body[at : at + size], "big")
            for at in (start, *range(start + size + 2, end - size + 1, size))
        ]
        if type == b"dimg":
            items.parts[ids[0]] += ids[1:]
        elif type == b"auxl":
            for picture in ids[1:]:
                items.auxiliaries[picture].append(ids[0])


def _associations(body: memoryview) -> Iterator[tuple[int, int]]:
    """Item and property, counted from 1."""
    id_size, is_wide = 4 if body[0] else 2, body[3] & 1
    at = 8
    for _ in range(min(int.from_bytes(body[4:8], "big"), _MAX_ITEMS)):
        item = int.from_bytes(body[at : at + id_size], "big")
        count = body[at + id_size]
        at += id_size + 1
        for _ in range(count):
            size = 2 if is_wide else 1
            index = int.from_bytes(body[at : at + size], "big")
            at += size
            yield item, index & (0x7FFF if is_wide else 0x7F)
