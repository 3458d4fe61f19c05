"""Room for the work of all requests of an instance, so that together they never pass its memory."""

from __future__ import annotations

import ctypes
import threading
from collections import deque

from processor.errors import PermanentError, TransientError


class Gate:
    """Hands out `capacity` bytes in the order of asking."""

    def __init__(self, capacity: int) -> None:
        self.capacity = max(capacity, 1)  # everybody holds something: alone is alone
        self._free = self.capacity
        self._turn = threading.Condition()
        self._queue: deque[Room] = deque()

    def room(self, need: int | None) -> Room:
        """None asks for all there is. Raises PermanentError for what can never fit."""
        size = self.capacity if need is None else max(need, 1)
        self.admit(size)
        return Room(self, size)

    def admit(self, size: int) -> None:
        if size > self.capacity:
            detail = f"Decoding takes {size >> 20} MiB; an instance has {self.capacity >> 20} MiB."
            raise PermanentError("image_too_large_for_memory", detail)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def take_aside(self, room: Room, seconds: float) -> bool:
        """As take, but whoever asks meanwhile comes first."""
        with self._turn:
            fits = self._turn.wait_for(
                lambda: not self._queue and room.size <= self._free, timeout=seconds
            )
            if fits:
                self._free -= room.size
            return fits

    def take(self, room: Room, seconds: float) -> bool:
        """Waits up to `seconds` for room; False when there was none."""
        with self._turn:
            self._queue.append(room)
            try:
                fits = self._turn.wait_for(
                    lambda: self._queue[0] is room and room.size <= self._free, timeout=seconds
                )
                if fits:
                    self._free -= room.size
                return fits
            finally:
                self._queue.remove(room)
                self._turn.notify_all()

    def change(self, room: Room, size: int) -> bool:
        """Makes taken room smaller or, where that much is free, larger, without waiting."""
        with self._turn:
            if size - room.size > self._free:
                return False
            self._free -= size - room.size
            room.size = size
            self._turn.notify_all()
            return True


class Room:
    """Memory that one request holds, in bytes; a context manager that gives it back."""

    def __init__(self, gate: Gate, size: int) -> None:
        self.size, self.capacity = size, gate.capacity
        self._gate, self._taken = gate, False

    def take(self, seconds: float) -> bool:
        self._taken = self._gate.take(self, seconds)
        return self._taken

    def wait(self, seconds: float) -> None:
        """Raises TransientError no_room when none became free in that time."""
        if not self.take(seconds):
            raise TransientError("no_room", "No memory became free in time.")

    def alone(self, seconds: float) -> None:
        """Gives room back and takes all there is. Raises TransientError no_room."""
        self.__exit__(None, None, None)
        self.size = self.capacity
        self.wait(seconds)

    def grow(self, size: int, seconds: float) -> None:
        """Gives room back and takes so much. Raises TransientError no_room.

        It keeps nobody waiting: a file that took more than it told is not to cost its neighbours.
        """
        self.__exit__(None, None, None)
        self.size = size
        self._taken = self._gate.take_aside(self, seconds)
        if not self._taken:
            raise TransientError("no_room", "The file took more memory than it told.")

    def need(self, size: int) -> None:
        """What is now known to be needed. Raises PermanentError, TransientError no_room."""
        self._gate.admit(size)
        if not self._gate.change(self, size):
            raise TransientError("no_room", "The file needs more memory than its beginning told.")

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken:
            self._gate.change(self, 0)
            self._taken = False


def bound_allocator(arenas: int = 2) -> None:
    """Makes glibc give pictures back to the system once they are freed.

    By itself it raises its threshold with the first large block that is freed, and keeps what
    comes after in the heaps of its threads: 8 threads over mixed images with a limit of 512 MiB
    were measured at 701 MB, and at 394 MB with these settings. The price is a page fault for each
    4 KiB of every picture, which is why Terraform asks for larger pages (GLIBC_TUNABLES).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        trim_threshold, mmap_threshold, arena_max = -1, -3, -8
        mallopt(trim_threshold, 8 * 1024 * 1024)
        mallopt(mmap_threshold, 8 * 1024 * 1024)
        mallopt(arena_max, arenas)
