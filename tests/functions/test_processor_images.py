"""Images: right way up, right colours, right edges, and a name for each refusal.

Expected pixels are computed here, by other means than the processor's.
"""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageCms, ImageDraw, TiffImagePlugin

from processor.headers import HEAD_BYTES

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "white": (250,) * 3}


def encode(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **({"quality": 95} if format == "JPEG" else {}) | options)
    return file.getvalue()


def quarters(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Red, green / blue, white: every turn and flip of it looks different."""
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for n, colour in enumerate(COLOURS.values()):
        left, top = n % 2 * width // 2, n // 2 * height // 2
        draw.rectangle((left, top, left + width // 2, top + height // 2), fill=colour)
    return image.convert(mode)


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours in the middle of the four quarters."""
    image = image.convert("RGB")
    w, h = image.size
    return [image.getpixel((x, y)) for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]  # type: ignore[misc]


def close(found: Any, wanted: Any, tolerance: int = 6) -> bool:
    return all(
        abs(a - b) <= tolerance
        for p, q in zip(found, wanted, strict=True)
        for a, b in zip(p, q, strict=True)
    )


R, G, B, W = COLOURS.values()


def test_a_photo_gets_its_thumbnail(processor: Any) -> None:
    record = processor.process(encode(quarters(1200, 900)))
    assert record["image"] == {
        "format": "jpeg", "width": 1200, "height": 900, "frames": 1, "orientation": 1,
    }  # fmt: skip
    (output,) = record["outputs"]
    assert (output["name"], output["contentType"]) == ("thumbnail", "image/jpeg")
    assert (output["width"], output["height"]) == (300, 225)
    assert output["object"] == "files/cats/tom.jpg/1732000000000001/thumbnail.jpg"
    stored = processor.cloud.results[output["object"]]
    assert (output["size"], output["crc32c"]) == (len(stored.data), stored.resource["crc32c"])
    assert stored.resource["metadata"]["source-object"] == "cats/tom.jpg"
    assert "immutable" in stored.resource["cacheControl"]
    assert list(processor.cloud.results)[-1].startswith("manifests/")
    picture = processor.outputs(record)["thumbnail"]
    assert picture.format == "JPEG"
    assert close(corners(picture), [R, G, B, W])


def test_one_request_reads_a_declared_image(processor: Any) -> None:
    processor.process(encode(quarters(3000, 2000)), contentType="image/jpeg")
    gets = [r for r in processor.cloud.requests if r.startswith("GET")]
    assert gets == ["GET cats/tom.jpg bytes=0-262143"]


# Where the quarters come from, clockwise turns and flips as EXIF defines them.
UPRIGHT = {
    1: [R, G, B, W], 2: [G, R, W, B], 3: [W, B, G, R], 4: [B, W, R, G],
    5: [R, B, G, W], 6: [B, R, W, G], 7: [W, G, B, R], 8: [G, W, R, B],
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_comes_upright(processor: Any, orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    record = processor.process(encode(quarters(1200, 800), format, exif=exif))
    picture = processor.outputs(record)["thumbnail"]
    assert picture.size == ((300, 200) if orientation < 5 else (200, 300))
    assert close(corners(picture), UPRIGHT[orientation], 12)
    assert record["image"]["orientation"] == orientation
    upright = (1200, 800) if orientation < 5 else (800, 1200)
    assert (record["image"]["width"], record["image"]["height"]) == upright
    assert "exif" not in picture.info


@pytest.mark.parametrize(
    ("format", "options", "kind"),
    [
        ("JPEG", {}, "image/jpeg"),
        ("JPEG", {"progressive": True}, "image/jpeg"),
        ("PNG", {}, "image/png"),
        ("GIF", {}, "image/gif"),
        ("WEBP", {"lossless": True}, "image/webp"),
        ("WEBP", {"quality": 95}, "image/webp"),
        ("TIFF", {"compression": "tiff_deflate"}, "image/tiff"),
        ("BMP", {}, "image/bmp"),
        ("AVIF", {"quality": 95, "speed": 10}, "image/avif"),
    ],
)
@pytest.mark.parametrize("declared", ["as it is", "application/octet-stream"])
def test_every_format_is_read(
    processor: Any, format: str, options: dict[str, Any], kind: str, declared: str
) -> None:
    declared = kind if declared == "as it is" else declared
    record = processor.process(encode(quarters(640, 480), format, **options), contentType=declared)
    assert record["detected"] == {
        "contentType": kind,
        "matchesDeclared": True if declared == kind else None,
    }
    assert (record["image"]["format"], record["image"]["width"]) == (format.lower(), 640)
    assert close(corners(processor.outputs(record)["thumbnail"]), [R, G, B, W], 12)


def test_a_bmp_of_os2_is_read(processor: Any) -> None:
    """Its header is shorter: 16 bits for each side."""
    row = bytes((200, 60, 40)) * 40  # blue, green, red; 120 bytes need no padding
    head = struct.pack("<2sIIIIHHHH", b"BM", 26 + 30 * 120, 0, 26, 12, 40, 30, 1, 24)
    record = processor.process(head + row * 30, contentType="image/bmp")
    assert (record["image"]["width"], record["image"]["height"]) == (40, 30)
    assert close(corners(processor.outputs(record)["thumbnail"]), [B] * 4)


def test_a_big_tiff_is_read(processor: Any) -> None:
    data = encode(quarters(640, 480), "TIFF", big_tiff=True)
    assert data.startswith(b"II+")
    record = processor.process(data, contentType="image/tiff")
    assert record["detected"] == {"contentType": "image/tiff", "matchesDeclared": True}
    assert close(corners(processor.outputs(record)["thumbnail"]), [R, G, B, W], 12)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_shown_and_all_are_counted(
    processor: Any, format: str
) -> None:
    frames = [quarters(200, 200), Image.new("RGB", (200, 200)), Image.new("RGB", (200, 200), "red")]
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], duration=100)
    record = processor.process(data, contentType="image/" + format.lower())
    assert record["image"]["frames"] == 3
    assert record["detected"]["matchesDeclared"]
    assert close(corners(processor.outputs(record)["thumbnail"]), [R, G, B, W], 12)


@pytest.mark.parametrize(
    ("mode", "format"),
    [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("RGBA", "AVIF")],
)
@pytest.mark.parametrize("size", [100, 1500])
def test_what_is_transparent_becomes_white(
    processor: Any, mode: str, format: str, size: int
) -> None:
    image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, size // 2, size // 2))
    record = processor.process(encode(image.convert(mode), format))
    found = corners(processor.outputs(record)["thumbnail"])
    assert close(found, [(0, 0, 0)] + [(255, 255, 255)] * 3, 8)


def test_half_transparent_is_half_white(processor: Any) -> None:
    record = processor.process(encode(Image.new("RGBA", (900, 900), (255, 0, 0, 128)), "PNG"))
    assert close(corners(processor.outputs(record)["thumbnail"]), [(255, 127, 127)] * 4)


def test_colours_under_full_transparency_do_not_bleed(processor: Any) -> None:
    image = Image.new("RGBA", (2000, 2000), (0, 255, 0, 0))  # green that nobody may see
    image.paste((255, 0, 0, 255), (0, 0, 1000, 2000))
    processor.configure(RENDITIONS='{"a": {"width": 100, "height": 100, "format": "png"}}')
    picture = processor.outputs(processor.process(encode(image, "PNG")))["a"]
    assert picture.mode == "RGBA"
    for x in range(100):
        red, green, _, alpha = picture.getpixel((x, 50))
        assert alpha == 0 or (red > 250 and green < 5)


def test_palette_with_transparency(processor: Any) -> None:
    image = Image.new("P", (600, 600), 0)
    image.putpalette([0, 0, 0, 220, 30, 30, 30, 160, 60])
    image.paste(1, (0, 0, 300, 300))
    image.paste(2, (300, 0, 600, 300))
    for format in ("PNG", "GIF"):
        record = processor.process(encode(image, format, transparency=0), name=format)
        found = corners(processor.outputs(record)["thumbnail"])
        assert close(found, [R, G, (255,) * 3, (255,) * 3])


def test_a_colour_key_is_transparency_too(processor: Any) -> None:
    image = quarters(600, 600)
    record = processor.process(encode(image, "PNG", transparency=COLOURS["blue"]))
    assert close(corners(processor.outputs(record)["thumbnail"]), [R, G, (255,) * 3, W])


def test_sixteen_bits_are_scaled_not_clipped(processor: Any) -> None:
    image = Image.new("I;16", (600, 600), 0x8000)
    record = processor.process(encode(image, "PNG"))
    assert close(corners(processor.outputs(record)["thumbnail"]), [(128,) * 3] * 4)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_black_and_white(processor: Any, mode: str) -> None:
    image = Image.new("L", (900, 900), 255)
    image.paste(0, (0, 0, 450, 450))
    record = processor.process(encode(image.convert(mode), "PNG"))
    white = (255, 255, 255)
    assert close(corners(processor.outputs(record)["thumbnail"]), [(0, 0, 0), white, white, white])


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile(processor: Any, format: str) -> None:
    ink = (200, 40, 10, 60)
    record = processor.process(encode(Image.new("CMYK", (900, 900), ink), format))
    wanted = tuple(round((255 - c) * (255 - ink[3]) / 255) for c in ink[:3])
    assert close(corners(processor.outputs(record)["thumbnail"]), [wanted] * 4, 4)


def adobe_rgb() -> bytes:
    """A matrix profile with the primaries and the gamma of Adobe RGB (1998), made by hand."""

    def s15(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(s15, values))

    # ICC.1: D50-adapted colorants of Adobe RGB (1998), and its gamma of 563/256.
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 6) + b"adobe\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        b"rTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, 563) + b"\0\0",
    }
    tags[b"gTRC"] = tags[b"bTRC"] = tags[b"rTRC"]
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s12s4s4sI4s4sQI12s", at + len(body), b"lcms", 0x02400000, b"mntr", b"RGB ",
        b"XYZ ", bytes(12), b"acsp", b"APPL", 0, b"none", b"none", 0, 0,
        struct.pack(">iii", 63190, 65536, 54061),
    ) + b"lcms" + bytes(44)  # fmt: skip
    return head + struct.pack(">I", len(tags)) + table + body


