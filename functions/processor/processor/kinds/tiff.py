"""TIFF, whose decoder is given what it shows rightly, whole, and nothing else."""

from __future__ import annotations

from typing import Any

from PIL import ImagePalette, TiffImagePlugin
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COLORMAP,
    COMPRESSION,
    ICCPROFILE,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    RESOLUTION_UNIT,
    ROWSPERSTRIP,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
    X_RESOLUTION,
    XMP,
    Y_RESOLUTION,
)  # fmt: skip

from processor.kinds import decoders

_ORIENTATION = 0x0112
_WHITE_IS_ZERO, _PALETTE = 0, 3
_SEPARATE = 2
_OPTIONAL = (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, XMP)
# TIFF 6.0, and what libtiff registers beside it: valid, whether drawn here or not.
_COMPRESSIONS = frozenset({
    *range(1, 11), 32766, 32771, 32773, 32809, 32895, 32896, 32897, 32898, 32908, 32909, 32946,
    34661, 34676, 34677, 34712, 34887, 34925, 34933, 34934, 50000, 50001, 50002,
})  # fmt: skip
_PHOTOMETRICS = frozenset({*range(7), 8, 9, 10, 32803, 32844, 32845, 34892})
_BITS = frozenset({1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64})
_NOT_BUILT = frozenset({50001})  # WebP within TIFF, in Pillow's libtiff
# libtiff gives its values in the machine's order, which Pillow knows of 16 bits only.
_NATIVE = {"F;32BF": "F;32NF", "I;32BS": "I;32NS"}
_SIGNED = 2
_FORMATS = frozenset(range(1, 7))


class Tiff(TiffImagePlugin.TiffImageFile):
    turn = 1

    def _open(self) -> None:
        assert self.fp
        if self.fp.read(4) == b"MM\0+":
            decoders.unsupported("a big-endian BigTIFF")
        self.fp.seek(0)
        super()._open()

    def _setup(self) -> None:
        for tag in _OPTIONAL:
            if tag in self.tag_v2:
                del self.tag_v2[tag]
        if not isinstance(self.tag_v2.get(ICCPROFILE, b""), bytes):
            del self.tag_v2[ICCPROFILE]
        form = self._form()
        if form:
            self._refuse(*form)
            if form[1:3] == (_WHITE_IS_ZERO, 16) and form[4] == 1:  # not turned by its decoder
                self.tag_v2[PHOTOMETRIC_INTERPRETATION] = 1
                self.info["white_is_zero"] = True
        try:
            super()._setup()
        except SyntaxError as error:
            if form and "unknown pixel mode" in str(error):
                decoders.unsupported(f"a TIFF {_described(*form)}")
            raise
        if self.use_load_libtiff:
            for number, one in enumerate(self.tile):
                if isinstance(one.args, tuple):
                    mode = _NATIVE.get(one.args[0], one.args[0])
                    self.tile[number] = one._replace(args=(mode, *one.args[1:]))
        if form and form[1] == _PALETTE:
            self._widen_palette()
        self._check_extents()
        turn = self.tag_v2.get(_ORIENTATION)
        self.turn = next((one for one in range(1, 9) if one == turn), 1)
        self._size = self._tile_size  # as it is stored

    def load_end(self) -> None:
        """Neither turned nor searched for more metadata."""

    def _form(self) -> tuple[int, int, int, int, int, int] | None:
        """Compression, photometric, bits, format, samples, planes; None where that is not valid."""
        get = self.tag_v2.get
        bits, formats = _numbers(get(BITSPERSAMPLE, (1,))), _numbers(get(SAMPLEFORMAT, (1,)))
        found = (
            get(COMPRESSION, 1), get(PHOTOMETRIC_INTERPRETATION, 0), max(bits, default=0),
            max(formats, default=0), get(SAMPLESPERPIXEL, 1), get(PLANAR_CONFIGURATION, 1),
        )  # fmt: skip
        if not all(isinstance(one, int) for one in found):
            return None
        compression, photometric, depth, format, samples, planes = found
        is_valid = (
            compression in _COMPRESSIONS and photometric in _PHOTOMETRICS and depth in _BITS
            and format in _FORMATS and 1 <= samples <= 64 and planes in (1, 2)
        )  # fmt: skip
        return found if is_valid else None

    def _refuse(
        self, compression: int, photometric: int, bits: int, format: int, samples: int, planes: int
    ) -> None:
        """What Pillow opens and shows wrongly, or cannot open though it is valid."""
        wrong = (
            compression not in TiffImagePlugin.COMPRESSION_INFO.keys() - _NOT_BUILT
            or (format == _SIGNED and bits == 16)  # nobody agrees on which of them is black
            or (planes == _SEPARATE and samples > 1 and bits != 8 and compression == 1)
            or (photometric == _WHITE_IS_ZERO and format == 3)
        )
        if wrong:
            form = (compression, photometric, bits, format, samples, planes)
            decoders.unsupported(f"a TIFF {_described(*form)}")

    def _widen_palette(self) -> None:
        """Some writers give a palette of 8 bits where 16 are meant (libtiff's checkcmap)."""
        values = self.tag_v2[COLORMAP]
        if isinstance(values, tuple) and max(values, default=0) < 256:
            self.palette = ImagePalette.raw("RGB;L", bytes(values))

    def _check_extents(self) -> None:
        """Raises truncated_image where strips or tiles are missing, or end beyond the file."""
        assert self.fp
        tags, (width, height) = self.tag_v2, self._tile_size
        is_tiled = TILEOFFSETS in tags
        starts = _numbers(tags.get(TILEOFFSETS if is_tiled else STRIPOFFSETS))
        counts = _numbers(tags.get(TILEBYTECOUNTS if is_tiled else STRIPBYTECOUNTS))
        wide = (_numbers(tags.get(TILEWIDTH)) or (width,))[0] if is_tiled else width
        high = (_numbers(tags.get(TILELENGTH if is_tiled else ROWSPERSTRIP)) or (height,))[0]
        bits = _numbers(tags.get(BITSPERSAMPLE, (1,)))
        planes, samples = tags.get(PLANAR_CONFIGURATION, 1), tags.get(SAMPLESPERPIXEL, 1)
        down = -(-height // max(1, high))
        wanted = -(-width // max(1, wide)) * down * (samples if planes == _SEPARATE else 1)
        if len(starts) < wanted:
            raise decoders.truncated()
        if tags.get(COMPRESSION, 1) == 1:  # a wrong count does not matter: it can be worked out
            row = -(-wide * max(bits, default=1) * (1 if planes == _SEPARATE else samples) // 8)
            counts = tuple(
                min(count, row * (high if is_tiled else min(high, height - number % down * high)))
                for number, count in enumerate(counts)
            )
        ends = [start + count for start, count in zip(starts, counts, strict=False)]
        if max(ends, default=0) > self.fp.seek(0, 2):
            raise decoders.truncated()


def _numbers(value: Any) -> tuple[int, ...]:
    """A tag's values; () where they are not whole numbers."""
    values = value if isinstance(value, tuple) else (value,)
    return values if all(isinstance(one, int) for one in values) else ()


def _described(
    compression: int, photometric: int, bits: int, format: int, samples: int, planes: int
) -> str:
    kind = {2: " signed", 3: " floating-point", 5: " complex", 6: " complex"}.get(format, "")
    apart = ", each sample in a plane of its own," if planes == _SEPARATE else ""
    return (
        f"of {samples} ×{kind} {bits} bits{apart} with compression {compression} and "
        f"photometric interpretation {photometric}"
    )
