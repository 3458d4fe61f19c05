"""The registry of kinds of files.

A kind is a module here with two functions, and an entry in KINDS for each content type (images have
theirs from processor.formats):
    need(head, size, content_type, config) -> bytes of memory, None for all there is. It runs before
        the attempt is claimed: plain Python over the first bytes, no decoder.
    process(job) -> Outcome. Raises Fault.
Modules are imported when their first file comes, so that a cold start pays only for what it needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import filetype  # type: ignore[import-untyped]

from processor.formats import BY_TYPE, FORMATS
from processor.memory import Room
from processor.settings import Config
from processor.storage import Source

KINDS = {**dict.fromkeys(BY_TYPE, "image"), "application/pdf": "pdf"}
# Other names under which the same content is declared.
_ALIASES = {alias: one.content_type for one in FORMATS for alias in one.aliases}
_TEXTUAL = ("json", "xml", "yaml", "javascript", "csv", "sql", "toml", "x-sh", "ndjson")
# Major brands of the ISO container that the sniffing library does not know.
_BRANDS = {
    b"avis": "image/avif", b"heim": "image/heic", b"heis": "image/heic", b"heix": "image/heic",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Output:
    """A file to write beside the manifest; width and height in pixels."""

    name: str
    file: str
    data: bytes
    content_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was learnt (facts, under the kind's name in the manifest) and what was made."""

    content_type: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Output, ...] = ()

    def matches(self, declared: str) -> bool:
        """Text has many names: what is text may be declared as any of them."""
        if self.content_type != "text/plain":
            return declared == self.content_type
        return declared.startswith("text/") or declared.endswith(_TEXTUAL)


@dataclass(frozen=True, slots=True)
class Job:
    """A file to process, with its sniffed and its declared type, and the memory held for it.

    size is the most bytes that reading all of it can give.
    """

    source: Source
    size: int
    sniffed: str | None
    declared: str | None
    config: Config
    room: Room


class Kind(Protocol):
    def need(self, head: bytes, size: int, content_type: str, config: Config) -> int | None: ...

    def process(self, job: Job) -> Outcome: ...


def sniff(head: bytes) -> str | None:
    """The content type by signature; None for text and for what nobody knows."""
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return _BRANDS[head[8:12]]
    if head[:4] in (b"II+\0", b"MM\0+"):  # BigTIFF
        return "image/tiff"
    found = cast("str | None", filetype.guess_mime(head)) if head else None
    return "image/png" if found == "image/apng" else found


def canonical(declared: str | None) -> str | None:
    return _ALIASES.get(declared, declared) if declared else None


def kind_of(content_type: str | None) -> Kind:
    name = KINDS.get(content_type or "", "plain")
    return cast(Kind, importlib.import_module(f"processor.kinds.{name}"))