def in_srgb(colour: tuple[int, int, int]) -> tuple[int, ...]:
    """Adobe RGB to sRGB by the definitions of both, without a colour library."""
    linear = [(value / 255) ** (563 / 256) for value in colour]
    # Adobe RGB → XYZ (D65) → linear sRGB, both matrices from their specifications.
    x = 0.57667 * linear[0] + 0.18556 * linear[1] + 0.18823 * linear[2]
    y = 0.29734 * linear[0] + 0.62736 * linear[1] + 0.07529 * linear[2]
    z = 0.02703 * linear[0] + 0.07069 * linear[1] + 0.99134 * linear[2]
    rgb = (
        3.2406 * x - 1.5372 * y - 0.4986 * z,
        -0.9689 * x + 1.8758 * y + 0.0415 * z,
        0.0557 * x - 0.2040 * y + 1.0570 * z,
    )
    clipped = [min(1.0, max(0.0, value)) for value in rgb]
    return tuple(
        round(255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055))
        for v in clipped
    )


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("colour", [(120, 160, 90), (200, 100, 100), (80, 90, 160)])
def test_adobe_rgb_becomes_srgb(processor: Any, format: str, colour: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (800, 800), colour)
    record = processor.process(encode(image, format, icc_profile=adobe_rgb()))
    picture = processor.outputs(record)["thumbnail"]
    assert close(corners(picture), [in_srgb(colour)] * 4, 4)
    assert not close([in_srgb(colour)], [colour], 4)
    assert "icc_profile" not in picture.info


