"""Office documents: text, pages, sheets and properties of OOXML, ODF and the older XLS.

What a file is follows from its parts, not from its name: a zip that is none of these is a zip.
"""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

from contract.records import Document, Sheet
from processor.admission import kind_need
from processor.errors import PermanentError
from processor.formats import BY_TYPE, header
from processor.kinds import Job, Outcome, Output, decoders
from processor.kinds.package import Attributes, Package, corrupt
from processor.kinds.plain import load_encodings
from processor.kinds.prose import of_odf, of_slides, of_words
from processor.kinds.render import load_encoders, render
from processor.kinds.words import BREAK, Words
from processor.settings import Config

_OOXML, _ODF = "application/vnd.openxmlformats-officedocument", "application/vnd.oasis.opendocument"
_XLS = "application/vnd.ms-excel"
# What the content type of an OOXML package's main part holds → the type of the file.
_TYPES = {
    "wordprocessingml.document.main": f"{_OOXML}.wordprocessingml.document",
    "wordprocessingml.template.main": f"{_OOXML}.wordprocessingml.template",
    "word.document.macroenabled.main": "application/vnd.ms-word.document.macroenabled.12",
    "presentationml.presentation.main": f"{_OOXML}.presentationml.presentation",
    "presentationml.slideshow.main": f"{_OOXML}.presentationml.slideshow",
    "presentationml.template.main": f"{_OOXML}.presentationml.template",
    "powerpoint.presentation.macroenabled.main": (
        "application/vnd.ms-powerpoint.presentation.macroenabled.12"
    ),
    "spreadsheetml.sheet.main": f"{_OOXML}.spreadsheetml.sheet",
    "spreadsheetml.template.main": f"{_OOXML}.spreadsheetml.template",
    "excel.sheet.macroenabled.main": f"{_XLS}.sheet.macroenabled.12",
    "excel.sheet.binary.macroenabled.main": f"{_XLS}.sheet.binary.macroenabled.12",
}
_READERS = {"word": of_words, "pres": of_slides, "powe": of_slides}
_ODF_KINDS = ("text", "presentation", "spreadsheet")
_PREVIEWS = ("docProps/thumbnail.jpeg", "docProps/thumbnail.jpg", "Thumbnails/thumbnail.png")
_PREVIEW_PIXELS = 4_000_000
_SHEETS, _SHOWN = 200, 200
_UNPACKED = 4  # bytes of memory for each of a workbook's parts unpacked, at most
_LOCKED = "EncryptedPackage".encode("utf-16-le")  # an OOXML file with a password, in a container
_CONTAINER = b"\xd0\xcf\x11\xe0"
_FIELDS = {
    "title": "title", "creator": "author", "initial-creator": "author",
    "created": "created", "creation-date": "created", "modified": "modified", "date": "modified",
}  # fmt: skip


def preload(content_type: str, config: Config) -> None:
    """What a file's process may need: XML and names in zips come in many encodings."""
    import python_calamine  # noqa: F401

    load_encodings()
    load_encoders(config)
    for decoder in ("JPEG", "PNG"):
        decoders.preload(decoder)


def process(job: Job) -> Outcome:
    file = job.content.all(job.config.max_file_bytes)
    if job.content.head.startswith(_CONTAINER):
        if _LOCKED in file.getvalue():
            return Outcome(job.content_type or "", {"document": {"encrypted": True}})
        return _workbook(job, file, _XLS, {"encrypted": False}, ())
    package = Package(file, job.config.max_file_bytes)
    content_type, main, reader = _kind(package)
    if not content_type:
        return Outcome("application/zip")
    if b"encryption-data" in package.data("META-INF/manifest.xml"):
        return Outcome(content_type, {"document": {"encrypted": True}})
    facts, pictures = _properties(package), _preview(package, job.config)
    if reader is None:
        job.room.need(kind_need("office", b"", job.size, job.config, _UNPACKED * package.unpacked))
        return _workbook(job, file, content_type, facts, pictures)
    job.room.need(kind_need("office", b"", job.size, job.config, 0))
    words = Words()
    facts |= reader(package, main, words)
    return Outcome(content_type, {"document": facts | words.facts()}, pictures + words.outputs())


