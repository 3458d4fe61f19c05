"""The text of text documents and presentations, in the order in which it stands in their parts."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from contract.records import Document
from processor.kinds.package import Attributes, Package
from processor.kinds.words import BREAK, Words

_NOTES = ("footnotes", "endnotes")
_SPACES = 1000  # at most, of those that ODF counts


class _Text:
    """Gathers what is text within an OOXML part: paragraphs are lines, cells of a row as well."""

    def __init__(self, words: Words) -> None:
        self._words, self._in_text, self._hidden = words, False, 0

    def start(self, tag: str, given: Attributes) -> None:
        if tag == "Fallback":  # the same again, for older readers
            self._hidden += 1
        elif tag == "t":
            self._in_text = True
        elif tag in ("tab", "br", "cr") and not self._hidden and "pos" not in given:
            self._words.add("\t" if tag == "tab" else "\n")

    def end(self, tag: str) -> None:
        if tag == "Fallback":
            self._hidden -= 1
        elif tag == "t":
            self._in_text = False
        elif tag == "p" and not self._hidden:
            self._words.add("\n")

    def text(self, text: str) -> None:
        if self._in_text and not self._hidden:
            self._words.add(text)


class _OdfText:
    """The same of an ODF part; each drawn page begins with a form feed, but for the first."""

    def __init__(self, words: Words) -> None:
        self.pages = 0
        self._words, self._depth, self._notes = words, 0, 0

    def start(self, tag: str, given: Attributes) -> None:
        if tag == "page":
            self._words.add(BREAK * (self.pages > 0))
            self.pages += 1
        elif tag in ("tracked-changes", "annotation", "notes"):
            self._notes += 1
        elif tag in ("p", "h"):
            self._depth += 1
        elif self._is_shown and tag in ("s", "tab", "line-break"):
            count = given.get("c", "1")
            many = min(int(count), _SPACES) if count.isdigit() else 1
            self._words.add({"s": " " * many, "tab": "\t"}.get(tag, "\n"))

    def end(self, tag: str) -> None:
        if tag in ("tracked-changes", "annotation", "notes"):
            self._notes -= 1
        elif tag in ("p", "h"):
            if self._is_shown:
                self._words.add("\n")
            self._depth -= 1

    def text(self, text: str) -> None:
        if self._is_shown:
            self._words.add(text)

    @property
    def _is_shown(self) -> bool:
        return self._depth > 0 and self._notes == 0


def of_words(package: Package, main: str, words: Words) -> Document:
    """A text document's, and its foot- and endnotes'."""
    folder = posixpath.dirname(main)
    for part in (main, *(f"{folder}/{name}.xml" for name in _NOTES)):
        text = _Text(words)
        package.read(part, text.start, text.text, text.end)
    return {}


def of_slides(package: Package, main: str, words: Words) -> Document:
    """Slide after slide, in the order in which they are shown."""
    slides = list(_slides(package, main))
    for number, slide in enumerate(slides):
        words.add(BREAK * (number > 0))
        text = _Text(words)
        package.read(slide, text.start, text.text, text.end)
    return {"pages": len(slides)}


def of_odf(package: Package, main: str, words: Words) -> Document:
    text = _OdfText(words)
    package.read(main, text.start, text.text, text.end)
    return {"pages": text.pages} if text.pages else {}


def _slides(package: Package, main: str) -> Iterator[str]:
    folder, name = posixpath.split(main)
    targets, order = dict[str, str](), list[str]()

    def relation(tag: str, given: Attributes) -> None:
        if tag == "Relationship" and given.get("TargetMode") != "External":
            targets[given.get("Id", "")] = given.get("Target", "")

    def slide(tag: str, given: Attributes) -> None:
        # Its number in the list is an id without a namespace, its relation one with.
        if tag == "sldId":
            order.extend(value for value in given.values() if value in targets)

    package.read(f"{folder}/_rels/{name}.rels", relation)
    package.read(main, slide)
    for one in order:
        target = targets[one]
        path = target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)
        if (path := posixpath.normpath(path)) in package:
            yield path
