"""What stands beside a picture never decides about it; what is missing of it always does.

Files that no encoder writes are put together here, and their pixels are known.
"""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from typing import Any

import made_files as made
import pytest
from made_files import CODED, Field, Item, clap, heic, imir, irot, long, short
from PIL import Image
from test_processor_images import (
    UPRIGHT,
    B,
    G,
    R,
    W,
    close,
    corners,
    encode,
    quarters,
    refusal,
)

RED, BLUE = (200, 30, 30), (30, 30, 200)
PICTURE = quarters(160, 120)


def shows(processor: Any, data: bytes, wanted: Any, tolerance: int = 12) -> dict[str, Any]:
    record = processor.process(data)
    assert record["status"] == "done", record
    found = corners(processor.outputs(record)["thumbnail"])
    assert close(found, wanted, tolerance), found
    return dict(record["image"])


# --- Optional data

RATIONAL = struct.pack(">II", 6, 1)
TEXTS = {
    "a text of two megabytes": made.chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2 << 20))),
    "a text of unknown compression": made.chunk(b"zTXt", b"a\0\7junk"),
    "a text that does not unpack": made.chunk(b"zTXt", b"a\0\0junk"),
    "an international text": made.chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0junk"),
    "EXIF": made.chunk(b"eXIf", b"junk"),
    "a short gamma": made.chunk(b"gAMA", b"\0"),
    "short chromaticities": made.chunk(b"cHRM", b"\0"),
    "no intent": made.chunk(b"sRGB", b""),
    "a short resolution": made.chunk(b"pHYs", b"\0\1"),
    "a profile": made.chunk(b"iCCP", b"p\0\0junk"),
    "a profile without an end to its name": made.chunk(b"iCCP", b"profile"),
    "a profile of two megabytes": made.chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2 << 20))),
    "a short transparency": made.chunk(b"tRNS", b"\0"),
    "a short animation": made.chunk(b"acTL", b"\0"),
    "a frame that is none": (
        made.chunk(b"acTL", struct.pack(">II", 9, 0)) + made.chunk(b"fcTL", bytes(26))
    ),
    "a wrong checksum": made.chunk(b"tEXt", b"a\0b", crc=7),
    "something unknown": made.chunk(b"abCd", bytes(99)),
    **{
        f"a text called {key}": made.chunk(b"tEXt", key.encode() + b"\0" + b"1")
        for key in ("exif", "icc_profile", "transparency", "gamma", "dpi", "bbox", "interlace",
                    "default_image", "xmp", "Raw profile type exif")
    },
}  # fmt: skip


@pytest.mark.parametrize("added", TEXTS.values(), ids=TEXTS)
def test_no_optional_chunk_fails_a_png(processor: Any, added: bytes) -> None:
    data = encode(PICTURE, "PNG")
    shows(processor, made.with_chunk(data, added), [R, G, B, W])
    shows(processor, data[:-12] + added + data[-12:], [R, G, B, W])


