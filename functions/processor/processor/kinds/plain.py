"""Text, and whatever has no kind of its own: what it is, read no further than that takes."""

from __future__ import annotations

import codecs

from processor.errors import PermanentError
from processor.kinds import KINDS, Job, Outcome, canonical
from processor.settings import Config

_SAMPLE_BYTES = 32 * 1024
_NEED = 16 * 1024 * 1024
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16: its mark begins with that one's
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def need(head: bytes, size: int, content_type: str, config: Config) -> int:
    return _NEED


def process(job: Job) -> Outcome:
    if job.sniffed:
        return Outcome(job.sniffed)
    if canonical(job.declared) in KINDS:
        detail = f"Declared as {job.declared}, but the content is something else."
        raise PermanentError("type_mismatch", detail)
    if not job.source.head:
        return Outcome("application/x-empty")
    encoding = encoding_of(job.source.head[:_SAMPLE_BYTES])
    if encoding is None:
        return Outcome("application/octet-stream")
    facts = {"encoding": encoding.replace("_", "-"), "lines": _lines(job, encoding)}
    return Outcome("text/plain", {"text": facts})


def encoding_of(sample: bytes) -> str | None:
    """Python's name of the text's encoding; None when it is no text."""
    for mark, encoding in _BOMS.items():
        if sample.startswith(mark):
            return encoding
    if b"\0" not in sample:
        try:
            # Not final: the sample may end within a character.
            codecs.getincrementaldecoder("utf-8")().decode(sample)
            return "ascii" if sample.isascii() else "utf-8"
        except UnicodeDecodeError:
            pass
    import charset_normalizer

    if charset_normalizer.is_binary(sample):
        return None
    best = charset_normalizer.from_bytes(sample).best()
    return best.encoding if best else None


def _lines(job: Job, encoding: str) -> int:
    """As an editor counts them: a last line without an end counts, too."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    lines, last = 0, "\n"
    for piece in job.source.pieces(job.config.max_file_bytes):
        text = decoder.decode(piece)
        lines += text.count("\n")
        last = text[-1:] or last
    return lines + (last != "\n")