def test_alpha_and_profile_together(processor: Any) -> None:
    image = Image.new("RGBA", (800, 800), (120, 160, 90, 255))
    image.paste((0, 0, 0, 0), (0, 0, 400, 400))
    record = processor.process(encode(image, "PNG", icc_profile=adobe_rgb()))
    wanted = [(255, 255, 255)] + [in_srgb((120, 160, 90))] * 3
    assert close(corners(processor.outputs(record)["thumbnail"]), wanted, 4)


@pytest.mark.parametrize("profile", [b"nonsense", adobe_rgb()[:200]])
def test_a_broken_profile_is_as_good_as_none(processor: Any, profile: bytes) -> None:
    record = processor.process(encode(quarters(600, 600), icc_profile=profile))
    assert close(corners(processor.outputs(record)["thumbnail"]), [R, G, B, W])


def test_a_profile_of_another_colour_space_is_ignored(processor: Any) -> None:
    image = Image.new("L", (600, 600), 100)
    record = processor.process(encode(image, icc_profile=adobe_rgb()))
    assert close(corners(processor.outputs(record)["thumbnail"]), [(100,) * 3] * 4)


def test_lab_is_converted(processor: Any) -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(quarters(600, 600), srgb, lab, outputMode="LAB")
    assert image is not None
    record = processor.process(encode(image, "TIFF"))
    assert close(corners(processor.outputs(record)["thumbnail"]), [R, G, B, W], 8)