SEGMENTS = {
    "a short JFIF header": (0xE0, b"JFIF\0"),
    "EXIF": (0xE1, b"Exif\0\0junkjunk"),
    "EXIF without an end": (0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"),
    "XMP": (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x"),
    "a short profile": (0xE2, b"ICC_PROFILE\0"),
    "a profile": (0xE2, b"ICC_PROFILE\0\1\1junk"),
    "pictures to come": (0xE2, b"MPF\0junk"),
    "Photoshop's": (0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\1"),
    "Adobe's": (0xEE, b"Adobe"),
    "a comment": (0xFE, b"\xff\xfe\0"),
}


@pytest.mark.parametrize(("marker", "body"), SEGMENTS.values(), ids=SEGMENTS)
def test_no_optional_segment_fails_a_jpeg(processor: Any, marker: int, body: bytes) -> None:
    shows(processor, made.with_segment(encode(PICTURE), marker, body), [R, G, B, W])


EXIF_TYPES = {
    "byte": Field(0x0112, 1, b"\6"), "text": Field(0x0112, 2, b"6\0"),
    "three": short(0x0112, 6, 6, 6), "long": long(0x0112, 6),
    "rational": Field(0x0112, 5, struct.pack("<II", 6, 1)),
    "not a number": Field(0x0112, 5, bytes(8)), "undefined": Field(0x0112, 7, b"\6\0"),
    "float": Field(0x0112, 11, struct.pack("<f", 6.0)),
    "infinite": Field(0x0112, 12, struct.pack("<d", float("inf"))),
    "none": short(0x0112), "nine": short(0x0112, 9),
}  # fmt: skip


@pytest.mark.parametrize("field", EXIF_TYPES.values(), ids=EXIF_TYPES)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_of_any_type_is_a_turn_or_nothing(
    processor: Any, format: str, field: Field
) -> None:
    data = encode(PICTURE, format, exif=b"Exif\0\0" + made.directory([field]))
    record = processor.process(data)
    turn = record["image"]["orientation"]
    assert turn in (1, 6)
    picture = processor.outputs(record)["thumbnail"]
    assert close(corners(picture), UPRIGHT[turn], 12)


@pytest.mark.parametrize("tag", [0x010F, 0x0110, 0x8769, 0x8825, 0xA005])
@pytest.mark.parametrize("field", EXIF_TYPES.values(), ids=EXIF_TYPES)
def test_no_field_of_exif_fails_a_picture(processor: Any, tag: int, field: Field) -> None:
    exif = b"Exif\0\0" + made.directory([field._replace(tag=tag)])
    shows(processor, encode(PICTURE, exif=exif), [R, G, B, W])


@pytest.mark.parametrize("part", [b"EXIF", b"XMP ", b"ICCP"])
def test_no_optional_chunk_fails_a_webp(processor: Any, part: bytes) -> None:
    data = encode(
        PICTURE, "WEBP", exif=b"Exif\0\0" + bytes(40), xmp=bytes(40), icc_profile=bytes(40)
    )
    at = data.index(part) + 8
    shows(processor, data[:at] + b"junk" * 10 + data[at + 40 :], [R, G, B, W])


TAGS = (270, 282, 283, 296, 305, 306, 700, 0x0112, 0x8769, 0x8825, 33723, 34377, 34675, 338)


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("field", EXIF_TYPES.values(), ids=EXIF_TYPES)
def test_no_optional_field_fails_a_tiff(processor: Any, tag: int, field: Field) -> None:
    if tag == 338 and field.count:
        return  # says what a sample is: not optional
    rows = PICTURE.tobytes()
    data = made.tiff(160, 120, rows, 2, field._replace(tag=tag), bits=(8, 8, 8))
    record = processor.process(data)
    assert record["status"] == "done", record
    picture = processor.outputs(record)["thumbnail"]
    assert close(corners(picture), UPRIGHT[record["image"]["orientation"]], 12)


def test_no_metadata_fails_an_avif_or_a_heic(processor: Any) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera, and enough of a name"
    data = encode(PICTURE, "AVIF", speed=10, exif=exif.tobytes())
    at = data.index(b"MM\0*")
    shows(processor, data[:at] + b"junkjunkjunk" + data[at + 12 :], [R, G, B, W], 20)
    broken = heic(
        Item(b"hvc1", CODED), Item(b"Exif", b"\0\0\0\0junk"), references=[(b"cdsc", 2, [1])]
    )
    shows(processor, broken, [RED, RED, BLUE, BLUE])


def xmp(turn: int) -> bytes:
    return b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="%d"/>' % turn


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_xmp_turns_nothing(processor: Any, format: str) -> None:
    options: dict[str, Any] = {"xmp": xmp(6)}
    if format == "AVIF":
        options["speed"] = 10
    if format == "PNG":
        data = made.with_chunk(
            encode(PICTURE, "PNG"), made.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6))
        )
    elif format == "TIFF":
        data = made.tiff(160, 120, PICTURE.tobytes(), 2, Field(700, 1, xmp(6)), bits=(8, 8, 8))
    else:
        data = encode(PICTURE, format, **options)
    assert xmp(6) in data
    assert shows(processor, data, [R, G, B, W], 20)["orientation"] == 1


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        (b"Acme\0", b"Pocket 3\0", "Acme Pocket 3"),
        ("Müller\0".encode(), b"M 1\0junk", "Müller M 1"),
        (b"nan\0", b"M 1\0", "M 1"),
        (b"Acme\0\0\0", b"\xff\xfe\x01\0", "Acme"),
        (b"  \0", b"\0", None),
    ],
)
def test_a_camera_is_a_name(processor: Any, make: bytes, model: bytes, camera: str | None) -> None:
    exif = b"Exif\0\0" + made.directory([Field(0x010F, 2, make), Field(0x0110, 2, model)])
    assert shows(processor, encode(PICTURE, exif=exif), [R, G, B, W]).get("camera") == camera


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 7.0])
def test_a_number_is_no_camera(processor: Any, number: float) -> None:
    exif = b"Exif\0\0" + made.directory([Field(0x010F, 12, struct.pack("<d", number))])
    assert "camera" not in shows(processor, encode(PICTURE, exif=exif), [R, G, B, W])


