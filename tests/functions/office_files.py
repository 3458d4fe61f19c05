"""Small office files, made of the parts that matter."""

from __future__ import annotations

import io
import zipfile

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
P = (
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
)
S = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
OOXML = "application/vnd.openxmlformats-officedocument"
CORE = (
    '<c:coreProperties xmlns:c="urn:c" xmlns:dc="urn:dc"><dc:title>Plan</dc:title>'
    "<dc:creator>Ada</dc:creator></c:coreProperties>"
)


def package(parts: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return file.getvalue()


def ooxml(main: str, content_type: str, **parts: str | bytes) -> dict[str, str | bytes]:
    types = (
        '<Types xmlns="urn:t"><Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/{main}" ContentType="{content_type}+xml"/></Types>'
    )
    root = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{RELATION}/officeDocument" Target="{main}"/>'
        "</Relationships>"
    )
    known = {"[Content_Types].xml": types, "_rels/.rels": root, "docProps/core.xml": CORE}
    return {**known, **parts}


def docx(body: str, **parts: str | bytes) -> bytes:
    """body: what stands in w:body."""
    document = f"<w:document {W}><w:body>{body}</w:body></w:document>"
    main = f"{OOXML}.wordprocessingml.document.main"
    return package(ooxml("word/document.xml", main, **{"word/document.xml": document}, **parts))


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def pptx(*slides: str) -> bytes:
    """Shown in the reverse of the order of their parts."""
    numbers = range(len(slides), 0, -1)
    shown = "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in numbers)
    relations = "".join(f'<R:Relationship Id="rId{n}" Target="slides/slide{n}.xml"/>'
                        for n in numbers)  # fmt: skip
    parts: dict[str, str | bytes] = {
        "ppt/presentation.xml": f"<p:p {P}><p:sldIdLst>{shown}</p:sldIdLst></p:p>",
        "ppt/_rels/presentation.xml.rels": f'<R:Rs xmlns:R="urn:r">{relations}</R:Rs>',
    }
    for number, text in enumerate(slides, 1):
        parts[f"ppt/slides/slide{number}.xml"] = (
            f"<p:sld {P}><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:sld>"
        )
    main = f"{OOXML}.presentationml.presentation.main"
    return package(ooxml("ppt/presentation.xml", main, **parts))


def xlsx(rows: str, **parts: str | bytes) -> bytes:
    """rows: what stands in sheetData of a sheet called Costs."""
    relation = f'Type="{RELATION}/worksheet"'
    made: dict[str, str | bytes] = {
        "xl/workbook.xml": f'<workbook {S} xmlns:r="http://schemas.openxmlformats.org/officeDocument'
        '/2006/relationships"><sheets><sheet name="Costs" sheetId="1" r:id="rId1"/></sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/'
        f'package/2006/relationships"><Relationship Id="rId1" {relation} '
        'Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f"<worksheet {S}><sheetData>{rows}</sheetData></worksheet>",
    }
    main = f"{OOXML}.spreadsheetml.sheet.main"
    return package(ooxml("xl/workbook.xml", main, **(made | parts)))


def odt(body: str, **parts: str) -> bytes:
    """body: what stands in office:text."""
    content = (
        '<o:document-content xmlns:o="urn:o" xmlns:t="urn:t"><o:body><o:text>'
        f"{body}</o:text></o:body></o:document-content>"
    )
    return package(
        {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content, **parts},
        zipfile.ZIP_STORED,
    )