# 96 by 64 pixels, red above blue, and the same with an `irot` box that turns it as phones do. Made
# with libheif 1.23: the library that reads HEIC here cannot write it.
HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAA"
    "AAAAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABegABAAAAAAAAAMEAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAAB"
    "AABodmMxAAAAAA5waXRtAAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADw"
    "NgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoDCBBZbqSSmubgIaDAgA"
    "AAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABgAAAAQAAAABBwaX"
    "hpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAAMltZGF0AAAAvSgBrwT4QTJp2//Fh///+qRvZf2qoaT5"
    "/FB/da0pf7kHP//lFcgYgenEjxMM+lXNUb0b3u4VVCwbbZAWmePUJuhuJWgsvfbp9kx8BnHOLCkM/11cDNLh7I+BOl"
    "38blpDQa5VgUEv/Xq+14G+7PMN9O+ejQdkCxQU1ZgTEmWS9LLQYEkyQ0xsnu/JDunG7BqWwowEhrK4pPq0PgRPjAyB"
    "s4PWckNXpvZzpEo5eKndIDhySQ2y3m2s7exnmtJzzw=="
)
HEIC_TURNED = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAWBtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAA"
    "AAAAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABhAABAAAAAAAAAMEAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAAB"
    "AABodmMxAAAAAA5waXRtAAAAAAABAAAA4GlwcnAAAADAaXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADw"
    "NgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoDCBBZbqSSmubgIaDAgA"
    "AAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABgAAAAQAAAABBwaX"
    "hpAAAAAAMICAgAAAAJaXJvdAMAAAAYaXBtYQAAAAAAAAABAAEFgQIDBIUAAADJbWRhdAAAAL0oAa8E+EEyadv/xYf/"
    "//qkb2X9qqGk+fxQf3WtKX+5Bz//5RXIGIHpxI8TDPpVzVG9G97uFVQsG22QFpnj1CbobiVoLL326fZMfAZxziwpDP"
    "9dXAzS4eyPgTpd/G5aQ0GuVYFBL/16vteBvuzzDfTvno0HZAsUFNWYExJlkvSy0GBJMkNMbJ7vyQ7pxuwalsKMBIay"
    "uKT6tD4ET4wMgbOD1nJDV6b2c6RKOXip3SA4ckkNst5trO3sZ5rSc88="
)


def test_heic_is_read(processor: Any) -> None:
    record = processor.process(base64.b64decode(HEIC), contentType="image/heic")
    assert (record["image"]["width"], record["image"]["height"]) == (96, 64)
    red, blue = (200, 30, 30), (30, 30, 200)
    assert close(corners(processor.outputs(record)["thumbnail"]), [red, red, blue, blue], 12)


def test_a_turned_heic_comes_upright(processor: Any) -> None:
    record = processor.process(base64.b64decode(HEIC_TURNED), contentType="image/heic")
    picture = processor.outputs(record)["thumbnail"]
    assert picture.size == (64, 96)
    red, blue = (200, 30, 30), (30, 30, 200)
    assert close(corners(picture), [blue, red, blue, red], 12)


def test_renditions_are_a_setting_and_one_decode_serves_all(processor: Any) -> None:
    processor.configure(
        RENDITIONS=json.dumps(
            {
                "small": {"width": 100, "height": 100, "fit": "cover", "format": "png"},
                "wide": {"width": 400, "height": 50, "format": "webp", "quality": 90},
                "modern": {"width": 200, "height": 200, "format": "avif"},
                "huge": {"width": 5000, "height": 5000},
            }
        )
    )
    record = processor.process(encode(quarters(800, 600)))
    found = {
        o["name"]: (o["object"].rpartition("/")[2], o["contentType"]) for o in record["outputs"]
    }
    assert found == {
        "small": ("small.png", "image/png"),
        "wide": ("wide.webp", "image/webp"),
        "modern": ("modern.avif", "image/avif"),
        "huge": ("huge.jpg", "image/jpeg"),
    }
    pictures = processor.outputs(record)
    sizes = {name: picture.size for name, picture in pictures.items()}
    assert sizes == {
        "small": (100, 100), "wide": (67, 50), "modern": (200, 150), "huge": (800, 600),
    }  # fmt: skip
    for picture in pictures.values():
        assert close(corners(picture), [R, G, B, W], 12)