@pytest.mark.parametrize(
    "taken", ["2026:13:01 00:00:00", "0000:00:00 00:00:00", "2026:01:01 25:00:00"]
)
def test_a_time_that_is_none_is_not_told(processor: Any, taken: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = taken
    assert "takenAt" not in shows(processor, encode(PICTURE, exif=exif), [R, G, B, W])


# --- Frames


def test_an_animation_without_frames_has_one(processor: Any) -> None:
    data = made.with_chunk(encode(PICTURE, "PNG"), made.chunk(b"acTL", struct.pack(">II", 3, 0)))
    assert shows(processor, data, [R, G, B, W])["frames"] == 1


def test_what_follows_the_first_frame_does_not_fail_it(processor: Any) -> None:
    gif = encode(PICTURE, "GIF").removesuffix(b";") + b"\x2c" + bytes(8) + b"\0\2\x09junk"
    assert shows(processor, gif, [R, G, B, W])["frames"] == 1
    one = made.tiff(160, 120, PICTURE.tobytes(), 2, bits=(8, 8, 8))
    (at,) = struct.unpack_from("<I", one, 4)
    link = at + 2 + 12 * struct.unpack_from("<H", one, at)[0]
    data = one[:link] + struct.pack("<I", len(one) + 9999) + one[link + 4 :]
    assert shows(processor, data, [R, G, B, W])["frames"] == 1


# --- Completeness


@pytest.mark.parametrize(
    "options", [{}, {"restart_marker_rows": 1}, {"subsampling": 0}, {"optimize": True}]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(400, 300), (401, 299), (16, 16), (2000, 1500)])
def test_a_jpeg_whose_scan_ends_early_is_truncated_and_only_such_a_one(
    processor: Any, options: dict[str, Any], mode: str, size: tuple[int, int]
) -> None:
    data = encode(Image.effect_noise(size, 90).convert(mode), **options)
    assert data.endswith(b"\xff\xd9")
    scan = data.index(b"\xff\xda")
    for whole in (data, data[:-2], data + b"\r\n and more", data + data):
        assert processor.process(whole)["status"] == "done"
        processor.cloud.results.clear()
    if len(data) - scan < 1000:
        return
    for kept in (0.1, 0.5, 0.9):
        cut = data[: scan + int((len(data) - scan) * kept)]
        for ending in (b"", b"\xff\xd9", bytes(3) + b"\xff\xd9", b"\xff\xe0\0\2\xff\xd9"):
            assert refusal(processor, cut + ending) == "truncated_image"
            processor.cloud.results.clear()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_that_is_grey_at_its_end_is_done(processor: Any, mode: str) -> None:
    grey = Image.new("RGB", (300, 200), (128, 128, 128)).convert(mode)
    assert processor.process(encode(grey))["status"] == "done"


