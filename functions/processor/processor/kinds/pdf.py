"""PDF: its pages, outline and text, whether it is encrypted, and the first page as a picture."""

from __future__ import annotations

import codecs
import contextlib
import time
from itertools import islice
from typing import TYPE_CHECKING

import pypdfium2  # type: ignore[import-untyped]

from processor.admission import PDF_BYTES, pdf_memory, pdf_side
from processor.errors import PermanentError
from processor.kinds import Job, Outcome
from processor.kinds.page import Page
from processor.kinds.render import load_encoders, render
from processor.kinds.words import BREAK, Words
from processor.settings import Config

if TYPE_CHECKING:
    from contract.records import Document, Heading

_BASE = 24 * 1024 * 1024  # beside the file: the library, and one page's resources
_TEXT_SHARE = 16  # of the time for a file that reading its text may take, at most, in CPU
_HEADINGS, _TITLE = 200, 200
_MAX_SIDE = 4096  # pixels of the bitmap, however long and thin the page


def preload(content_type: str, config: Config) -> None:
    """All of it is loaded with this module, except for a codec and its renditions' encoders."""
    codecs.lookup("utf-16-le")  # of pypdfium2's texts
    load_encoders(config)


def process(job: Job) -> Outcome:
    file = job.content.all(job.config.max_file_bytes)
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            return Outcome("application/pdf", {"document": {"encrypted": True}})
        raise PermanentError("corrupt_document", "The PDF cannot be opened.") from error
    try:
        with contextlib.suppress(pypdfium2.PdfiumError):  # then fields are left out
            document.init_forms()
        facts: Document = {
            "pages": len(document),
            "encrypted": pypdfium2.raw.FPDF_GetSecurityHandlerRevision(document) >= 0,
        }
        page = document[0]
        objects = Page(page, file)
        _admit(job, objects)
        if objects.has_substitutes():
            facts["substitutedFonts"] = True
        side = max(page.get_size())
        scale = min(2 * pdf_side(job.config), _MAX_SIDE) / max(side, 1.0)
        image = page.render(scale=scale).to_pil()
        image.load()
        words = _words(document, job.config)
        facts |= words.facts()
        if headings := _outline(document):
            facts["outline"] = headings
        if objects.has_picture() and not words.count and not words.is_full:
            facts["scanned"] = True
    except (pypdfium2.PdfiumError, IndexError, ValueError) as error:
        raise PermanentError("corrupt_document", "Its first page cannot be drawn.") from error
    finally:
        document.close()
    outputs = render(image, image.size, 1, job.config.pictures)
    return Outcome("application/pdf", {"document": facts}, outputs + words.outputs())


def _words(document: pypdfium2.PdfDocument, config: Config) -> Words:
    """Of page after page; a page whose text cannot be read has none, and fails nothing."""
    words, until = Words(), time.process_time() + config.work_seconds / _TEXT_SHARE
    for number in range(len(document)):
        if words.is_full or time.process_time() > until:
            words.is_full = True
            break
        with contextlib.suppress(pypdfium2.PdfiumError):
            page = document[number]
            text = page.get_textpage()
            words.add(BREAK * (number > 0) + text.get_text_bounded().replace("\r\n", "\n"))
            text.close()
            page.close()
    return words


def _outline(document: pypdfium2.PdfDocument) -> list[Heading]:
    found: list[Heading] = []
    with contextlib.suppress(pypdfium2.PdfiumError, ValueError, UnicodeError):
        for mark in islice(document.get_toc(), _HEADINGS):
            heading: Heading = {"title": mark.get_title()[:_TITLE], "level": mark.level}
            dest = mark.get_dest()
            if dest is not None and (page := dest.get_index()) is not None:
                heading["page"] = page + 1
            found.append(heading)
    return found


def _admit(job: Job, page: Page) -> None:
    """Raises what Room.need raises, before any of the page's images is decoded.

    What only may be drawn counts up to a quarter of the instance: it alone refuses no file.
    """
    doubt = job.config.memory_bytes // 4
    hidden = min(page.hidden_bytes(), doubt) if page.is_countable else doubt
    most = max(page.shown_bytes(), hidden)
    job.room.need(pdf_memory(job.size, job.config) + max(0, _BASE + most - PDF_BYTES))