def test_cover_cuts_the_middle_of_the_upright_picture(processor: Any) -> None:
    processor.configure(RENDITIONS='{"a": {"width": 100, "height": 50, "fit": "cover"}}')
    image = Image.new("RGB", (600, 900), W)
    image.paste(R, (150, 0, 450, 900))  # upright: a red band across the middle
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = processor.outputs(processor.process(encode(image, exif=exif)))["a"]
    assert picture.size == (100, 50)
    assert close([picture.getpixel((50, 25)), picture.getpixel((50, 10))], [R, R], 10)
    assert close([picture.getpixel((50, 2)), picture.getpixel((50, 47))], [W, W], 10)


def test_nothing_is_made_larger(processor: Any) -> None:
    record = processor.process(encode(quarters(40, 30)))
    assert processor.outputs(record)["thumbnail"].size == (40, 30)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (301, 299)])
def test_extreme_shapes_keep_at_least_a_pixel(processor: Any, size: tuple[int, int]) -> None:
    for format in ("JPEG", "PNG"):
        record = processor.process(encode(Image.new("RGB", size, R), format), name=format)
        picture = processor.outputs(record)["thumbnail"]
        assert max(picture.size) <= 300
        assert min(picture.size) >= 1


def test_camera_and_time_are_learnt_and_the_place_is_not(processor: Any) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Acme", "Pocket 3"
    exif.get_ifd(0x8769)[0x9003] = "2026:07:14 12:30:00"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    record = processor.process(encode(quarters(600, 400), exif=exif))
    assert record["image"]["camera"] == "Acme Pocket 3"
    assert record["image"]["takenAt"] == "2026-07-14T12:30:00"
    assert "52" not in json.dumps(record["image"])
    assert not processor.outputs(record)["thumbnail"].getexif()


def test_outputs_are_the_same_bytes_whichever_attempt_wins(processor: Any) -> None:
    processor.configure(
        RENDITIONS=json.dumps(
            {f: {"width": 200, "height": 200, "format": f} for f in ("jpeg", "png", "webp", "avif")}
        )
    )
    uploaded = processor.cloud.put(encode(quarters(1000, 800), "PNG", icc_profile=adobe_rgb()))
    first, second = (processor.post(uploaded)[1]["outputs"] for _ in range(2))
    assert [o["crc32c"] for o in first] == [o["crc32c"] for o in second]
    assert first[0]["object"] != second[0]["object"]


def refusal(processor: Any, data: bytes, **fields: Any) -> str:
    record = processor.process(data, **fields)
    assert record["status"] == "failed", record
    assert not any(name.startswith("files/") for name in processor.cloud.results)
    assert re.fullmatch(r"[A-Z].{10,}", record["detail"]), record["detail"]
    return record["reason"]


@pytest.mark.parametrize(
    "format",
    ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"],
)
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_a_truncated_image_is_named_and_never_half_grey(
    processor: Any, format: str, kept: float
) -> None:
    noise = Image.effect_noise((400, 400), 90).convert("RGB")
    data = encode(noise, format)
    assert refusal(processor, data[: int(len(data) * kept)]) == "truncated_image"


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.95])
def test_a_truncated_photo_of_a_phone_is_named(processor: Any, kept: float) -> None:
    noise = Image.effect_noise((200, 200), 90).convert("RGB")
    for data in (base64.b64decode(HEIC), encode(noise, "AVIF", speed=10)):
        assert refusal(processor, data[: int(len(data) * kept)]) == "truncated_image"
        processor.cloud.results.clear()


def test_a_corrupt_photo_of_a_phone_is_named(processor: Any) -> None:
    data = base64.b64decode(HEIC)
    assert refusal(processor, data[:200] + bytes(100) + data[300:]) == "corrupt_image"


def test_a_corrupt_image_is_named(processor: Any) -> None:
    good = encode(Image.effect_noise((400, 400), 90), "PNG")
    assert refusal(processor, good[:60] + bytes(200) + good[260:]) == "corrupt_image"