@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_progressive_jpeg_without_its_last_scans_is_truncated(
    processor: Any, subsampling: int
) -> None:
    """With an end marker behind what is there, which its decoder takes for the end."""
    noise = Image.effect_noise((300, 200), 60).convert("RGB")
    data = encode(noise, progressive=True, subsampling=subsampling)
    assert processor.process(data, name="whole")["status"] == "done"
    grey = encode(noise.convert("L"), progressive=True)
    assert processor.process(grey, name="grey")["status"] == "done"
    assert processor.process(data + b"\xff\xd8\xff", name="more")["status"] == "done"
    scans = [found.start() for found in re.finditer(rb"\xff\xda", data)]
    for at in (scans[1], (scans[1] + scans[2]) // 2, scans[-1], len(data) // 3):
        processor.cloud.results.clear()
        assert refusal(processor, data[:at] + b"\xff\xd9") == "truncated_image"


def test_a_gif_whose_picture_ends_early_is_truncated(processor: Any) -> None:
    data = encode(Image.effect_noise((200, 150), 60).convert("P"), "GIF")
    for kept in (0.5, 0.9):
        cut = data[: int(len(data) * kept)]
        for ending in (b"", b"\0;", b";"):
            processor.cloud.results.clear()
            assert refusal(processor, cut + ending) == "truncated_image"
    assert processor.process(data[:-1], name="no trailer")["status"] == "done"


def test_a_grid_without_its_last_tiles_is_truncated(processor: Any) -> None:
    tile = Item(b"hvc1", CODED)
    size = made.box(b"ispe", bytes(4), struct.pack(">II", 192, 64))
    grid = Item(b"grid", struct.pack(">BBBBHH", 0, 0, 0, 1, 192, 64), (size,))
    whole = heic(grid, tile, tile, references=[(b"dimg", 1, [2, 3])], hidden=[2, 3])
    shows(processor, whole, [RED, RED, BLUE, BLUE])
    processor.cloud.results.clear()
    for cut in (1, len(CODED) // 2, len(CODED) + 1):
        assert refusal(processor, whole[:-cut], name=str(cut)) == "truncated_image"
        processor.cloud.results.clear()
    # As a writer leaves it that closes the box it was in.
    at = whole.index(b"mdat") - 4
    data = whole[:-100]
    closed = data[:at] + struct.pack(">I", len(data) - at) + data[at + 4 :]
    assert refusal(processor, closed) == "truncated_image"


def test_what_is_missing_of_a_thumbnail_is_not_the_pictures(processor: Any) -> None:
    tile = Item(b"hvc1", CODED)
    data = heic(tile, tile, references=[(b"thmb", 2, [1])])
    shows(processor, data[:-100], [RED, RED, BLUE, BLUE])


def test_an_avif_without_its_end_is_truncated(processor: Any) -> None:
    data = encode(Image.effect_noise((300, 300), 90).convert("RGB"), "AVIF", speed=10)
    at = data.index(b"mdat") - 4
    cut = data[: len(data) // 2]
    assert refusal(processor, cut) == "truncated_image"
    processor.cloud.results.clear()
    closed = cut[:at] + struct.pack(">I", len(cut) - at) + cut[at + 4 :]
    assert refusal(processor, closed) == "truncated_image"


def strips(rows: int, kept: int | None = None) -> bytes:
    """A TIFF of so many rows in each strip, whose last strips may be missing."""
    data = PICTURE.tobytes()
    starts = [8 + at for at in range(0, len(data), rows * 480)][:kept]
    counts = [min(rows * 480, len(data) + 8 - start) for start in starts]
    fields = [long(273, *starts), long(279, *counts), short(278, rows)]
    return made.tiff(160, 120, data, 2, *fields, bits=(8, 8, 8))


def test_a_wrong_count_of_bytes_is_no_matter_where_it_can_be_worked_out(processor: Any) -> None:
    rows = PICTURE.tobytes()
    data = made.tiff(160, 120, rows, 2, long(279, 1 << 30), bits=(8, 8, 8))
    shows(processor, data, [R, G, B, W])


def test_a_tiff_without_its_last_strips_is_truncated(processor: Any) -> None:
    shows(processor, strips(50), [R, G, B, W])
    processor.cloud.results.clear()
    assert refusal(processor, strips(50, 2)) == "truncated_image"
    processor.cloud.results.clear()
    beyond = strips(50).replace(struct.pack("<I", 8 + 24_000), b"\xff\xff\xff\0")
    assert refusal(processor, beyond) == "truncated_image"
    processor.cloud.results.clear()
    plane = [short(284, 2), long(273, 8), long(279, 160 * 120)]  # of three
    one = made.tiff(160, 120, bytes(160 * 120), 2, *plane, bits=(8, 8, 8))
    assert refusal(processor, one) == "truncated_image"


# --- Turns and crops


@pytest.mark.parametrize("steps", [(), (irot(1),), (irot(2),), (irot(3),), (imir(0),), (imir(1),),
                                   (irot(1), imir(0)), (irot(3), imir(1))])  # fmt: skip
def test_a_heic_is_cut_and_then_turned_as_its_container_says(
    processor: Any, steps: tuple[bytes, ...]
) -> None:
    transposes = {
        irot(1): Image.Transpose.ROTATE_90, irot(2): Image.Transpose.ROTATE_180,
        irot(3): Image.Transpose.ROTATE_270, imir(0): Image.Transpose.FLIP_LEFT_RIGHT,
        imir(1): Image.Transpose.FLIP_TOP_BOTTOM,
    }  # fmt: skip
    whole = processor.process(heic(Item(b"hvc1", CODED)), name="whole")
    picture = processor.outputs(whole)["thumbnail"].convert("RGB")
    for number, (wide, high, right, down) in enumerate(
        [(4, 8, 0, 0), (90, 40, -3, 7), (96, 64, 0, 0)]
    ):
        left, top = (96 - wide + right) // 2, (64 - high + down) // 2
        wanted = picture.crop((left, top, left + wide, top + high))
        for step in steps:
            wanted = wanted.transpose(transposes[step])
        data = heic(Item(b"hvc1", CODED, (clap(wide, high, right, down), *steps)))
        record = processor.process(data, name=f"cut {number}")
        found = processor.outputs(record)["thumbnail"]
        assert found.size == wanted.size == (record["image"]["width"], record["image"]["height"])
        assert close(corners(found), corners(wanted), 16)


def test_an_avif_is_turned_by_its_container_and_not_by_its_exif(processor: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(PICTURE, "AVIF", speed=10, exif=exif.tobytes())
    assert shows(processor, data, UPRIGHT[6], 20)["orientation"] == 6
    at = data.index(b"irot")
    turned = data[: at + 4] + b"\0" + data[at + 5 :]
    assert shows(processor, turned, [R, G, B, W], 20)["orientation"] == 1


# --- TIFF: right, or refused


def grey(levels: list[int], size: tuple[int, int] = (160, 120)) -> list[int]:
    """Quarters of four levels."""
    width, height = size
    return [levels[2 * (y >= height // 2) + (x >= width // 2)]
            for y in range(height) for x in range(width)]  # fmt: skip


LEVELS = [0, 20_000, 45_000, 65_535]
GREYS = [(level >> 8,) * 3 for level in LEVELS]
DARKS = [(255 - (level >> 8),) * 3 for level in LEVELS]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("photometric", "wanted"), [(1, GREYS), (0, DARKS)])
def test_16_bits_of_grey_are_shown_whichever_end_is_white(
    processor: Any, order: str, photometric: int, wanted: Any
) -> None:
    values = grey(LEVELS)
    data = made.tiff(160, 120, struct.pack(f"{order}{len(values)}H", *values), photometric,
                     bits=(16,), order=order)  # fmt: skip
    shows(processor, data, wanted, 3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [(8, 8, 8), (16, 16, 16)])
@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("is_packed", [False, True])
def test_planes_are_shown_right_or_refused(
    processor: Any, order: str, bits: tuple[int, ...], planes: int, is_packed: bool
) -> None:
    pixels = list(PICTURE.get_flattened_data())
    values = (
        list(itertools.chain(*pixels)) if planes == 1
        else [pixel[band] for band in range(3) for pixel in pixels]
    )  # fmt: skip
    if bits[0] == 16:
        values = [value * 257 for value in values]
    rows = struct.pack(f"{order}{len(values)}{'BH'[bits[0] == 16]}", *values)
    part = len(rows) // planes if planes == 1 else len(rows) // 3
    parts = [rows[at : at + part] for at in range(0, len(rows), part)]
    if is_packed:
        parts = [zlib.compress(one) for one in parts]
    starts = list(itertools.accumulate((len(one) for one in parts[:-1]), initial=8))
    fields = [
        short(284, planes, order=order),
        short(259, 8 if is_packed else 1, order=order),
        long(273, *starts, order=order),
        long(279, *(len(one) for one in parts), order=order),
    ]
    rows = b"".join(parts)
    data = made.tiff(160, 120, rows, 2, *fields, bits=bits, order=order)
    if planes == 2 and bits[0] == 16 and not is_packed:
        assert refusal(processor, data) == "unsupported_image"
    else:
        shows(processor, data, [R, G, B, W], 3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_floats_of_grey_are_shown_in_either_order(
    processor: Any, order: str, is_packed: bool
) -> None:
    values = grey([0, 80, 160, 255])
    rows = struct.pack(f"{order}{len(values)}f", *values)
    fields = [short(339, 3, order=order)]
    if is_packed:
        rows = zlib.compress(rows)
        fields.append(short(259, 8, order=order))
    data = made.tiff(160, 120, rows, 1, *fields, bits=(32,), order=order)
    shows(processor, data, [(level,) * 3 for level in (0, 80, 160, 255)], 3)


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_a_palette_is_read_whatever_its_bits(processor: Any, factor: int) -> None:
    colours = [R, G, B, W]
    every = [*colours, *[(255, 255, 255)] * 252]
    palette = [every[n][band] * factor for band in range(3) for n in range(256)]
    rows = bytes(grey([0, 1, 2, 3]))
    shows(processor, made.tiff(160, 120, rows, 3, short(320, *palette)), colours, 3)


UNSUPPORTED = {
    "floats": made.tiff(4, 4, bytes(4 * 4 * 12), 2, short(339, 3, 3, 3), bits=(32, 32, 32)),
    "floats whose white is zero": made.tiff(4, 4, bytes(64), 0, short(339, 3), bits=(32,)),
    "Lab of 16 bits": made.tiff(4, 4, bytes(4 * 4 * 6), 8, bits=(16, 16, 16)),
    "big-endian BigTIFF": b"MM\0+\0\x08\0\0" + struct.pack(">Q", 16) + bytes(200),
    "JPEG 2000 within": made.tiff(4, 4, bytes(48), 2, short(259, 34712), bits=(8, 8, 8)),
    "signed numbers": made.tiff(4, 4, bytes(32), 1, short(339, 2), bits=(16,)),
    "WebP within": made.tiff(4, 4, bytes(48), 2, short(259, 50001), bits=(8, 8, 8)),
    "raw sensor data": made.tiff(4, 4, bytes(32), 32803, bits=(16,)),
    "complex numbers": made.tiff(4, 4, bytes(128), 1, short(339, 6), bits=(64,)),
}


@pytest.mark.parametrize("data", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_a_valid_tiff_that_is_not_drawn_is_unsupported(processor: Any, data: bytes) -> None:
    assert refusal(processor, data) == "unsupported_image"


def test_a_tiff_that_is_not_valid_is_corrupt(processor: Any) -> None:
    for name, data in {
        "bits": made.tiff(4, 4, bytes(48), 2, bits=(77, 77, 77)),
        "compression": made.tiff(4, 4, bytes(48), 2, short(259, 999), bits=(8, 8, 8)),
    }.items():
        assert refusal(processor, data, name=name) == "corrupt_image"
        processor.cloud.results.clear()


@pytest.mark.parametrize(
    ("marker", "bits", "components"), [(0xC5, 8, 3), (0xC1, 12, 3), (0xC0, 8, 2)]
)
def test_a_jpeg_of_another_process_is_unsupported(
    processor: Any, marker: int, bits: int, components: int
) -> None:
    frame = struct.pack(">BHHB", bits, 8, 8, components) + bytes((1, 0x11, 0) * components)
    data = b"\xff\xd8\xff" + bytes([marker]) + struct.pack(">H", 2 + len(frame)) + frame
    assert refusal(processor, data + bytes(200)) == "unsupported_image"


def test_a_bmp_that_holds_another_format_is_unsupported(processor: Any) -> None:
    head = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 99, 0, 54, 40, 4, 4, 1, 24, 4, 45, 0, 0, 0, 0)
    assert refusal(processor, head + bytes(45)) == "unsupported_image"


@pytest.mark.parametrize("codec", [b"vvc1", b"unci", b"j2k1"])
def test_a_heif_of_another_codec_is_unsupported(processor: Any, codec: bytes) -> None:
    size = made.box(b"ispe", bytes(4), struct.pack(">II", 96, 64))
    data = heic(Item(codec, bytes(99), (size,)), brands=(b"mif1",))
    assert refusal(processor, data) == "unsupported_image"


# --- Transparency


@pytest.mark.parametrize(
    ("depth", "levels", "clear"),
    [
        (2, [0, 1, 2, 3], 2),
        (4, [0, 5, 10, 15], 15),
        (8, [0, 90, 180, 255], 90),
        (16, LEVELS, 45_000),
    ],
)
def test_one_grey_is_transparent(processor: Any, depth: int, levels: list[int], clear: int) -> None:
    values, rows = grey(levels), b""
    for y in range(120):
        line = values[160 * y : 160 * (y + 1)]
        number = sum(value << depth * (159 - x) for x, value in enumerate(line))
        rows += b"\0" + number.to_bytes(160 * depth // 8, "big")
    data = made.png(160, 120, depth, 0, rows, made.chunk(b"tRNS", struct.pack(">H", clear)))
    top = (1 << depth) - 1
    wanted = [(255,) * 3 if level == clear else (level * 255 // top,) * 3 for level in levels]
    shows(processor, data, wanted, 4)


@pytest.mark.parametrize("depth", [8, 16])
def test_one_colour_is_transparent(processor: Any, depth: int) -> None:
    factor = 257 if depth == 16 else 1
    pack = ">3" + "BH"[depth == 16]
    pixels = [
        struct.pack(pack, *(value * factor for value in one))
        for one in PICTURE.get_flattened_data()
    ]
    rows = b"".join(b"\0" + b"".join(pixels[160 * y : 160 * (y + 1)]) for y in range(120))
    clear = struct.pack(">3H", *(value * factor for value in B))
    data = made.png(160, 120, depth, 2, rows, made.chunk(b"tRNS", clear))
    shows(processor, data, [R, G, (255, 255, 255), W], 4)
