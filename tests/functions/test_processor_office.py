"""Office documents, in processes of their own: text, facts, previews, and what is hostile."""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from function_fakes import PROCESSOR_ENV
from office_files import OOXML, RELATION, S, docx, odt, ooxml, package, paragraph, pptx, xlsx
from PIL import Image
from test_processor_images import encode, quarters

from processor.admission import kind_need
from processor.formats import BASE_BYTES
from processor.settings import Config

LIMIT = 20_000_000


@pytest.fixture(scope="module")
def lane(of_kind: Callable[..., Any]) -> Any:
    return of_kind("office", MAX_FILE_BYTES=str(LIMIT))


@pytest.fixture
def office(lane: Any) -> Callable[..., dict[str, Any]]:
    """Processes a file, each under a name of its own; gives its record."""

    def process(data: bytes, content_type: str | None = None) -> dict[str, Any]:
        record: dict[str, Any] = lane.recorded(data, content_type, "documents")
        return record

    return process


def text(lane: Any, record: dict[str, Any]) -> str:
    (output,) = (one for one in record["outputs"] if one["name"] == "text")
    return str(lane.cloud.results[output["object"]].data.decode())


def test_a_text_document_gives_its_text_and_properties(office: Any, lane: Any) -> None:
    cell = f"<w:tbl><w:tr><w:tc>{paragraph('in a cell')}</w:tc></w:tr></w:tbl>"
    fallback = "<x:Fallback xmlns:x='urn:x'><w:t>twice</w:t></x:Fallback>"
    body = paragraph("Grüße <![CDATA[& more]]>") + cell + paragraph("end") + fallback
    notes = "<n xmlns:w='urn:w'><w:p><w:t>a note</w:t></w:p></n>"
    more = {"word/footnotes.xml": notes, "word/vbaProject.bin": b"x",
            "docProps/app.xml": "<p><Pages>0</Pages></p>"}  # fmt: skip
    record = office(docx(body, **more))
    assert record["detected"]["contentType"] == f"{OOXML}.wordprocessingml.document"
    assert text(lane, record) == "Grüße & more\nin a cell\nend\na note\n"
    assert record["document"] == {
        "encrypted": False, "title": "Plan", "author": "Ada", "macros": True, "words": 9,
    }  # fmt: skip


def test_slides_come_in_the_order_in_which_they_are_shown(office: Any, lane: Any) -> None:
    record = office(pptx("last", "first"))
    assert text(lane, record) == "first\n\flast\n"
    assert record["document"]["pages"] == 2


def test_a_presentation_may_have_no_slides(office: Any, lane: Any) -> None:
    record = office(pptx())
    assert (record["document"]["pages"], record["document"]["words"]) == (0, 0)


def test_a_workbook_gives_its_sheets_and_cells(office: Any, lane: Any) -> None:
    row = (
        '<row r="2"><c r="B2"><v>1.5</v></c><c r="C2" t="inlineStr"><is><t>x\ny</t></is></c>'
        '<c r="D2"><v>7</v></c></row>'
    )
    record = office(xlsx(row))
    assert record["document"]["sheets"] == [{"name": "Costs", "rows": 2, "columns": 4}]
    assert text(lane, record) == "\n1.5\tx y\t7\n"


def test_a_sheet_without_a_part_is_passed_over(office: Any, lane: Any) -> None:
    """As its reader has it of a chart that is a sheet of its own in older files."""
    sheets = "".join(
        f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>'
        for n, name in enumerate(("Costs", "Chart"), 1)
    )
    relations = "".join(
        f'<Relationship Id="rId{n}" Type="{RELATION}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in (1, 2)
    )
    parts: dict[str, str | bytes] = {
        "xl/workbook.xml": f'<workbook {S} xmlns:r="{RELATION}"><sheets>{sheets}</sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/'
        f'package/2006/relationships">{relations}</Relationships>',
    }
    record = office(xlsx('<row r="1"><c r="A1"><v>7</v></c></row>', **parts))
    assert [one["name"] for one in record["document"]["sheets"]] == ["Costs"]
    assert text(lane, record) == "7\n"


def test_an_open_document_gives_its_text(office: Any, lane: Any) -> None:
    spaces = '<t:s xmlns:t="urn:t" t:c="3"/>'
    meta = (
        "<m><creation-date>2026</creation-date><date>2027</date>"
        '<document-statistic page-count="3"/></m>'
    )
    record = office(odt(f"<t:h>Head</t:h><t:p>a{spaces}b</t:p>", **{"meta.xml": meta}))
    facts = record["document"]
    assert (facts["created"], facts["modified"], facts["pages"]) == ("2026", "2027", 3)
    assert record["detected"]["contentType"] == "application/vnd.oasis.opendocument.text"
    assert text(lane, record) == "Head\na   b\n"


