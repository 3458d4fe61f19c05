"""Documents, text, anything else; gzip; what is read of a file, and what its header tells."""

from __future__ import annotations

import contextlib
import gzip
import io
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pypdfium2
import pytest
from function_fakes import PROCESSOR_ENV
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_processor_images import B, G, R, W, close, corners, encode, quarters, refusal

from processor import admission, kinds
from processor.errors import Fault
from processor.formats import FORMATS, header
from processor.kinds import Job, kind_of, module_of, sniff
from processor.kinds import image as images
from processor.memory import Gate
from processor.settings import Config

PDF = {"contentType": "application/pdf"}
DECODERS = {one.decoder: one for one in FORMATS}


def pdf(pages: int = 2, size: tuple[int, int] = (400, 600)) -> bytes:
    """Its first page is painted in quarters."""
    document = pypdfium2.PdfDocument.new()
    image = pypdfium2.PdfImage.new(document)
    image.load_jpeg(io.BytesIO(encode(quarters(*size))))
    image.set_matrix(pypdfium2.PdfMatrix().scale(*size))
    page = document.new_page(*size)
    page.insert_obj(image)
    page.gen_content()
    for _ in range(pages - 1):
        document.new_page(*size)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def gets(processor: Any) -> list[str]:
    return [request for request in processor.cloud.requests if request.startswith("GET")]


def test_a_pdf_shows_its_first_page_and_counts_them(processor: Any) -> None:
    record = processor.process(pdf(), **PDF)
    assert record["document"] == {"pages": 2, "encrypted": False, "words": 0, "scanned": True}
    picture = processor.outputs(record)["thumbnail"]
    assert picture.size == (200, 300)
    assert close(corners(picture), [R, G, B, W], 12)
    assert record["detected"] == {"contentType": "application/pdf", "matchesDeclared": True}


@pytest.mark.parametrize(("mib", "reason"), [(240, "image_too_large_for_memory"), (300, None)])
def test_a_pdf_whose_image_never_fits_the_memory_is_refused(
    processor: Any, mib: int, reason: str | None
) -> None:
    processor.configure(MEMORY_BYTES=str(mib << 20))
    data = pdf(1, (4000, 3600))  # 24 MiB and 7 bytes for each pixel are 120; 112 and 172 are there
    record = processor.process(data, **PDF)
    assert record.get("reason") == reason


def test_a_pdf_without_pages_or_sense_is_named(processor: Any) -> None:
    assert refusal(processor, b"%PDF-1.7 and nothing", **PDF) == "corrupt_document"


def test_a_pdf_that_needs_a_password_is_what_it_is(processor: Any) -> None:
    record = processor.process(LOCKED_PDF, **PDF)
    assert (record["document"], record["outputs"]) == ({"encrypted": True}, [])


# One page that opens with a password only: 40-bit RC4, whose keys match no password at all.
LOCKED_PDF = b"""%%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>> endobj
4 0 obj <</Filter/Standard/V 1/R 2/O<%s>/U<%s>/P -4>> endobj
trailer <</Root 1 0 R/Size 5/Encrypt 4 0 R/ID[<%s><%s>]>>
""" % (b"11" * 32, b"22" * 32, b"33" * 16, b"33" * 16)


def test_an_encrypted_pdf_that_needs_no_password_is_shown(processor: Any) -> None:
    record = processor.process(ENCRYPTED_PDF, **PDF)
    assert record["document"] == {"pages": 1, "encrypted": True, "words": 0}
    picture = processor.outputs(record)["thumbnail"]
    assert close(corners(picture), [(255, 0, 0)] * 4)


# The same, but red, with the keys of an empty password (PDF 1.4, 3.5.2), and so is its content.
ENCRYPTED_PDF = (
    LOCKED_PDF.replace(b"9 9]", b"9 9]/Contents 5 0 R")
    .replace(b"11" * 32, b"c92422687facee686e373f10b5c7d04738053152f7e2ee30e11c69ec442576ab")
    .replace(b"22" * 32, b"8681caf4210377a282e58f5cc93e85da6a44c89b0e813ffffde328cd9fe668d4")
    .replace(
        b"trailer <</Root 1 0 R/Size 5",
        b"5 0 obj <</Length 25>> stream\n"
        + bytes.fromhex("036ea30380a119c494a8da05adcc5ad87ddad794da2c63f89f")
        + b"\nendstream endobj\ntrailer <</Root 1 0 R/Size 6",
    )
)


