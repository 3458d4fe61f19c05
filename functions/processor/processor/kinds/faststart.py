"""An MP4 whose table comes before its data, so that a browser plays it as it arrives."""

from __future__ import annotations

import struct

from processor.errors import PermanentError

# Boxes that hold others, on the way to a track's table of offsets (ISO/IEC 14496-12).
_HOLDERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


def faststart(file: memoryview) -> bytes:
    """The same file with moov before mdat, and its offsets moved. Raises PermanentError."""
    boxes = {bytes(file[at + 4 : at + 8]): (at, end) for at, end in _boxes(file, 0, len(file))}
    (start, end), (data, _) = boxes[b"moov"], boxes[b"mdat"]
    if start < data:
        return bytes(file)
    moov = bytearray(file[start:end])
    _move(moov, 0, len(moov), len(moov))
    return b"".join((file[:data], moov, file[data:start], file[end:]))


def _boxes(data: memoryview | bytearray, at: int, end: int) -> list[tuple[int, int]]:
    """Start and end of each box between the two."""
    found = []
    while at + 8 <= end:
        (size,) = struct.unpack_from(">I", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        size = size or end - at
        if size < 8 or at + size > end:
            raise PermanentError("corrupt_media", "The rendition could not be written.")
        found.append((at, at + size))
        at += size
    return found


def _move(moov: bytearray, at: int, end: int, by: int) -> None:
    for start, stop in _boxes(moov, at, end):
        name = bytes(moov[start + 4 : start + 8])
        if name in _HOLDERS:
            _move(moov, start + 8, stop, by)
        elif name in (b"stco", b"co64"):
            (count,) = struct.unpack_from(">I", moov, start + 12)
            form = f">{count}{'I' if name == b'stco' else 'Q'}"
            offsets = struct.unpack_from(form, moov, start + 16)
            struct.pack_into(form, moov, start + 16, *(offset + by for offset in offsets))
