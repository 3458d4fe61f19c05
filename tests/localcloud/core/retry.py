"""Back-off as Cloud Tasks and Cloud Scheduler have it in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retry:
    """Limits of retrying; times in seconds.

    Attributes:
        attempts: how many in all, the first one counted; -1: any number.
        low, high: the shortest and the longest pause; doublings: how often it doubles.
        duration: from the first attempt on; 0: no limit.
    """

    attempts: int
    low: float
    high: float
    doublings: int
    duration: float

    def delay(self, attempt: int) -> float:
        """Seconds from the failure of `attempt` (from 1) to the next one.

        Doubled `doublings` times, then linear, then capped: 10 s, 300 s, 3 doublings are
        10, 20, 40, 80, 160, 240, 300, 300 …
        """
        step = self.low * 2.0 ** min(attempt - 1, self.doublings)
        return min(step * max(1, attempt - self.doublings), self.high)

    def over(self, attempt: int, since_first: float) -> bool:
        """Whether no further attempt is made after `attempt` failed.

        Both limits must be passed; a duration of 0 leaves the attempts strict. With unlimited
        attempts (-1) a duration is taken as the only limit, which is inferred.
        """
        if self.attempts < 0:
            return bool(self.duration) and since_first >= self.duration
        return attempt >= self.attempts and since_first >= self.duration
