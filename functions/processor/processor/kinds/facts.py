"""A few facts of what a camera wrote beside its picture; never a place, and never a failure."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from contract.records import Camera


_ORIENTATION, _MAKE, _MODEL, _EXIF, _TAKEN = 0x0112, 0x010F, 0x0110, 0x8769, 0x9003
_TIME = re.compile(r"\d{4}:(0[1-9]|1[0-2]):(0[1-9]|[12]\d|3[01]) ([01]\d|2[0-3]):[0-5]\d:[0-6]\d")
_NO_NAMES = frozenset({"nan", "none", "null", "unknown", "n/a", "-", "0"})


class Exif:
    """Whatever of it can be read."""

    def __init__(self, image: Image.Image) -> None:
        """Of a TIFF, before it is loaded: it is the file itself."""
        self._exif = Image.Exif()
        with contextlib.suppress(Exception):  # as many kinds as there are damaged fields
            if image.format == "TIFF":
                self._exif = image.getexif()
            else:
                self._exif.load(image.info.get("exif") or b"")

    @property
    def turn(self) -> int:
        """EXIF's orientation, 1 where it says none of 1 to 8."""
        value = None
        with contextlib.suppress(Exception):
            value = self._exif.get(_ORIENTATION)
        return next((turn for turn in range(1, 9) if value == turn), 1)

    def facts(self) -> Camera:
        found: Camera = {"orientation": self.turn}
        camera = " ".join(filter(None, (self._text(_MAKE), self._text(_MODEL))))
        if camera:
            found["camera"] = camera[:200]
        taken = self._text(_TAKEN, _EXIF)
        if _TIME.fullmatch(taken):
            found["takenAt"] = taken[:10].replace(":", "-") + "T" + taken[11:]
        return found

    def _text(self, tag: int, group: int | None = None) -> str:
        """The field's text, "" where it holds none."""
        value: Any = None
        with contextlib.suppress(Exception):
            value = (self._exif.get_ifd(group) if group else self._exif).get(tag)
        if not isinstance(value, str):
            return ""
        value = value.partition("\0")[0].strip()
        with contextlib.suppress(UnicodeError):  # read as Latin-1, and mostly written as UTF-8
            value = value.encode("latin-1").decode()
        is_name = value.isprintable() and value.lower() not in _NO_NAMES
        return value if is_name else ""
