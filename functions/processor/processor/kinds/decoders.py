"""Pillow's decoders, opened so that nothing optional decides about a picture.

Text, EXIF, XMP, profiles and resolutions are left out, or read by themselves: a broken one is as
good as none. What a decoder would show wrongly, or pass as whole when it is not, is refused.
"""

from __future__ import annotations

import importlib
import io
import re
import struct
from typing import Any, NoReturn, cast

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from processor.errors import PermanentError
from processor.kinds import iso

# Pillow's own handlers expect what is written there to be right.
_HARMLESS = (struct.error, IndexError, KeyError, TypeError, ValueError, SyntaxError)


def opened(file: io.BytesIO, decoder: str) -> ImageFile.ImageFile:
    """The first image, its header read. It has a `turn`, 1 to 8, that undoes its orientation.

    Raises PermanentError unsupported_image, truncated_image, and whatever its decoder raises.
    """
    if decoder == "TIFF":
        from processor.kinds.tiff import Tiff

        return Tiff(file)
    if decoder == "HEIF":
        from processor.kinds.heif import heif

        return heif(file)
    image: ImageFile.ImageFile = _CLASSES[decoder](file)
    return image


def preload(decoder: str) -> None:
    """Imports whatever `opened` may need."""
    from PIL import TiffImagePlugin  # noqa: F401 (EXIF, too)

    if decoder == "AVIF":
        from PIL import _avif  # noqa: F401
    elif decoder in ("HEIF", "TIFF"):
        importlib.import_module(f"processor.kinds.{decoder.lower()}")


def _bytes(image: ImageFile.ImageFile) -> memoryview:
    """The file's: it is in memory, whether as an io.BytesIO or as what behaves like one."""
    return cast(io.BytesIO, image.fp).getbuffer()


def unsupported(what: str) -> NoReturn:
    raise PermanentError("unsupported_image", f"The image is valid, but {what} is not drawn here.")


def truncated() -> PermanentError:
    return PermanentError("truncated_image", "The image ends too early.")


class _Chunks(PngImagePlugin.PngStream):
    """What shows the default image: of the rest, the profile and EXIF, if they can be read."""

    _NEEDED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
    _WANTED = frozenset({b"tRNS", b"iCCP", b"eXIf"})

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        if cid in self._NEEDED:
            return super().call(cid, pos, length)
        assert self.fp
        if cid in self._WANTED:
            try:
                return super().call(cid, pos, length)
            except _HARMLESS:
                self.fp.seek(pos)
        return ImageFile._safe_read(self.fp, length)

    def crc(self, cid: bytes, data: bytes) -> None:
        if cid in self._NEEDED:
            super().crc(cid, data)
        else:
            self.crc_skip(cid, data)


PngImagePlugin.PngStream = _Chunks  # type: ignore[misc]


class Png(PngImagePlugin.PngImageFile):
    # What a transparent grey is multiplied by, as its pixels are.
    _SCALES = {"L;2": 85, "L;4": 17}

    def _open(self) -> None:
        super()._open()
        assert self.png
        if "exif" not in self.info:
            self._late_exif()
        clear, rawmode = self.info.get("transparency"), self.png.im_rawmode
        if isinstance(clear, tuple) and rawmode == "RGB;16B":  # decoded to the upper bytes
            self.info["transparency"] = tuple(value >> 8 for value in clear)
        elif isinstance(clear, int) and rawmode in self._SCALES:
            self.info["transparency"] = clear * self._SCALES[rawmode] & 255

    def _late_exif(self) -> None:
        """EXIF that stands behind the picture, which is turned by it all the same."""
        at, data = 8, _bytes(self)
        while at + 8 <= len(data):
            length, name = struct.unpack_from(">I4s", data, at)
            if name == b"eXIf":
                self.info["exif"] = bytes(data[at + 8 : at + 8 + length])
            at += 12 + length


