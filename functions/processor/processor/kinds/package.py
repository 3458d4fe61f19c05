"""Office files as what they are: zips of XML, opened so that nothing in them can grow.

What is unpacked is bounded by what the directory declares, and that by the settings; XML is read as
it streams by, with no document type, hence no entities; and no reference is followed.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn
from xml.parsers import expat

from processor.errors import PermanentError

_PIECE_BYTES = 256 * 1024
_DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError)
Attributes = Mapping[str, str]


def corrupt(detail: str = "The document cannot be opened.") -> PermanentError:
    return PermanentError("corrupt_document", detail)


class Package:
    """unpacked: bytes of all parts together, as the directory declares them."""

    def __init__(self, file: io.BytesIO, limit: int) -> None:
        """Raises PermanentError: no zip, locked, or of more than `limit` bytes unpacked."""
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            raise corrupt() from error
        parts = self._zip.infolist()
        self._parts = {part.filename.lower(): part for part in parts}
        self.unpacked = sum(part.file_size for part in parts)
        if self.unpacked > limit:
            raise PermanentError("file_too_large", f"Unpacked it has more than {limit} bytes.")
        if any(part.flag_bits & 1 for part in parts):
            raise corrupt("Parts of it are encrypted.")

    @property
    def names(self) -> Iterable[str]:
        """In lower case."""
        return self._parts.keys()

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._parts

    def data(self, name: str) -> bytes:
        """A part, b"" where there is none. Raises PermanentError for a damaged one."""
        if name not in self:
            return b""
        try:
            return self._zip.read(self._parts[name.lower()])
        except _DAMAGED as error:
            raise corrupt("A part of it is damaged.") from error

    def read(
        self,
        name: str,
        start: Callable[[str, Attributes], None],
        text: Callable[[str], None] = lambda text: None,
        end: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Calls back for each tag and text of an XML part; names are without their namespaces.

        Raises PermanentError for XML that is damaged or declares a document type.
        """
        if name not in self:
            return
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = lambda tag, given: start(
            _local(tag), {_local(key): value for key, value in given.items()}
        )
        parser.EndElementHandler = lambda tag: end(_local(tag))
        parser.CharacterDataHandler = text
        parser.StartDoctypeDeclHandler = _refuse
        try:
            with self._zip.open(self._parts[name.lower()]) as part:
                while piece := part.read(_PIECE_BYTES):
                    parser.Parse(piece, False)
                parser.Parse(b"", True)
        except (expat.ExpatError, LookupError, ValueError, *_DAMAGED) as error:
            raise corrupt("A part of it is damaged.") from error


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _refuse(*_: object) -> NoReturn:
    raise corrupt("A part of it declares a document type.")
