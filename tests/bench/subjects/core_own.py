"""The processor's work on one file, from its bytes to the outputs, without storage or HTTP."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path


class Held:
    """A file in memory, read as the processor reads one from Cloud Storage."""

    is_gzip = False

    def __init__(self, data: bytes, head: int, piece: int) -> None:
        self._data, self._piece = data, piece
        self.size, self.head = len(data), data[:head]

    def pieces(self, limit: int) -> Iterator[bytes]:
        yield self.head
        for at in range(len(self.head), len(self._data), self._piece):
            yield self._data[at : at + self._piece]

    def all(self, limit: int) -> io.BytesIO:
        return io.BytesIO(self._data)


def make(file: str, content_type: str) -> Callable[[], None]:
    os.environ.setdefault("LANG", "C.UTF-8")
    import main
    from processor.kinds import Job, kind_of, module_of, sniff, written
    from processor.storage import HEAD_BYTES, PIECE_BYTES

    worker = main.worker()
    data = Path(file).read_bytes()

    def step() -> None:
        content = Held(data, HEAD_BYTES, PIECE_BYTES)
        found = sniff(content.head) or written(content.head, content_type, worker.config)
        kind, module = kind_of(found, worker.config), module_of(found, worker.config)
        if kind.is_fenced:
            module.preload(found or "", worker.config)
        size = kind.need(content.head, content.size, worker.config)
        with worker.gate.room(size) as room:
            room.take(0)
            module.process(Job(content, content.size, found, content_type, worker.config, room))

    return step
