"""Text, and whatever has no kind of its own: what it is, read no further than that takes."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

from contract.records import Text
from processor.errors import PermanentError
from processor.kinds import Job, Outcome, canonical, kind_of

_SAMPLE_BYTES = 32 * 1024
_BEFORE_BYTES = 1024  # of what precedes the first character that is not ASCII
_SLICE_BYTES = 64 * 1024  # decoded at once, to up to four bytes for each
_CANDIDATES = 3
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16: its mark begins with that one's
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_TEXT_BYTES = bytes(range(32, 256)) + b"\t\n\f\r\x1b"
_UNKNOWN = "unknown-8bit"  # RFC 1428's name for it


def process(job: Job) -> Outcome:
    if job.content_type:
        return Outcome(job.content_type)
    kind = kind_of(canonical(job.declared), job.config)
    if kind.module != "plain" and not kind.is_text:
        detail = f"Declared as {job.declared}, but the content is something else."
        raise PermanentError("type_mismatch", detail)
    if not job.content.head:
        return Outcome("application/x-empty")
    facts = text_facts(job.content.pieces(job.config.max_file_bytes))
    if facts is None:
        return Outcome("application/octet-stream")
    return Outcome("text/plain", {"text": facts})


def text_facts(pieces: Iterator[bytes]) -> Text | None:
    """Encoding, whether that is certain, and lines; None where it is not text.

    Certain are a byte order mark, ASCII and UTF-8, once all of the file was seen to be so. Anything
    else is the likeliest of the encodings that can read everything from the first byte on that is
    not ASCII, or unknown-8bit.
    """
    readings = []
    for number, piece in enumerate(pieces):
        if number == 0:
            readings = _first(piece)
        left = [one for one in readings if one.read(piece)]
        if not left:
            lost = readings[0] if readings else None
            rest = (lost.pending if lost else b"") + piece
            names = guesses(rest)
            if not names:
                return None
            left = [_Reading(name, lost) for name in (*names, _UNKNOWN)]
            left = [one for one in left if one.read(rest)]
        readings = left
    best = readings[0]
    is_certain = best.read(b"", is_end=True) and best.is_certain
    name = "ascii" if best.name == "utf-8" and best.is_ascii else best.name
    return {
        "encoding": name.replace("_", "-"),
        "certainty": "certain" if is_certain else "guessed",
        "lines": best.lines,
    }


def guesses(data: bytes) -> list[str]:
    """Python's names of the encodings that the text may be in, likeliest first; [] for no text."""
    import charset_normalizer

    first = next((at for at, byte in enumerate(data) if byte >= 0x80 or not byte), 0)
    sample = data[max(0, first - _BEFORE_BYTES) :][:_SAMPLE_BYTES]
    if len(sample) == _SAMPLE_BYTES:
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    is_clean = not sample.translate(None, _TEXT_BYTES)
    for cut in range(4 if is_clean else 1):  # the sample may end within a character
        if not charset_normalizer.is_binary(part := sample[: len(sample) - cut]):
            found = list(charset_normalizer.from_bytes(part))[:_CANDIDATES]
            # Where several say the same of these bytes, it is most often this one.
            return [
                "cp1252" if "cp1252" in one.could_be_from_charset else one.encoding for one in found
            ]
    return []


def load_encodings() -> None:
    """Every codec that a text may need: in a file's own process none can be loaded any more."""
    from charset_normalizer.constant import IANA_SUPPORTED

    for name in (*IANA_SUPPORTED, *_BOMS.values()):
        codecs.lookup(name)
    guesses("größer".encode("cp1252"))


def _first(piece: bytes) -> list[_Reading]:
    """What the file's beginning may be without a guess: as its mark says, or UTF-8."""
    for mark, encoding in _BOMS.items():
        if piece.startswith(mark):
            return [_Reading(encoding, is_certain=True), _Reading(encoding, errors="replace")]
    return [] if b"\0" in piece else [_Reading("utf-8", is_certain=True)]


class _Reading:
    """The file in one encoding, and its lines: they end with LF, CR LF or CR, or with the file."""

    def __init__(
        self,
        name: str,
        before: _Reading | None = None,
        errors: str = "strict",
        is_certain: bool = False,
    ) -> None:
        codec = codecs.getincrementaldecoder("latin-1" if name == _UNKNOWN else name)
        self._decoder = io.IncrementalNewlineDecoder(codec(errors), translate=True)
        self._ends: int = before._ends if before else 0
        self._last: str = before._last if before else "\n"
        self.name, self.is_certain, self.is_ascii = name, is_certain, True
        self.pending = b""  # what was not decoded before the last piece

    @property
    def lines(self) -> int:
        return self._ends + (self._last != "\n")

    def read(self, piece: bytes, is_end: bool = False) -> bool:
        """False where the piece is not in this encoding: then nothing of it is counted."""
        ends, last = self._ends, self._last
        kept, flag = self._decoder.getstate()
        self.pending = kept + b"\r" * (flag & 1)
        try:
            for at in range(0, max(len(piece), 1), _SLICE_BYTES):
                text = self._decoder.decode(piece[at : at + _SLICE_BYTES], final=is_end)
                ends += text.count("\n")
                last = text[-1:] or last
        except UnicodeError:
            return False
        self.is_ascii = self.is_ascii and piece.isascii()
        self._ends, self._last = ends, last
        return True