def test_a_refusal_says_the_same_each_time(processor: Any) -> None:
    data = b"\x89PNG\r\n\x1a\n" + bytes(90)
    details = {processor.process(data, name=name)["detail"] for name in "ab"}
    assert len(details) == 1
    assert details.pop().startswith("The decoder says: SyntaxError: broken PNG file")


def test_content_that_is_not_what_was_declared_is_named(processor: Any) -> None:
    assert refusal(processor, b"this is not a photo", contentType="image/jpeg") == "type_mismatch"


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header may say anything."""

    def chunk(name: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_decompression_bomb_is_refused_by_its_header(processor: Any) -> None:
    bomb = png(50_000, 50_000, zlib.compress(bytes(1_000_000)))
    assert refusal(processor, bomb) == "too_many_pixels"


def test_a_picture_that_never_fits_the_memory_is_refused(processor: Any) -> None:
    processor.configure(MEMORY_BYTES=str(256 << 20))
    assert refusal(processor, png(9000, 9000)) == "image_too_large_for_memory"


def test_dimensions_that_lie_are_found_out(processor: Any) -> None:
    assert refusal(processor, png(3000, 3000, zlib.compress(bytes(3000)))) == "truncated_image"


def gif(frames: int) -> bytes:
    """A GIF of one pixel, so many times."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame * frames + b";"


def tiff(frames: int) -> bytes:
    """A TIFF whose directories follow each other, of one pixel each."""
    fields = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 4, 277: 1, 278: 1, 279: 1}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    length = 2 + len(rows) + 4
    ends = [8 + length * number for number in range(1, frames)] + [0]
    return (
        b"II*\0"
        + struct.pack("<I", 8)
        + b"".join(struct.pack("<H", len(fields)) + rows + struct.pack("<I", end) for end in ends)
    )


@pytest.mark.parametrize("make", [gif, tiff])
def test_frames_are_counted(processor: Any, make: Callable[[int], bytes]) -> None:
    assert processor.process(make(9))["image"]["frames"] == 9


@pytest.mark.parametrize("make", [gif, tiff])
def test_too_many_frames_are_refused(
    processor: Any, make: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pillow compares each directory of a TIFF with all before it: 100,000 would take it a minute.
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "n_frames", property(lambda _: 1 / 0))
    assert refusal(processor, make(10_002)) == "too_many_frames"


@pytest.mark.parametrize(("beyond", "reason"), [(0, None), (1, "file_too_large")])
def test_a_file_beyond_the_limit_is_refused_at_once(
    processor: Any, beyond: int, reason: str | None
) -> None:
    data = encode(Image.effect_noise((900, 900), 90))
    assert len(data) > HEAD_BYTES
    processor.configure(MAX_FILE_BYTES=str(len(data) - beyond))
    record = processor.process(data)
    assert record.get("reason") == reason
    if reason:  # neither read to its end, nor an attempt spent
        assert record["attempt"] == 0
        assert [request.split()[0] for request in processor.cloud.requests] == ["GET", "POST"]


@pytest.mark.parametrize(("beyond", "reason"), [(0, None), (1, "too_many_pixels")])
def test_an_image_beyond_the_limit_of_pixels_is_refused(
    processor: Any, beyond: int, reason: str | None
) -> None:
    processor.configure(MAX_PIXELS=str(300 * 200 - beyond))
    for format in ("JPEG", "PNG", "TIFF"):  # TIFF: known once it is opened
        data = encode(quarters(300, 200), format)
        assert processor.process(data, name=format).get("reason") == reason


def test_detail_is_averaged_and_not_left_out(processor: Any) -> None:
    """Lines of one pixel, black and white in turns, become grey; sharp edges stay sharp."""
    lines = Image.new("L", (1200, 1200))
    lines.putdata([255 * (n % 1200 % 2) for n in range(1200 * 1200)])
    edge = Image.new("L", (1200, 1200))
    edge.paste(255, (604, 0, 1200, 1200))
    for format in ("PNG", "TIFF", "BMP"):
        for name, image in (("lines", lines), ("edge", edge)):
            record = processor.process(encode(image, format), name=f"{name}.{format}")
            made = processor.outputs(record)["thumbnail"].convert("L")
            row = [made.getpixel((x, 150)) for x in range(20, 280)]
            if name == "lines":
                assert all(abs(value - 128) < 6 for value in row)
            else:  # a box filter would have no more than one step of grey
                assert sum(8 < value < 247 for value in row) <= 3
                assert max(row[:131]) > 2  # the ringing of Lanczos