def _kind(package: Package) -> tuple[str, str, Any]:
    """Content type, main part, and what reads it, None for a workbook; "" of no document."""
    mimetype = package.data("mimetype")[:100].decode("ascii", "replace").strip()
    if mimetype.startswith(_ODF):
        name = mimetype.removeprefix(f"{_ODF}.").removesuffix("-template")
        reader = None if name == "spreadsheet" else of_odf
        return (mimetype if name in _ODF_KINDS else "", "content.xml", reader)
    found: list[tuple[str, str, Any]] = []

    def part(tag: str, given: Attributes) -> None:
        declared = given.get("ContentType", "").lower()
        for name, content_type in _TYPES.items():
            if tag == "Override" and name in declared:
                path = given.get("PartName", "").lstrip("/")
                found.append((content_type, path, _READERS.get(name[:4])))

    package.read("[Content_Types].xml", part)
    return found[0] if found else ("", "", None)


def _properties(package: Package) -> Document:
    """As the writer of the file has them; its pages are those that were last counted there."""
    facts: Document = {"encrypted": False}
    texts: dict[str, str] = {}
    open_tags: list[str] = []

    def start(tag: str, given: Attributes) -> None:
        open_tags.append(tag)
        if tag == "document-statistic" and given.get("page-count", "").isdigit():
            texts.setdefault("Pages", given["page-count"])

    def text(text: str) -> None:
        name = open_tags[-1]
        if name in _FIELDS or name == "Pages":
            texts[name] = (texts.get(name, "") + text)[:_SHOWN]

    for part in ("docProps/core.xml", "docProps/app.xml", "meta.xml"):
        with contextlib.suppress(PermanentError):  # beside the document: never a failure
            package.read(part, start, text, lambda tag: open_tags.__delitem__(-1))
        open_tags.clear()
    for name, value in texts.items():
        if name in _FIELDS and value.strip():
            facts[_FIELDS[name]] = value.strip()  # type: ignore[literal-required]
    if re.fullmatch(r"[1-9]\d{0,6}", texts.get("Pages", "")):
        facts["pages"] = int(texts["Pages"])
    if any(name.endswith("vbaproject.bin") for name in package.names):
        facts["macros"] = True
    return facts


def _preview(package: Package, config: Config) -> tuple[Output, ...]:
    """Renditions of the picture that the writer left of the first page, where there is one."""
    for name in _PREVIEWS:
        with contextlib.suppress(Exception):  # beside the document: never a failure
            data = package.data(name)
            format = BY_TYPE["image/png" if data.startswith(b"\x89PNG") else "image/jpeg"]
            found = header(data, format)
            if found and found.width * found.height <= _PREVIEW_PIXELS:
                image = decoders.opened(io.BytesIO(data), format.decoder)
                image.load()
                return render(image, image.size, 1, config.pictures)
    return ()


def _workbook(
    job: Job, file: io.BytesIO, content_type: str, facts: Document, pictures: tuple[Output, ...]
) -> Outcome:
    """Rows as lines, cells parted by tabs, a form feed between two sheets."""
    import python_calamine as calamine

    words, sheets = Words(), list[Sheet]()
    try:
        file.seek(0)
        workbook = calamine.CalamineWorkbook.from_filelike(file)
        for number, name in enumerate(workbook.sheet_names[:_SHEETS]):
            try:
                sheet = workbook.get_sheet_by_name(name)
            except calamine.WorksheetNotFound:  # a chart's, or its part is missing
                continue
            words.add(BREAK * (number > 0))
            rows, columns = (side + 1 for side in sheet.end or (-1, -1))
            sheets.append({"name": name[:_SHOWN], "rows": rows, "columns": columns})
            for row in sheet.iter_rows():
                words.add("\t".join(map(_cell, row)).rstrip("\t") + "\n")
                if words.is_full:
                    break
    except calamine.PasswordError:
        return Outcome(content_type, {"document": {"encrypted": True}})
    except (calamine.CalamineError, OSError, ValueError) as error:
        raise corrupt("The workbook cannot be read.") from error
    facts |= words.facts()
    facts["sheets"] = sheets
    return Outcome(content_type, {"document": facts}, pictures + words.outputs())


def _cell(value: Any) -> str:
    """Whole numbers as such: a workbook knows none."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).replace("\t", " ").replace("\n", " ")
