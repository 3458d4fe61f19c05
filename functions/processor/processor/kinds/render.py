"""Renditions of one decoded picture: small first, then upright, in sRGB and, for JPEG, flat."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageChops

from processor.admission import SPARE, scale_of
from processor.formats import ENCODED, Format
from processor.kinds import Output
from processor.settings import Config, Rendition

BACKGROUND = (255, 255, 255)
_STRIP_PIXELS = 1 << 18
UPRIGHT = {  # EXIF orientation → what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Size = tuple[int, int]
# What is scaled as it is. Everything else becomes RGB, L or, premultiplied so that no colour from
# under full transparency bleeds into the edges, RGBa.
_WORKING = frozenset({"RGB", "L", "CMYK", "LAB", "YCbCr"})


def load_encoders(config: Config) -> None:
    """Nothing can be imported any more where a picture is drawn."""
    from PIL import ImageCms  # noqa: F401

    Image.preinit()
    for one in config.pictures.values():
        load_plugin(ENCODED[one.format])


def load_plugin(format: Format) -> None:
    if format.decoder not in Image.OPEN:
        plugin = "WebP" if format.decoder == "WEBP" else format.decoder.capitalize()
        importlib.import_module(f"PIL.{plugin}ImagePlugin")


def render(
    image: Image.Image, size: Size, orientation: int, renditions: Mapping[str, Rendition]
) -> tuple[Output, ...]:
    """One output each, from a loaded image whose stored size was `size` before any draft."""
    return tuple(_render(image, size, orientation, *item) for item in renditions.items())


def _render(
    image: Image.Image, size: Size, orientation: int, name: str, rendition: Rendition
) -> Output:
    scale = scale_of(size, orientation, rendition)
    box = (rendition.width, rendition.height)[:: -1 if orientation >= 5 else 1]
    width, height = (
        max(1, min(most, round(side * scale))) for most, side in zip(box, size, strict=True)
    )
    cut = size
    if rendition.fit == "cover":
        cut = (min(size[0], round(width / scale)), min(size[1], round(height / scale)))
    picture = _upright(_srgb(_scaled(image, size, cut, (width, height)), image), orientation)
    if rendition.format == "jpeg" and picture.mode == "RGBA":
        flat = Image.new("RGB", picture.size, BACKGROUND)
        flat.paste(picture, mask=picture)
        picture = flat
    picture.info = {}  # whatever the encoders would copy: profile, EXIF, comments
    file = io.BytesIO()
    format = ENCODED[rendition.format]
    picture.save(file, format.decoder, quality=rendition.quality, **format.encoder)
    return Output(
        name, f"{name}.{format.extension}", file.getvalue(), format.content_type, *picture.size,
    )  # fmt: skip


def _scaled(image: Image.Image, size: Size, cut: Size, to: Size) -> Image.Image:
    """The middle of the image, `cut` of its original `size`, scaled to `to`."""
    across, down = image.width / size[0], image.height / size[1]
    left, top = (size[0] - cut[0]) / 2 * across, (size[1] - cut[1]) / 2 * down
    right, bottom = left + cut[0] * across, top + cut[1] * down
    fx, fy = 1, 1
    if image.mode not in _WORKING or image.has_transparency_data:
        # As reducing_gap does.
        fx = max(1, int((right - left) / to[0] / SPARE))
        fy = max(1, int((bottom - top) / to[1] / SPARE))
        image = _converted(image, fx, fy)
    part = (left / fx, top / fy, min(right / fx, image.width), min(bottom / fy, image.height))
    return image.resize(to, Image.Resampling.LANCZOS, box=part, reducing_gap=SPARE)


def _converted(image: Image.Image, fx: int, fy: int) -> Image.Image:
    """In a mode that can be scaled, reduced by the factors; in strips, as a whole takes memory."""
    rows = max(1, _STRIP_PIXELS // image.width // fy) * fy
    made: Image.Image | None = None
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip = _working(strip).reduce((fx, fy))
        made = made or Image.new(strip.mode, (-(-image.width // fx), -(-image.height // fy)))
        made.paste(strip, (0, top // fy))
    assert made is not None
    return made


def _working(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _of_16_bits(image)
    if image.has_transparency_data:
        return image.convert("RGBA").convert("RGBa")
    return image.convert("L" if image.mode in ("1", "I", "F") else "RGB")


def _of_16_bits(image: Image.Image) -> Image.Image:
    """L, or RGBa where one grey stands for what is transparent."""
    grey = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")  # not clipped
    if image.info.get("white_is_zero"):
        grey = ImageChops.invert(grey)
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return grey
    data, alpha = image.tobytes(), None
    for part, wanted in enumerate(clear.to_bytes(2, "little")):
        half = Image.frombytes("L", image.size, data[part::2])
        differs = half.point([255 * (value != wanted) for value in range(256)])
        alpha = ImageChops.lighter(alpha, differs) if alpha else differs
    assert alpha
    return Image.merge("LA", (grey, alpha)).convert("RGBA").convert("RGBa")


def _srgb(picture: Image.Image, source: Image.Image) -> Image.Image:
    """RGB or RGBA. A profile that cannot be used is as good as none."""
    alpha = None
    if picture.mode == "RGBa":
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
        picture = picture.convert("RGB")
    profile = source.info.get("icc_profile")
    if profile or picture.mode == "LAB":
        picture = _by_profile(picture, profile)
    picture = picture.convert("RGB")
    if alpha is not None:
        picture.putalpha(alpha)
    return picture


def _by_profile(picture: Image.Image, profile: bytes | None) -> Image.Image:
    from PIL import ImageCms

    try:
        known: Any = ImageCms.createProfile("LAB")
        if picture.mode != "LAB":
            known = io.BytesIO(profile or b"")
        made = ImageCms.profileToProfile(
            picture, known, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return made or picture


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture
