"""PDFs: what a page shows beside its content, and what is counted before it is drawn."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from function_fakes import PROCESSOR_ENV
from test_processor_images import close, corners, encode, quarters, refusal
from test_processor_kinds import LOCKED_PDF, PDF

from processor.kinds import Job
from processor.kinds import page as pages
from processor.kinds import pdf as kind
from processor.kinds.words import Words
from processor.settings import Config


def pdf(page: bytes, *objects: bytes, content: bytes = b"", catalog: bytes = b"") -> bytes:
    """One page of 200 by 200; objects count from 5, the content is the fourth."""
    every = [
        b"<</Type/Catalog/Pages 2 0 R" + catalog + b">>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R" + page + b">>",
        stream(b"", content),
        *objects,
    ]
    body = b"".join(b"%d 0 obj %b endobj\n" % item for item in enumerate(every, 1))
    return b"%%PDF-1.7\n%btrailer <</Root 1 0 R/Size %d>>\n" % (body, len(every) + 1)


def stream(dictionary: bytes, data: bytes) -> bytes:
    return b"<<%b/Length %d>> stream\n%b\nendstream" % (dictionary, len(data), data)


FONT = b"/Resources<</Font<</F 5 0 R>>>>"
HELVETICA = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
GLYPHS = (
    b"<</Type/Font/Subtype/Type3/FontBBox[0 0 9 9]/FontMatrix[.1 0 0 .1 0 0]"
    b"/FirstChar 65/LastChar 65/Widths[9]/Encoding<</Differences[65/a]>>/CharProcs<</a 6 0 R>>>>"
)


def test_the_fields_of_a_form_are_drawn(processor: Any) -> None:
    field = (
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(x)/Rect[0 0 100 200]/F 4/P 3 0 R"
        b"/AP<</N 6 0 R>>>>"
    )
    form = stream(b"/Type/XObject/Subtype/Form/BBox[0 0 100 200]", b"1 0 0 rg 0 0 100 200 re f")
    data = pdf(b"/Annots[5 0 R]", field, form, catalog=b"/AcroForm<</Fields[5 0 R]>>")
    picture = processor.outputs(processor.process(data, **PDF))["thumbnail"]
    red, white = (255, 0, 0), (255, 255, 255)
    found = corners(picture)
    assert found[1] == found[3] == white
    assert all(one[0] > 200 and one != white for one in (found[0], found[2])), found
    assert close([found[0]], [found[2]])
    assert close([found[0]], [red], 60)


@pytest.mark.parametrize(
    ("font", "text", "told"),
    [
        (HELVETICA, b"BT /F 40 Tf 20 90 Td (A) Tj ET", True),
        (HELVETICA, b"BT /F 40 Tf 3 Tr 20 90 Td (A) Tj ET", None),  # invisible, as scans have it
        (HELVETICA, b"", None),
        (GLYPHS, b"BT /F 40 Tf 20 90 Td (A) Tj ET", None),
    ],
)
def test_text_in_other_fonts_than_its_own_is_told(
    processor: Any, font: bytes, text: bytes, told: bool | None
) -> None:
    data = pdf(FONT, font, stream(b"", b"9 0 d0 0 0 9 9 re f"), content=text)
    assert processor.process(data, **PDF)["document"].get("substitutedFonts") == told


# Two pages, the second of which is in the outline.
BOOK = pdf(
    FONT.replace(b">>>>", b">>>>/Dur 1"),
    HELVETICA,
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 7 0 R" + FONT + b">>",
    stream(b"", b"BT /F 20 Tf 20 90 Td (The second) Tj ET"),
    b"<</Type/Outlines/First 9 0 R/Last 9 0 R/Count 1>>",
    b"<</Title(Two)/Parent 8 0 R/Dest[6 0 R/Fit]>>",
    content=b"BT /F 20 Tf 20 90 Td (One) Tj 0 -30 Td (more line) Tj ET",
    catalog=b"/Outlines 8 0 R",
).replace(b"[3 0 R]/Count 1", b"[3 0 R 6 0 R]/Count 2")


def test_a_bitmap_has_at_most_4096_pixels_to_a_side(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int]] = []
    monkeypatch.setattr(kind, "render", lambda image, *_: drawn.append(image.size) or ())
    sides = {"RENDITIONS": '{"large": {"width": 4000, "height": 4000}}'}
    config = Config.from_env(PROCESSOR_ENV | sides)
    data = pdf(b"").replace(b"0 0 200 200", b"0 0 200 100")
    content: Any = SimpleNamespace(all=lambda limit: io.BytesIO(data), head=data)
    room: Any = SimpleNamespace(need=lambda size: None)
    kind.process(Job(content, len(data), "application/pdf", None, config, room))
    assert drawn == [(4096, 2048)]


def text_of(processor: Any, record: dict[str, Any]) -> str:
    (output,) = (one for one in record["outputs"] if one["name"] == "text")
    assert output["contentType"] == "text/plain; charset=utf-8"
    assert "width" not in output
    return str(processor.cloud.results[output["object"]].data.decode())


def test_the_text_of_every_page_is_an_output(processor: Any) -> None:
    record = processor.process(BOOK, **PDF)
    assert text_of(processor, record) == "One\nmore line\fThe second"
    assert record["document"] == {
        "pages": 2, "encrypted": False, "substitutedFonts": True, "words": 5,
        "outline": [{"title": "Two", "level": 0, "page": 2}],
    }  # fmt: skip
    assert sorted(one["name"] for one in record["outputs"]) == ["text", "thumbnail"]


def test_text_beyond_its_limits_is_cut_and_said_so(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.kinds.words.MAX_BYTES", 8)
    record = processor.process(BOOK, **PDF)
    assert (text_of(processor, record), record["document"]["words"]) == ("One\nmore", 2)
    assert record["document"]["truncated"] is True
    monkeypatch.setattr("processor.kinds.pdf._TEXT_SHARE", 1e12)
    record = processor.process(BOOK, name="late", **PDF)
    assert (record["document"]["words"], record["document"]["truncated"]) == (0, True)


@pytest.mark.parametrize(
    ("text", "kept", "is_full"), [("abcdü", "abcd", True), ("abcü", "abcü", False)]
)
def test_what_is_left_of_a_text_are_whole_characters(
    monkeypatch: pytest.MonkeyPatch, text: str, kept: str, is_full: bool
) -> None:
    monkeypatch.setattr("processor.kinds.words.MAX_BYTES", 5)
    words = Words()
    words.add(text)
    (output,) = words.outputs()
    assert (output.data.decode(), words.is_full) == (kept, is_full)


def test_a_page_with_a_picture_and_a_text_is_no_scan(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = stream(
        b"/Type/XObject/Subtype/Image/Width 8/Height 8/ColorSpace/DeviceRGB/BitsPerComponent 8"
        b"/Filter/DCTDecode",
        encode(quarters(8, 8)),
    )
    drawn, page = (
        b"q 90 0 0 90 0 0 cm /I Do Q ",
        FONT.replace(b"/Font", b"/XObject<</I 6 0 R>>/Font"),
    )
    told = []
    for text in (b"", b"BT /F 20 Tf 20 150 Td (One) Tj ET"):
        data = pdf(page, HELVETICA, image, content=drawn + text)
        record = processor.process(data, name=f"page {len(text)}", **PDF)
        told.append(record["document"].get("scanned"))
    assert told == [True, None]
    monkeypatch.setattr("processor.kinds.pdf._TEXT_SHARE", 1e12)  # nobody knows whether it is one
    record = processor.process(data, name="late", **PDF)
    assert "scanned" not in record["document"]


def test_an_outline_without_end_ends(processor: Any) -> None:
    endless = BOOK.replace(b"/Dest", b"/Next 9 0 R/Dest").replace(b"(Two)", b"(%b)" % (b"T" * 300))
    outline = processor.process(endless, **PDF)["document"]["outline"]
    assert len(outline) <= 200
    assert outline[0]["title"] == "T" * 200
    marks = [b"<</Title(T)/Parent 5 0 R/Next %d 0 R>>" % number for number in range(7, 208)]
    first = b"<</Type/Outlines/First 6 0 R/Last 206 0 R/Count 201>>"
    data = pdf(b"", first, *marks, catalog=b"/Outlines 5 0 R")
    assert len(processor.process(data, name="long", **PDF)["document"]["outline"]) == 200


def test_a_document_is_told_as_when_it_were_the_first(processor: Any) -> None:
    without_pages = b"%PDF-1.7\n1 0 obj <</Type/Catalog>> endobj\ntrailer <</Root 1 0 R>>\n"
    assert processor.process(LOCKED_PDF, **PDF)["document"] == {"encrypted": True}
    processor.cloud.results.clear()
    assert refusal(processor, without_pages, **PDF) == "corrupt_document"


IMAGE = stream(
    b"/Type/XObject/Subtype/Image/Width 3000/Height 3000/ColorSpace/DeviceRGB/BitsPerComponent 8"
    b"/Filter/DCTDecode",
    encode(quarters(3000, 3000)),
)
PATTERN = stream(
    b"/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 200 200]/XStep 200/YStep 200"
    b"/Resources<</XObject<</I 5 0 R>>>>",
    b"200 0 0 200 0 0 cm /I Do",
)
FORM = stream(
    b"/Type/XObject/Subtype/Form/BBox[0 0 200 200]/Resources<</XObject<</I 5 0 R>>>>",
    b"200 0 0 200 0 0 cm /I Do",
)
DRAWN = {
    "on the page": (b"/XObject<</I 5 0 R>>", b"200 0 0 200 0 0 cm /I Do", b"null"),
    "in a form": (b"/XObject<</F 6 0 R>>", b"/F Do", FORM),
    "in a pattern": (b"/Pattern<</P 6 0 R>>", b"/Pattern cs /P scn 0 0 200 200 re f", PATTERN),
}


@pytest.mark.parametrize(("resources", "content", "other"), DRAWN.values(), ids=DRAWN)
def test_an_image_is_counted_wherever_it_is_drawn(
    processor: Any, monkeypatch: pytest.MonkeyPatch,
    resources: bytes, content: bytes, other: bytes,
) -> None:  # fmt: skip
    needs: list[int] = []
    from processor.memory import Room

    own = Room.need
    monkeypatch.setattr(Room, "need", lambda room, size: needs.append(size) or own(room, size))
    empty = pdf(b"", IMAGE)
    processor.process(empty, **PDF)
    data = pdf(b"/Resources<<" + resources + b">>", IMAGE, other, content=content)
    record = processor.process(data, name="b", **PDF)
    found = corners(processor.outputs(record)["thumbnail"])
    assert close(found, corners(quarters(200, 200)), 20)
    most = 3000 * 3000 * 7 + (24 << 20) - (96 << 20)
    assert needs[1] - needs[0] >= most + len(data) - len(empty)


def test_an_image_that_may_be_drawn_refuses_no_file(processor: Any) -> None:
    processor.configure(MEMORY_BYTES=str(256 << 20))
    huge = IMAGE.replace(b"3000", b"9000")
    record = processor.process(pdf(b"/Annots[]", huge, b"<</AP 1>>"), **PDF)
    assert record["status"] == "done"


def test_no_more_objects_are_looked_at_than_a_limit(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_MAX_OBJECTS", 50)
    calls: list[int] = []
    own = pages.raw.FPDFTextObj_GetTextRenderMode
    monkeypatch.setattr(
        pages.raw, "FPDFTextObj_GetTextRenderMode", lambda one: calls.append(1) or own(one)
    )
    data = pdf(FONT, HELVETICA, content=b"BT /F 9 Tf 3 Tr (A) Tj ET " * 400)
    assert processor.process(data, **PDF)["status"] == "done"
    assert 0 < len(calls) <= 51


@pytest.mark.parametrize(
    ("dictionary", "size"),
    [
        (b"/Subtype/Image/Width 30/Height 20/Filter/DCTDecode", (30, 20)),
        (b"/Height 20/Filter[/FlateDecode /DCTDecode]/Width 30 /Subtype /Image", (30, 20)),
        (b"/Subtype/Image/Width 9 0 R/Height 20/Filter/JPXDecode", (1 << 14, 20)),
        (b"/Subtype/Image/Width 9999999999/Height 20/Filter/DCTDecode", (1 << 20, 20)),
    ],
)
def test_an_images_dictionary_is_read_in_any_order(
    dictionary: bytes, size: tuple[int, int]
) -> None:
    data = b"4 0 obj <</Width 7/Subtype/Form>> endobj 5 0 obj " + stream(dictionary, b"/Width 999")
    ((found, filters),) = pages._declared(memoryview(io.BytesIO(data).getbuffer()))
    assert found == size
    assert len(filters) == 1