def test_what_the_writer_left_as_a_preview_is_rendered(office: Any, lane: Any) -> None:
    preview = encode(quarters(600, 300))
    record = office(docx(paragraph("x"), **{"docProps/thumbnail.jpeg": preview}))
    (output,) = (one for one in record["outputs"] if one["name"] == "thumbnail")
    picture = Image.open(io.BytesIO(lane.cloud.results[output["object"]].data))
    assert picture.size == (output["width"], output["height"]) == (300, 150)
    broken = docx(paragraph("x"), **{"docProps/thumbnail.jpeg": preview[:900]})
    assert [one["name"] for one in office(broken)["outputs"]] == ["text"]


def bomb(declared: int | None = None) -> bytes:
    """A document whose text unpacks to 64 MB; or says that it is of so many bytes."""
    data = docx(paragraph("x" * 64_000_000))
    if declared is None:
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = archive.getinfo("word/document.xml").file_size.to_bytes(4, "little")
    return data.replace(size, declared.to_bytes(4, "little"))


def with_password(data: bytes) -> bytes:
    """Whose first part is encrypted, as its directory says."""
    at = data.index(b"PK\x01\x02") + 8
    return data[:at] + bytes([data[at] | 1]) + data[at + 1 :]


ENTITIES = (
    '<!DOCTYPE w [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + "]>"
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bomb, "file_too_large"),
        (functools.partial(bomb, 1000), "corrupt_document"),
        (package(ooxml("word/document.xml", f"{OOXML}.wordprocessingml.document.main",
                       **{"word/document.xml": f"{ENTITIES}<w>&j;</w>"})), "corrupt_document"),
        (package(ooxml("word/document.xml", f"{OOXML}.wordprocessingml.document.main",
                       **{"word/document.xml": '<!DOCTYPE w [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
                                               "<w>&a;</w>"})), "corrupt_document"),
        (docx("<w:p>"), "corrupt_document"),
        (with_password(docx(paragraph("x"))), "corrupt_document"),
        (docx(paragraph("x"))[:300], "corrupt_document"),
        (xlsx('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576">'
              '<c r="XFD1048576"><v>1</v></c></row>'), "out_of_memory"),
    ],
    ids=["bomb", "lying bomb", "entities", "a file", "open", "locked", "cut", "far corners"],
)  # fmt: skip
def test_what_is_hostile_is_named(
    office: Any, data: bytes | Callable[[], bytes], reason: str
) -> None:
    record = office(data() if callable(data) else data)
    assert (record.get("reason"), record["attempt"]) == (reason, 1)


def test_nesting_without_end_ends(office: Any) -> None:
    record = office(docx("<w:p>" * 200_000 + "</w:p>" * 200_000))
    assert record["status"] == "done" or record["reason"] == "corrupt_document"


def test_a_zip_of_anything_else_is_a_zip(office: Any) -> None:
    record = office(package({"a.txt": "x"}), "application/zip")
    assert record["detected"] == {"contentType": "application/zip", "matchesDeclared": True}
    assert "document" not in record


def test_what_needs_a_password_is_what_it_is(office: Any) -> None:
    signature, sector = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"\xfd\xff\xff\xff"
    container = signature + bytes(504) + sector + bytes(8) + "EncryptedPackage".encode("utf-16-le")
    locked = package({
        "mimetype": "application/vnd.oasis.opendocument.text",
        "META-INF/manifest.xml": "<m><encryption-data/></m>",
    })  # fmt: skip
    excel = office(container.ljust(4096, b"\0"), "application/vnd.ms-excel")
    assert excel["document"] == office(locked)["document"] == {"encrypted": True}


@pytest.mark.parametrize("rows", [60_000])
def test_a_workbook_takes_what_is_counted(of_kind: Callable[..., Any], rows: int) -> None:
    """The instance has no more than that, so that nothing can have been taken beside it."""
    line = "".join(f'<c r="{letter}%d"><v>%d.5</v></c>' for letter in "ABCD")
    data = xlsx("".join(f'<row r="{n}">{line % ((n,) * 8)}</row>' for n in range(1, rows + 1)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked = sum(part.file_size for part in archive.infolist())
    config = Config.from_env(PROCESSOR_ENV)
    need = kind_need("office", b"", len(data), config, 4 * unpacked)
    lane = of_kind("office", MEMORY_BYTES=str(need + BASE_BYTES))
    record = lane.process(data, contentType=None)
    assert record["status"] == "done", record
    assert record["document"]["sheets"] == [{"name": "Costs", "rows": rows, "columns": 4}]


def test_a_default_lane_describes_documents_as_it_did(processor: Any) -> None:
    record = processor.process(docx(paragraph("x")), contentType=None)
    assert (record["outputs"], "document" in record) == ([], False)