@pytest.mark.parametrize(
    ("declared", "matches"),
    [
        ("application/json", True), ("image/svg+xml", True), ("text/html", True),
        ("application/zip", False), ("application/octet-stream", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_text_goes_by_many_names(
    processor: Any, declared: str | None, matches: bool | None
) -> None:
    record = processor.process(b'{"a": 1}\n', contentType=declared)
    assert record["detected"] == {"contentType": "text/plain", "matchesDeclared": matches}


@pytest.mark.parametrize(
    ("data", "declared", "detected", "matches"),
    [
        (b"a,b\n1,2\n", "text/x-table", "text/x-table", True),
        ("grün,blau\n".encode("utf-16"), "TEXT/x-table; header=present", "text/x-table", True),
        ("grün,blau\n".encode("cp1252") * 9, "text/x-table", "text/x-table", True),
        (b"a,b\n1,2\n", "text/markdown", "text/plain", True),
        (b"a,b\n1,2\n", None, "text/plain", None),
        (b"", "text/x-table", "application/x-empty", False),
        (bytes(range(256)) * 20, "text/x-table", "application/octet-stream", False),
        (b"PK\3\4" + bytes(100), "text/x-table", "application/zip", False),
        (encode(quarters(90, 90), "PNG"), "text/x-table", "image/png", False),
    ],
)
@pytest.mark.parametrize("is_fenced", [False, True])
def test_text_is_of_the_kind_that_it_is_declared_as(
    processor: Any,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    declared: str | None,
    detected: str,
    matches: bool | None,
    is_fenced: bool,
) -> None:
    def process(job: Job) -> kinds.Outcome:
        return kinds.Outcome("text/x-table")

    table: Any = SimpleNamespace(process=process, preload=lambda content_type, config: None)
    monkeypatch.setitem(sys.modules, "processor.kinds.table", table)
    row = kinds.Kind("table", is_fenced=is_fenced, is_text=True)
    monkeypatch.setitem(kinds.KINDS, "text/x-table", row)
    record = processor.process(data, contentType=declared)
    assert record["detected"] == {"contentType": detected, "matchesDeclared": matches}


@pytest.mark.parametrize(
    ("data", "detected"),
    [
        (b"", "application/x-empty"),
        (bytes(range(256)) * 20, "application/octet-stream"),
        (b"PK\3\4" + bytes(100), "application/zip"),
        (b"\0\0\0\x18ftypmp42" + bytes(300), "video/mp4"),
    ],
)
def test_anything_else_is_what_it_is(processor: Any, data: bytes, detected: str) -> None:
    record = processor.process(data, contentType="application/octet-stream")
    assert record["detected"]["contentType"] == detected
    assert record["outputs"] == []


def test_a_declared_type_that_is_another_known_one_is_noted(processor: Any) -> None:
    record = processor.process(encode(quarters(90, 90), "PNG"), contentType="image/jpeg")
    assert record["detected"] == {"contentType": "image/png", "matchesDeclared": False}
    assert len(record["outputs"]) == 1


@pytest.mark.parametrize("declared", ["video/mp4", "application/octet-stream"])
def test_a_large_video_costs_one_small_ranged_read(processor: Any, declared: str) -> None:
    video = b"\0\0\0\x18ftypmp42" + bytes(5_000_000)
    record = processor.process(video, contentType=declared)
    assert record["detected"]["contentType"] == "video/mp4"
    assert gets(processor) == ["GET cats/tom.jpg bytes=0-262143"]


def test_an_undeclared_image_is_read_on_from_where_sniffing_stopped(processor: Any) -> None:
    data = encode(Image.effect_noise((900, 900), 90))
    record = processor.process(data, contentType="application/octet-stream")
    assert record["outputs"]
    assert gets(processor) == [f"GET cats/tom.jpg bytes=0-{len(data) - 1}"]


@pytest.mark.parametrize(
    ("data", "declared"),
    [
        (encode(quarters(900, 900)), "image/jpeg"),
        (encode(Image.effect_noise((900, 900), 90)), "application/octet-stream"),
        (b"one\ntwo\n" * 100_000, "text/plain"),
    ],
)
def test_what_is_stored_as_gzip_is_read_right(processor: Any, data: bytes, declared: str) -> None:
    plain = processor.process(data, name="plain", contentType=declared)
    zipped = processor.process(
        gzip.compress(data), name="zipped", contentType=declared, contentEncoding="gzip"
    )
    for part in ("image", "text", "detected"):
        assert plain.get(part) == zipped.get(part)
    assert [o["crc32c"] for o in plain["outputs"]] == [o["crc32c"] for o in zipped["outputs"]]


@pytest.mark.parametrize(
    "data",
    [b"not gzip at all", gzip.compress(b"x" * 999)[:-9], gzip.compress(b"x")[:12] + b"zz"],
    ids=["plain", "cut short", "damaged"],
)
def test_broken_gzip_is_named(processor: Any, data: bytes) -> None:
    fields = {"contentType": "text/plain", "contentEncoding": "gzip"}
    assert refusal(processor, data, **fields) == "corrupt_encoding"


def test_a_gzip_bomb_is_refused_by_what_comes_out(processor: Any) -> None:
    processor.configure(MAX_FILE_BYTES="10000000")
    bomb = gzip.compress(b"a\n" * 20_000_000)
    fields = {"contentType": "text/plain", "contentEncoding": "gzip"}
    assert refusal(processor, bomb, **fields) == "file_too_large"


def test_a_broken_connection_is_taken_up_where_it_broke(processor: Any) -> None:
    data = encode(Image.effect_noise((1600, 1600), 90))
    uploaded = processor.cloud.put(data)
    processor.cloud.cut_after = 100_000
    assert processor.post(uploaded)[1]["outputs"]
    assert gets(processor) == [
        f"GET cats/tom.jpg bytes=0-{len(data) - 1}",
        f"GET cats/tom.jpg bytes=100000-{len(data) - 1}",
    ]


# --- memory


def test_no_more_than_the_capacity_is_handed_out() -> None:
    gate = Gate(100)
    with gate.room(60) as one, gate.room(60) as two:
        assert one.take(0)
        assert not two.take(0)
        one.need(40)
        assert two.take(0)


def test_room_is_given_in_the_order_of_asking() -> None:
    gate = Gate(100)
    got: list[str] = []
    with gate.room(100) as all_of_it:
        assert all_of_it.take(0)

        def ask(name: str, size: int | None) -> None:
            with gate.room(size) as room:
                room.wait(10)
                got.append(name)

        threads = []
        for number, (name, size) in enumerate((("large", None), ("small", 1)), 1):
            threads.append(threading.Thread(target=ask, args=(name, size)))
            threads[-1].start()
            while gate.waiting < number:
                threads[-1].join(0.001)
    for thread in threads:
        thread.join()
    assert got == ["large", "small"]


def test_no_room_is_503_and_spends_no_attempt(processor: Any) -> None:
    processor.configure(WORK_SECONDS="1")
    uploaded = processor.cloud.put(encode(quarters(900, 900)), contentType="image/jpeg")
    with processor.worker.gate.room(None) as all_of_it:
        assert all_of_it.take(0)
        status, answer = processor.post(uploaded)
        assert (status, answer["reason"]) == (503, "no_room")
        assert not processor.cloud.results
    processor.configure()
    assert processor.post(uploaded)[1]["attempt"] == 1


def test_room_is_given_back_whatever_happens(processor: Any) -> None:
    free = processor.worker.gate.room(None)
    for data in (encode(quarters(600, 600)), encode(quarters(600, 600), "PNG")[:500], b"text"):
        processor.process(data)
        assert free.take(0)
        free.__exit__(None, None, None)


@pytest.mark.parametrize("side", [902, 903, 905, 1806, 3611, 3612])
def test_a_jpeg_is_decoded_as_small_as_its_room_is_counted(
    processor: Any, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    processor.configure(RENDITIONS='{"a": {"width": 301, "height": 301}}')
    drafts, widths = [], []
    count, draw = admission.memory, images.render
    monkeypatch.setattr(admission, "memory", lambda *a: drafts.append(a[3]) or count(*a))
    monkeypatch.setattr(images, "render", lambda *a: widths.append(a[0].width) or draw(*a))
    processor.process(encode(Image.new("RGB", (side, side))))
    assert widths[0] <= -(-side // drafts[0])


# --- headers


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF"])
@pytest.mark.parametrize("size", [(1, 1), (320, 200), (2000, 17)])
def test_headers_tell_the_size_without_a_decoder(format: str, size: tuple[int, int]) -> None:
    for options in ({}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}):
        data = encode(quarters(*size), format, **options)
        found = header(data, DECODERS[format])
        assert found is not None
        assert (found.width, found.height) == size


def test_a_progressive_jpeg_keeps_all_its_scans() -> None:
    image = quarters(640, 480)
    baseline, progressive, finer = (
        header(encode(image, **options), DECODERS["JPEG"])
        for options in ({}, {"progressive": True}, {"progressive": True, "subsampling": 0})
    )
    assert baseline is not None
    assert progressive is not None
    assert finer is not None
    assert baseline.scans == 0 < progressive.scans < finer.scans


@given(st.binary(max_size=200), st.sampled_from(sorted(DECODERS)))
@settings(max_examples=500, deadline=None)
def test_no_header_is_too_odd(data: bytes, format: str) -> None:
    for start in (b"", b"\xff\xd8\xff\xc0", b"RIFF\0\0\0\0WEBPVP8 ", b"....ispe"):
        found = header(start + data, DECODERS[format])
        assert found is None or (found.width > 0 and found.height > 0)
        sniff(start + data)


CONFIG = Config.from_env(PROCESSOR_ENV)


class FakeSource:
    def __init__(self, head: bytes) -> None:
        self.head = head

    def all(self, limit: int) -> io.BytesIO:
        return io.BytesIO(self.head)


SEEDS = [
    encode(quarters(40, 30), format)
    for format in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF")
]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
)
@settings(max_examples=400, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_image_is_done_or_named(seed: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(seed)
    for at, value in changes:
        data[at % len(data)] = value
    head = bytes(data)
    sniffed = sniff(head)
    if kind_of(sniffed, CONFIG).module != "image":
        return
    with contextlib.suppress(Fault):
        with Gate(1 << 30).room(kind_of(sniffed, CONFIG).need(head, len(head), CONFIG)) as room:
            assert room.take(0)
            job = Job(FakeSource(head), len(head), sniffed, None, CONFIG, room)  # type: ignore[arg-type]
            module_of(sniffed, CONFIG).process(job)
