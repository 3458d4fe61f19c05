"""The text of a document, gathered part by part up to a limit, as an output and its facts."""

from __future__ import annotations

from contract.records import Document
from processor.kinds import TEXT, Output

MAX_BYTES = 8 * 1024 * 1024
BREAK = "\f"  # between pages, slides or sheets, as pdftotext has it


class Words:
    def __init__(self) -> None:
        self.count, self.is_full = 0, False
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, text: str) -> None:
        """is_full from the first part on that does not fit, of which the beginning is kept."""
        if self.is_full:
            return
        data = text.encode(errors="replace")
        if self._size + len(data) > MAX_BYTES:
            self.is_full = True
            text = data[: MAX_BYTES - self._size].decode(errors="ignore")
            data = text.encode()
        self.count += len(text.split())
        self._size += len(data)
        self._parts.append(data)

    def facts(self) -> Document:
        """words; truncated where not all of the text was gathered."""
        found = Document(words=self.count)
        return found | {"truncated": True} if self.is_full else found

    def outputs(self) -> tuple[Output, ...]:
        """One where there is a word."""
        if not self.count:
            return ()
        file, content_type = TEXT["text"]
        return (Output("text", file, b"".join(self._parts), content_type),)