class Jpeg(JpegImagePlugin.JpegImageFile):
    """Its decoder fills what is missing before a marker with grey, and tells nobody.

    A sequential JPEG in one scan that ends in grey is decoded once more, without any marker behind
    the scan: then its decoder waits for what is missing, as it does where a file ends. A few bytes
    more let it look ahead. (To look for that marker in each file took 2 ms for 12 megapixels.)
    """

    is_strict = False
    _GREY = frozenset({127, 128})  # 127 where Adobe has inverted it
    _AHEAD = bytes(8)
    _NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
    _SEQUENTIAL = frozenset({0xFFC0, 0xFFC1})
    _PROGRESSIVE = frozenset({0xFFC2, 0xFFCA})
    # Hierarchical, and lossless with arithmetic coding.
    _NOT_DRAWN = frozenset({0xFFC5, 0xFFC6, 0xFFC7, 0xFFCB, 0xFFCD, 0xFFCE, 0xFFCF})

    def _open(self) -> None:
        self.frame = 0
        self._end: int | None = None  # of its only scan
        self._ahead = self._AHEAD
        self._file = self.fp
        super()._open()

    def application(self, marker: int) -> None:
        assert self.fp
        at = self.fp.tell()
        try:
            JpegImagePlugin.APP(self, marker)
        except _HARMLESS:
            self.fp.seek(at)
            JpegImagePlugin.Skip(self, marker)
        self.icclist = [one for one in self.icclist if len(one) > 14]

    def start_of_frame(self, marker: int) -> None:
        assert self.fp
        at = self.fp.tell()
        length, bits, _, _, layers = struct.unpack(">HBHHB", self.fp.read(8))
        self.fp.seek(at)
        if length == 8 + 3 * layers:
            if marker in self._NOT_DRAWN:
                unsupported("a JPEG of this process")
            if bits in (12, 16):
                unsupported(f"a JPEG of {bits} bits")
            if layers not in (1, 3, 4):
                unsupported(f"a JPEG of {layers} components")
        self.frame = marker
        JpegImagePlugin.SOF(self, marker)

    def skip(self, marker: int) -> None:
        assert self.fp
        at = self.fp.tell()
        components = _bytes(self)[at + 2 : at + 3]
        self.fp.seek(at)
        JpegImagePlugin.Skip(self, marker)
        is_whole = marker == 0xFFDA and bytes(components) == bytes([self.layers])
        if is_whole and self.frame in self._SEQUENTIAL:
            start = self.fp.tell()
            with _bytes(self) as data:
                found = self._NEXT_MARKER.search(data, start) if self.is_strict else None
                self._end = found.start() if found else len(data)
                del found
        elif marker == 0xFFDA and self.frame in self._PROGRESSIVE:
            with _bytes(self) as data:
                if self._lacks_scans(data, at - 2):
                    raise truncated()

    def _lacks_scans(self, data: memoryview, at: int) -> bool:
        """Whether an end marker comes before every bit of every coefficient has had its scan."""
        missing = {(layer[0], k): 16 for layer in self.layer for k in range(64)}
        while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:
            behind = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if data[at + 1] == 0xDA and behind <= len(data):
                first, last, bits = data[behind - 3 : behind]
                layers = data[at + 5 : behind - 3 : 2]
                missing |= {(c, k): bits & 15 for c in layers for k in range(first, last + 1)}
                found = self._NEXT_MARKER.search(data, behind)
                behind = found.start() if found else len(data)
                del found
            at = behind
        return at + 1 < len(data) and any(missing.values())

    def load(self) -> Any:
        is_first, pixels = bool(self.tile), super().load()
        if (
            is_first
            and self._file
            and self._end is not None
            and not self.is_strict
            and self._ends_in_grey()
        ):
            self._file.seek(0)
            _StrictJpeg(self._file).load()
        return pixels

    def _ends_in_grey(self) -> bool:
        last = self.im.getpixel((self.im.size[0] - 1, self.im.size[1] - 1))
        return self._GREY.issuperset(last if isinstance(last, tuple) else (last,))

    def load_read(self, read_bytes: int) -> bytes:
        if self._end is None:
            return super().load_read(read_bytes)
        assert self.fp
        left = self._end - self.fp.tell()
        if left > 0:
            return self.fp.read(min(read_bytes, left))
        ahead, self._ahead = self._ahead, b""  # the scan, or a file without an end marker, ended
        return ahead


class _StrictJpeg(Jpeg):
    is_strict = True


def _install() -> None:
    """Pillow's table of markers leads here for a Jpeg, and where it led for any other."""
    own = {
        JpegImagePlugin.APP: Jpeg.application,
        JpegImagePlugin.SOF: Jpeg.start_of_frame,
        JpegImagePlugin.Skip: Jpeg.skip,
    }

    def handler(theirs: Any, ours: Any) -> Any:
        return lambda image, marker: (ours if isinstance(image, Jpeg) else theirs)(image, marker)

    for marker, (name, description, theirs) in JpegImagePlugin.MARKER.items():
        if theirs in own:
            row = (name, description, handler(theirs, own[theirs]))
            JpegImagePlugin.MARKER[marker] = row


_install()


class Bmp(BmpImagePlugin.BmpImageFile):
    _VALID_BITS = frozenset({1, 2, 4, 8, 16, 24, 32, 64})
    _EMBEDDED = {4: "a JPEG within a BMP", 5: "a PNG within a BMP"}

    def _open(self) -> None:
        assert self.fp
        head = self.fp.read(34)
        self.fp.seek(0)
        if len(head) == 34 and head[14] >= 40:
            bits, compression = struct.unpack_from("<HI", head, 28)
            if compression in self._EMBEDDED:
                unsupported(self._EMBEDDED[compression])
            if bits in (2, 64):
                unsupported(f"a BMP of {bits} bits")
        super()._open()


class Avif(ImageFile.ImageFile):
    """As Pillow's own, which lets EXIF decide; the container alone says how it is to be turned."""

    format = "AVIF"
    format_description = "AVIF"

    def _open(self) -> None:
        from PIL import _avif

        data = _bytes(self)
        items = iso.read(data)
        if items and not iso.is_complete(items, len(data)):
            raise truncated()
        try:
            self._avif: Any = _avif.AvifDecoder(bytes(data), "auto", 1)
        except ValueError as error:
            if "Exif" not in str(error) or not items:
                raise
            for type in items.types.values():  # what cannot be read is nothing that it knows
                type[:] = b"free" if bytes(type) == b"Exif" else bytes(type)
            self._avif = _avif.AvifDecoder(bytes(data), "auto", 1)
        self._size, self.n_frames, self._mode, icc, exif, self.turn, _ = self._avif.get_info()
        self.info = {"icc_profile": icc, "exif": exif}
        self._clean = iso.crop(items, *self._size) if items else None
        self.tile = [ImageFile._Tile("raw", (0, 0, *self._size), 0, self._mode)]

    def load(self) -> Any:
        if self.tile:
            data, *_ = self._avif.get_frame(0)
            self._avif = None
            self.fp = io.BytesIO(data)
            self.load_seek = lambda pos: None
        pixels = super().load()
        if self._clean:
            self.im, self._clean = self.im.crop(self._clean), None
            self._size = self.im.size
        return pixels


_CLASSES: dict[str, Any] = {
    "AVIF": Avif, "BMP": Bmp, "GIF": GifImagePlugin.GifImageFile, "JPEG": Jpeg, "PNG": Png,
    "WEBP": WebPImagePlugin.WebPImageFile,
}  # fmt: skip
