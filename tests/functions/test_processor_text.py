"""What is text and what is not; its encoding, how sure that is, and its lines."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_processor_images import encode

from processor.headers import HEAD_BYTES
from processor.kinds import sniff
from processor.kinds.plain import text_facts

RUSSIAN = "Привет, мир. Это простой текст.\n"
JAPANESE = "これは日本語の文章です。カタカナも含みます。\n"
GERMAN = "Grüße aus Köln, wo die Straßen schön sind.\n"


def told(processor: Any, data: bytes) -> tuple[str, str, int]:
    record = processor.process(data, contentType="text/plain; charset=x")
    assert record["detected"] == {"contentType": "text/plain", "matchesDeclared": True}
    text = record["text"]
    return text["encoding"], text["certainty"], text["lines"]


@pytest.mark.parametrize(
    ("data", "encoding", "lines"),
    [
        (b"one\ntwo\n", "ascii", 2),
        (b"one\r\ntwo", "ascii", 2),
        ("grün\n".encode() * 3, "utf-8", 3),
        ("grün\n".encode("utf-8-sig"), "utf-8-sig", 1),
        ("grün\nblau\n".encode("utf-16"), "utf-16", 2),
        ("grün\r\nblau".encode("utf-32"), "utf-32", 2),
    ],
)
def test_what_can_be_verified_is_certain(
    processor: Any, data: bytes, encoding: str, lines: int
) -> None:
    assert told(processor, data) == (encoding, "certain", lines)


@pytest.mark.parametrize(
    ("text", "encoding"), [(RUSSIAN, "cp1251"), (JAPANESE, "cp932"), (GERMAN, "cp1252")]
)
@pytest.mark.parametrize("times", [9, 20_000])
def test_what_cannot_is_said_to_be_a_guess(
    processor: Any, text: str, encoding: str, times: int
) -> None:
    assert told(processor, text.encode(encoding) * times) == (encoding, "guessed", times)


@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8-sig", "utf-16", "cp1251"])
@pytest.mark.parametrize("last", ["", "and more"])
def test_lines_end_in_three_ways(processor: Any, ending: str, encoding: str, last: str) -> None:
    line = ("text" if encoding == "ascii" else RUSSIAN[:-1]) + ending
    data = (line * 60_000 + last).encode(encoding)
    assert len(data) > HEAD_BYTES
    assert told(processor, data)[2] == 60_000 + bool(last)


@pytest.mark.parametrize("at", [HEAD_BYTES - 1, HEAD_BYTES])
def test_a_line_end_cut_by_the_reading_is_one(processor: Any, at: int) -> None:
    assert told(processor, b"x" * at + b"\r\n" + b"y" * 9) == ("ascii", "certain", 2)


@given(st.text(st.sampled_from("a\r\né"), max_size=30), st.integers(0, 40))
@settings(max_examples=300, deadline=None)
def test_lines_are_what_python_counts_wherever_the_reading_is_cut(text: str, cut: int) -> None:
    data = text.encode()
    facts = text_facts(iter([data[:cut] or data, data[cut:] if data[:cut] else b""]))
    assert facts is not None
    assert facts["lines"] == len(io.StringIO(text, newline=None).readlines())


def test_the_whole_file_decides_and_not_its_beginning(processor: Any) -> None:
    ascii_only = b"one line of many\n" * 20_000
    assert told(processor, ascii_only + "é\n".encode()) == ("utf-8", "certain", 20_001)
    german = told(processor, ascii_only + GERMAN.encode("cp1252") * 40)
    assert german == ("cp1252", "guessed", 20_040)
    record = processor.process(ascii_only + bytes(range(256)) * 2000, contentType="text/plain")
    assert record["detected"]["contentType"] == "application/octet-stream"


def test_a_character_cut_by_the_reading_is_still_utf8(processor: Any) -> None:
    data = ("x" + "ü" * 400_000 + "\n").encode()
    assert told(processor, data) == ("utf-8", "certain", 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_cut_within_its_last_character_is_not_certain(processor: Any, encoding: str) -> None:
    assert told(processor, ("wahr\n" * 9 + "ü").encode(encoding)[:-1])[:2] == (encoding, "guessed")


def test_what_no_guess_can_read_to_its_end_is_unknown(processor: Any) -> None:
    data = JAPANESE.encode("cp932") * 8000 + b"\x81\x00\xff\n\xfd\xfe\x80\n" * 3
    encoding, certainty, lines = told(processor, data)
    assert (certainty, lines) == ("guessed", 8006)
    assert encoding != "cp932"


# What the first letters of a text may be taken for.
@pytest.mark.parametrize(
    "start", ["BM", "GIF", "GIF89a", "MZ", "ID3", "II*", "BZh", "RIFF", "8BPS", "OggS", "Rar!",
              "FWS", "CWS", "FLV", "fLaC", "!<arch>", "LZIP", "PK", "MThd", "#!AMR", "wOFF"],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_text_that_begins_like_something_else_is_a_text(
    processor: Any, start: str, encoding: str
) -> None:
    rest = "name;size\r\nKöln;7\r\n" if encoding == "cp1252" else ",name,size\n1,2,3\n"
    record = processor.process((start + rest).encode(encoding), contentType="text/markdown")
    assert record["detected"] == {"contentType": "text/plain", "matchesDeclared": True}
    assert record["text"]["lines"] == 2


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
def test_the_smallest_picture_is_not_taken_for_a_text(format: str) -> None:
    data = encode(Image.new("RGB", (1, 1), (65, 66, 67)), format)
    assert (sniff(data) or "").startswith("image/")


def ftyp(*brands: bytes) -> bytes:
    body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands)
    return (4 + len(body)).to_bytes(4, "big") + body + bytes(99)


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (ftyp(b"mif1", b"heix"), "image/heic"),
        (ftyp(b"mif2", b"mif1", b"heic"), "image/heic"),
        (ftyp(b"mif1", b"avif", b"miaf"), "image/avif"),
        (ftyp(b"msf1", b"avis"), "image/avif"),
        (ftyp(b"hevc", b"msf1"), "image/heic"),
        (ftyp(b"hevx"), "image/heic"),
        (ftyp(b"heim"), "image/heic"),
        (ftyp(b"avif"), "image/avif"),
        (ftyp(b"mif1"), "image/heic"),
        (ftyp(b"isom", b"mp42"), "video/mp4"),
        (ftyp(b"isom", b"heic"), "video/mp4"),
        (b"\xff\xff\xff\xffftypmif1" + bytes(4) + b"avif" + bytes(9), "image/avif"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"\n \xef\xbb\xbf%PDF-1.4\n1 0 obj\n", "application/pdf"),
        (b"HTTP/1.1 200 OK\r\n\r\n%PDF-1.4\n%\xe2\xe3\r\n1 0 obj <<>>", "application/pdf"),
        (b"x" * 1015 + b"\n%PDF-1.4\n1 0 obj\n", "application/pdf"),
        (b"x" * 1025 + b"\n%PDF-1.4\n1 0 obj\n", None),
        (b"A page about %PDF-1.4 and what follows it\n", None),
        (b"BM" + bytes(12) + b"\x99\0\0\0" + bytes(99), None),
    ],
)
def test_every_kind_is_found_by_what_it_begins_with(head: bytes, content_type: str | None) -> None:
    assert sniff(head) == content_type
