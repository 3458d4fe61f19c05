"""A PDF's page before it is drawn: what its images take, and whether its fonts are there."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pypdfium2 import raw  # type: ignore[import-untyped]

# Bytes per pixel of an image that is decoded whole before it is drawn, small as it may be drawn.
_WHOLE = {"DCTDecode": 7, "JPXDecode": 16}
_MAX_OBJECTS = 20_000  # looked at: forms within forms can make billions of a few bytes
# Where the page's own objects do not lead: patterns, masks, glyphs and what annotations look like.
_HIDDEN = re.compile(rb"/(PatternType|SMask|Type3|AP)\b")
_IMAGE = re.compile(rb"/Subtype\s*/Image\b")
_SIDES = [re.compile(rb"/" + name + rb"\s+(\d+)(\s+\d+\s+R)?") for name in (b"Width", b"Height")]
_DICTIONARY_BYTES = 2048  # on either side, at most
_UNKNOWN_SIDE = 1 << 14


class Page:
    """Its objects, forms' and inline images among them, as far as they are looked at."""

    def __init__(self, page: Any, file: io.BytesIO) -> None:
        wanted = [raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_TEXT]
        found = list(islice(page.get_objects(), _MAX_OBJECTS + 1))
        self.is_countable = len(found) <= _MAX_OBJECTS
        self._objects = [one for one in found if one.type in wanted]
        self._file = file

    def has_picture(self) -> bool:
        return any(one.type == raw.FPDF_PAGEOBJ_IMAGE for one in self._objects)

    def shown_bytes(self) -> int:
        """Of the largest image among the page's objects."""
        images = [one for one in self._objects if one.type == raw.FPDF_PAGEOBJ_IMAGE]
        return max((_decoded(one.get_px_size(), one.get_filters()) for one in images), default=0)

    def hidden_bytes(self) -> int:
        """Of the largest image in the file, where there is something that may hide one."""
        with self._file.getbuffer() as data:
            if not _HIDDEN.search(data):
                return 0
            return max((_decoded(*one) for one in _declared(data)), default=0)

    def has_substitutes(self) -> bool:
        """Whether text is drawn in a font that the file does not hold."""
        return any(
            one.type == raw.FPDF_PAGEOBJ_TEXT
            and raw.FPDFTextObj_GetTextRenderMode(one) != raw.FPDF_TEXTRENDERMODE_INVISIBLE
            and raw.FPDFFont_GetIsEmbedded(raw.FPDFTextObj_GetFont(one)) == 0
            for one in self._objects
        )


def _decoded(size: tuple[int, int], filters: list[str]) -> int:
    return math.prod(size) * sum(_WHOLE.get(name, 0) for name in filters)


def _declared(data: memoryview) -> Iterator[tuple[tuple[int, int], list[str]]]:
    """Size and filters of each image's dictionary, which is never compressed itself."""
    for found in _IMAGE.finditer(data):
        before = bytes(data[max(0, found.start() - _DICTIONARY_BYTES) : found.start()])
        after = bytes(data[found.end() : found.end() + _DICTIONARY_BYTES])
        text = before[before.rfind(b"obj") + 1 :] + b" " + after.partition(b"stream")[0]
        width, height = (_side(pattern, text) for pattern in _SIDES)
        yield (width, height), [name for name in _WHOLE if b"/" + name.encode() in text]


def _side(pattern: re.Pattern[bytes], text: bytes) -> int:
    found = pattern.search(text)
    return _UNKNOWN_SIDE if found is None or found[2] else min(int(found[1][:9]), 1 << 20)
