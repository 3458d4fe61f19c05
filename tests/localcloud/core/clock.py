"""The one clock of the local cloud: real by default, moved forward on request.

Everything that Google would time (back-off, retention, task schedules, lifecycle) asks this clock.
`advance` jumps from timer to timer while nothing is in flight, so an hour's back-off costs
milliseconds and every step in between still happens in order. Tokens live on real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch → '2026-11-21T09:08:07.123456Z'."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


class Timer:
    """A callback at a time; `cancel` makes it do nothing."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self.cancelled = when, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    def __init__(self) -> None:
        self.offset = 0.0
        self.in_flight = 0
        self._timers: list[tuple[float, int, Timer]] = []
        self._serial = itertools.count()
        self._armed: asyncio.TimerHandle | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._last = 0.0
        self._fired = 0

    def now(self) -> float:
        """Seconds since the epoch, as the local cloud sees them."""
        return time.time() + self.offset

    def timestamp(self) -> str:
        return rfc3339(self.now())

    def tick_micros(self) -> int:
        """The present in microseconds, never the same twice: generations and metagenerations."""
        self._last = max(self._last + 1, int(self.now() * 1_000_000))
        return int(self._last)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(when, callback)
        heapq.heappush(self._timers, (when, next(self._serial), timer))
        self._arm()
        return timer

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self.call_at(self.now() + seconds, callback)

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.call_later(seconds, lambda: None if woken.done() else woken.set_result(None))
        await woken

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Marks work in flight: `advance` and `idle` wait until there is none."""
        self.in_flight += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._quiet.set()

    async def idle(self, horizon: float = 0.0) -> None:
        """Returns when nothing is in flight and no timer is due within `horizon` seconds."""
        while True:
            await self._rest()
            due = self.next_due()
            if due is None or due > self.now() + horizon:
                return
            await asyncio.sleep(min(0.05, max(0.001, due - self.now())))

    async def advance(self, seconds: float) -> None:
        """Lets `seconds` pass: each timer on the way fires at its time, and what it starts ends."""
        target = self.now() + seconds
        while True:
            await self._rest()
            due = self.next_due()
            if due is None or due > target:
                break
            self.offset += max(0.0, due - self.now())
            self._fire()
        self.offset += max(0.0, target - self.now())
        self._arm()

    def next_due(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    async def _rest(self) -> None:
        """Nothing is in flight, what was written is read, and nothing came due by itself meanwhile:
        what that started may not have its turn of the loop yet."""
        while True:
            await self._settle()
            fired = self._fired
            await _written_is_read()
            if not self.in_flight and fired == self._fired:
                return

    async def _settle(self) -> None:
        # Freshly created tasks need a turn of the loop before they count as in flight.
        for _ in range(3):
            await asyncio.sleep(0)
        while self.in_flight:
            await self._quiet.wait()
            for _ in range(3):
                await asyncio.sleep(0)

    def _arm(self) -> None:
        if self._armed:
            self._armed.cancel()
            self._armed = None
        due = self.next_due()
        if due is not None:
            loop = asyncio.get_running_loop()
            self._armed = loop.call_later(max(0.0, due - self.now()), self._fire)

    def _fire(self) -> None:
        now = self.now()
        while (due := self.next_due()) is not None and due <= now:
            self._fired += 1
            heapq.heappop(self._timers)[2].callback()
        self._arm()


async def _written_is_read() -> None:
    """What functions wrote before they answered lies in pipes: read in the loop's next turns."""
    for _ in range(5):
        await asyncio.sleep(0)
