"""HEIC by libheif, which turns a picture and cuts it out as its container says."""

from __future__ import annotations

import io
import struct
from typing import Any

import pi_heif  # type: ignore[import-untyped]
from pi_heif import as_plugin
from PIL import Image, ImageFile

from processor.kinds import decoders, iso
from processor.kinds.render import UPRIGHT

pi_heif.options.THUMBNAILS = False
pi_heif.options.DECODE_THREADS = 0  # a file has one thread
# Items that are coded in other ways than HEVC (their boxes' registered names).
_OTHER_CODECS = frozenset(
    {b"av01", b"avc1", b"evc1", b"j2k1", b"jpeg", b"lhv1", b"mski", b"unci", b"vvc1"}
)
_COUNTERCLOCKWISE = (
    None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270,
)  # fmt: skip
_MIRRORED = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)


def heif(file: io.BytesIO) -> ImageFile.ImageFile:
    """Raises as decoders.opened does."""
    turn, cut = 1, None
    data = file.getbuffer()
    items = iso.read(data)
    if items:
        if not iso.is_complete(items, len(data)):
            raise decoders.truncated()
        for item in items.of_picture() & items.types.keys():
            type = bytes(items.types[item])
            if type in _OTHER_CODECS:
                decoders.unsupported(f"a HEIF of {type.decode()}")
        extent = items.property(b"ispe")
        cut = iso.crop(items, *struct.unpack_from(">II", extent, 8)) if extent else None
        if extent and cut:
            turn = _taken_out(items.properties[items.primary], extent)
    try:
        image = _Heif(file)
    except SyntaxError as error:
        if "Unsupported" in str(error):
            decoders.unsupported(f"this ({error})")
        raise
    image.turn, image.cut = turn, cut
    return image


def _taken_out(properties: list[memoryview], extent: memoryview) -> int:
    """Makes clap and irot in the file's memory do nothing, and imir an irot that does nothing.

    The library refuses what is much larger than what is cut out of it. Returns, as EXIF numbers it,
    how the picture is turned after it is cut.
    """
    turns: list[Any] = []
    for box in properties:
        type = bytes(box[:4])
        if type == b"clap":
            width, height = struct.unpack_from(">II", extent, 8)
            box[4:36] = struct.pack(">IIIIiIiI", width, 1, height, 1, 0, 1, 0, 1)
        elif type == b"irot":
            turns.append(_COUNTERCLOCKWISE[box[4] & 3])
            box[4] = 0
        elif type == b"imir":
            turns.append(_MIRRORED[box[4] & 1])
            box[:5] = b"irot\0"
    probe = turned = Image.frombytes("L", (2, 2), bytes(range(4)))
    for one in turns:
        turned = turned.transpose(one) if one is not None else turned
    return next(
        (n for n, one in UPRIGHT.items() if probe.transpose(one).tobytes() == turned.tobytes()), 1
    )


class _Heif(as_plugin.HeifImageFile):  # type: ignore[misc]
    turn = 1
    cut: iso.Crop | None = None
    _heif_file: Any
    im: Any

    def _init_from_heif_file(self, img_index: int) -> None:
        """As the library's own, without a look at EXIF and XMP."""
        image = self._heif_file[img_index]
        self._size, self._mode, self.info = image.size, image.mode, image.info

    def load(self) -> Any:
        if self._heif_file is None:
            return Image.Image.load(self)
        super().load()
        self._heif_file = None  # or each further use would decode again
        if self.cut:
            self.im, self.cut = self.im.crop(self.cut), None
            self._size = self.im.size
        return Image.Image.load(self)
