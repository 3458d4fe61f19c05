"""Server-sent events: the document of each file at once, and again whenever it changes.

Nothing is kept between requests: each stream looks for itself, with growing pauses, and ends after
some minutes or when all its files have ended; then the client comes again.
"""

from __future__ import annotations

import heapq
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from portal.names import File
from status.document import Json
from status.records import WAITING, Seen
from web.problems import Problem, Unreached

MAX_FILES = 50
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.5, 5.0, 1.4  # seconds
APPROVAL_PAUSE = 30.0  # the longest while a person is asked, who may take days
HEARTBEAT = 10.0
RECONNECT_MS = 1000
THOROUGH = 6  # of the looks for a file that waits, every so many-th is a thorough one


class Places:
    """How many streams an instance carries; the rest of its threads answer other requests."""

    def __init__(self, number: int) -> None:
        self._free = threading.BoundedSemaphore(number)

    def take(self) -> Callable[[], None]:
        """Gives what returns the place, once. Raises Problem 503."""
        if not self._free.acquire(blocking=False):
            detail = "Too many streams are open; GET /files/<file_id> instead, or come again."
            raise Problem(503, "too_many_streams", detail, retry_after=5)
        return self._free.release


class Watch:
    """One file of a stream."""

    def __init__(self, file: File) -> None:
        self.file, self.seen, self.looks = file, None, 0  # type: File, Seen | None, int
        self.pause = FIRST_PAUSE

    def look(self, look: Callable[[File, Seen | None, bool], Seen]) -> bool:
        """Whether something changed. Raises Unreached."""
        seen = look(self.file, self.seen, self.looks % THOROUGH == 0)
        self.looks += 1
        changed = self.seen is None or _told(seen) != _told(self.seen)
        longest = APPROVAL_PAUSE if seen.approval == WAITING else LONGEST_PAUSE
        self.pause = FIRST_PAUSE if changed else min(self.pause * GROWTH, longest)
        self.seen = seen
        return changed


def _told(seen: Seen) -> tuple[object, ...]:
    return seen.status, seen.attempt, seen.percent, seen.approval


def stream(
    files: Sequence[File],
    look: Callable[[File, Seen | None, bool], Seen],
    tell: Callable[[File, Seen], Json],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """The events, as text. look, tell: may raise Unreached; then the file is looked at later."""
    started = last = clock()
    yield f"retry: {RECONNECT_MS}\n\n"
    queue = [(started, number, Watch(file)) for number, file in enumerate(files)]
    while queue:
        due, number, watch = heapq.heappop(queue)
        while (now := clock()) < due and now < started + seconds:
            if now >= last + HEARTBEAT:
                yield ": still here\n\n"
                last = now
            sleep(min(due - now, HEARTBEAT, started + seconds - now))
        if now >= started + seconds:
            return
        before = watch.seen
        try:
            if watch.look(look):
                assert watch.seen
                yield f"data: {json.dumps(tell(watch.file, watch.seen))}\n\n"
                last = clock()
        except Unreached:
            watch.seen, watch.looks = before, 0  # what was not told is a change still
            watch.pause = min(watch.pause * 2, LONGEST_PAUSE)
        if watch.seen is None or not watch.seen.ended:
            heapq.heappush(queue, (clock() + watch.pause, number, watch))
