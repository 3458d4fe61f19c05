"""The registry of kinds of files.

A kind is a module here with two functions, and a row in KINDS for each content type (images have
theirs from processor.formats).
    preload(content_type, config): imports whatever process may use. Fenced kinds only.
    process(job) -> Outcome. Raises Fault.
Modules are imported when their first file comes, so that a cold start pays only for what it needs.
"""

from __future__ import annotations

import codecs
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from processor.admission import image_need, kind_need, pdf_need, plain_need
from processor.formats import FORMATS
from processor.settings import Config

if TYPE_CHECKING:
    from contract.records import Facts
    from processor.memory import Room
    from processor.storage import Content


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a content type before its module is imported.

    module: its name in this package. libraries: the lane's kind in whose zip its libraries are;
    "default" for all of them. outputs: what it makes beside renditions: name → file and content
    type. need: bytes of memory, by the file's beginning, its size and
    the settings; None for all there is. aliases: other names under which the same is declared.
    is_fenced: decoded, in a process of its own; else it is read by plain Python. is_silent: its
    decoder leaves out what it has no memory for, and says nothing. is_text: it has no signature;
    text is of this kind where it is declared so. is_long: it may use all CPUs for all of its time.
    """

    module: str
    need: Callable[[bytes, int, Config], int | None] = plain_need
    libraries: str = "default"
    outputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    is_fenced: bool = True
    is_silent: bool = False
    is_text: bool = False
    is_long: bool = False


TEXT = {"text": ("text.txt", "text/plain; charset=utf-8")}  # the output of a document
_media = partial(Kind, "media", partial(kind_need, "media"), "media", is_long=True)
# Content type → FFmpeg's demuxer, the only one that may read it.
MEDIA = {
    "video/mp4": "mov", "video/quicktime": "mov", "video/x-m4v": "mov", "video/3gpp": "mov",
    "video/webm": "matroska", "video/x-matroska": "matroska", "video/x-msvideo": "avi",
    "video/mpeg": "mpeg", "video/x-ms-wmv": "asf", "video/x-flv": "flv", "audio/mpeg": "mp3",
    "audio/mp4": "mov", "audio/ogg": "ogg", "audio/x-flac": "flac", "audio/x-wav": "wav",
    "audio/aac": "aac", "audio/x-aiff": "aiff",
}  # fmt: skip
_MEDIA_ALIASES = {
    "video/x-msvideo": ("video/avi", "video/msvideo"), "audio/mpeg": ("audio/mp3",),
    "audio/mp4": ("audio/x-m4a", "audio/m4a"), "audio/x-flac": ("audio/flac",),
    "audio/x-wav": ("audio/wav", "audio/wave", "audio/vnd.wave"), "audio/ogg": ("application/ogg",),
    "audio/x-aiff": ("audio/aiff",), "video/x-ms-wmv": ("video/x-ms-asf",),
}  # fmt: skip
_office = partial(Kind, "office", partial(kind_need, "office"), "office", TEXT)
_OFFICE = (  # a zip's parts tell what it is, so a zip is opened as well
    "application/zip", "application/vnd.ms-excel",
    *(f"application/vnd.openxmlformats-officedocument.{name}" for name in (
        "wordprocessingml.document", "presentationml.presentation", "spreadsheetml.sheet")),
    *(f"application/vnd.oasis.opendocument.{name}" for name in (
        "text", "presentation", "spreadsheet")),
)  # fmt: skip
_PARQUET = "application/vnd.apache.parquet"
_table = partial(
    Kind, "table", partial(kind_need, "tables"), "tables", {"table": ("table.parquet", _PARQUET)}
)
KINDS = {
    **{x.content_type: Kind("image", partial(image_need, x), aliases=x.aliases) for x in FORMATS},
    "application/pdf": Kind("pdf", pdf_need, outputs=TEXT, is_silent=True),
    **{name: _media(aliases=_MEDIA_ALIASES.get(name, ())) for name in MEDIA},
    **{name: _office() for name in _OFFICE},
    "text/csv": _table(aliases=("application/csv", "text/x-csv"), is_text=True),
    "text/tab-separated-values": _table(aliases=("text/tsv", "text/x-tsv"), is_text=True),
    "application/x-ndjson": _table(
        aliases=("application/ndjson", "application/jsonl", "application/x-jsonlines"),
        is_text=True,
    ),
    _PARQUET: _table(aliases=("application/parquet", "application/x-parquet")),
}
_PLAIN = Kind("plain", is_fenced=False)  # text, and whatever has no row
_ALIASES = {alias: name for name, kind in KINDS.items() for alias in kind.aliases}
_TEXTUAL = ("json", "xml", "yaml", "javascript", "csv", "sql", "toml", "x-sh", "ndjson")
# Brands of an ISO container (ISO/IEC 23008-12, AV1 Image File Format), those that name a codec
# first: a major brand may say no more than that there is an image.
_BRANDS = (
    dict.fromkeys((b"avif", b"avis"), "image/avif")
    | dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "image/heic"
    )
    | dict.fromkeys((b"mif1", b"mif2", b"msf1", b"1pic"), "image/heic")
)
_PDF_BYTES = 1024  # within which a PDF's header may begin (PDF 1.7, implementation note 13)
_PDF = re.compile(rb"%PDF-\d")
_PDF_OBJECT = re.compile(rb"^\s*\d+ \d+ obj\b", re.M)
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_TEXT_BYTES = bytes(range(32, 256)) + b"\t\n\f\r\x1b"
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
# Signatures of what is itself written as text.
_WRITTEN = frozenset({"application/pdf", "application/postscript", "application/rtf"})


@dataclass(frozen=True, slots=True)
class Output:
    """A file to write beside the manifest; width and height in pixels, None of no picture."""

    name: str
    file: str
    data: bytes | memoryview
    content_type: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was learnt (facts, under the kind's name in the manifest) and what was made."""

    content_type: str
    facts: Facts = field(default_factory=cast(Any, dict))
    outputs: tuple[Output, ...] = ()

    def matches(self, declared: str) -> bool:
        """Text has many names: what is text may be declared as any of them."""
        if self.content_type != "text/plain":
            return declared == self.content_type
        return declared.startswith("text/") or declared.endswith(_TEXTUAL)


@dataclass(frozen=True, slots=True)
class Job:
    """A file to process, and the memory held for it.

    size is the most bytes that reading all of it can give. content_type is by its signature or, of
    text that a kind of its own reads, as declared; None for other text and what nobody knows.
    tell takes how much of what is made is made, in percent, as often as one likes.
    """

    content: Content
    size: int
    content_type: str | None
    declared: str | None
    config: Config
    room: Room
    tell: Callable[[int], None] = lambda percent: None


class Module(Protocol):
    def preload(self, content_type: str, config: Config) -> None: ...

    def process(self, job: Job) -> Outcome: ...


def sniff(head: bytes) -> str | None:
    """The content type by signature; None for text and for what nobody knows."""
    if head[4:8] == b"ftyp" and (found := _by_brand(head)):
        return found
    if head[:4] in (b"II+\0", b"MM\0+"):  # BigTIFF
        return "image/tiff"
    if head[:4] == b"PAR1":
        return _PARQUET
    import filetype  # type: ignore[import-untyped]  # not where a file is decoded

    found = cast("str | None", filetype.guess_mime(head)) if head else None
    if found is None and (header := _PDF.search(head, 0, _PDF_BYTES)):
        found = "application/pdf" if _PDF_OBJECT.search(head, header.end()) else None
    if found == "image/bmp" and int.from_bytes(head[14:18], "little") not in _BMP_HEADERS:
        return None
    # Some signatures are a few letters, which a text may begin with as well: BM, GIF, MZ, ID3.
    if found not in _WRITTEN and head[:1].isascii() and not head.translate(None, _TEXT_BYTES):
        return None
    return "image/png" if found == "image/apng" else found


def _by_brand(head: bytes) -> str | None:
    """The type by the brands of the container, its major one among them; None for no image."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))}
    if head[8:12] not in _BRANDS:  # a video may name an image's among those it goes by
        return None
    return next((type for brand, type in _BRANDS.items() if brand in brands), None)


def canonical(declared: str | None) -> str | None:
    return _ALIASES.get(declared, declared) if declared else None


def written(head: bytes, declared: str | None, config: Config) -> str | None:
    """The declared type, where a kind without a signature has it and the beginning is text."""
    name = canonical(declared)
    is_text = head.startswith(_BOMS) or not head.translate(None, _TEXT_BYTES)
    return name if head and is_text and kind_of(name, config).is_text else None


def kind_of(content_type: str | None, config: Config) -> Kind:
    """Its row, where the libraries for it are in this zip."""
    found = KINDS.get(content_type or "", _PLAIN)
    return found if found.libraries in ("default", config.kind) else _PLAIN


def module_of(content_type: str | None, config: Config) -> Module:
    name = kind_of(content_type, config).module
    return cast(Module, importlib.import_module(f"processor.kinds.{name}"))
