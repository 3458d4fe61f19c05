"""Queues and tasks of Cloud Tasks as they are kept, in numbers."""

from __future__ import annotations

from ...core import fields
from ...core.api import Json
from ...core.clock import Timer
from ...core.retry import Retry

# Throttling by 429 and 503: the share of the rate that is left, halved at most once a second.
SHARE_MIN, SHARE_STEP = 1 / 16, 1.25


def retry_of(config: Json) -> Retry:
    """A queue's retryConfig, in numbers."""
    return Retry(
        int(config["maxAttempts"]),
        fields.seconds(config["minBackoff"]),
        fields.seconds(config["maxBackoff"]),
        int(config["maxDoublings"]),
        fields.seconds(config.get("maxRetryDuration")),
    )


def short(name: str) -> str:
    return name.rpartition("/")[2]


class Task:
    __slots__ = (
        "created", "deadline", "dispatched", "due", "eta", "executions", "first", "id", "last",
        "previous", "reason", "request", "responses",
    )  # fmt: skip

    def __init__(self, id: str, request: Json, created: float, due: float, deadline: float) -> None:
        self.id, self.request, self.created, self.deadline = id, request, created, deadline
        self.due: float | None = due  # when it is to be dispatched; None while it runs
        self.eta = due
        self.dispatched = self.responses = 0
        self.executions = 0  # answers that were no 5xx
        self.first = 0.0  # time of the first attempt
        self.last: Json = {}
        self.previous = self.reason = ""  # status of the attempt before, and why it failed


class Queue:
    def __init__(self, name: str, spec: Json, now: float) -> None:
        self.name, self.spec = name, spec
        self.tasks: dict[str, Task] = {}  # oldest first
        self.heap: list[tuple[float, int, Task]] = []  # by due time; stale entries are skipped
        self.blocked: dict[str, float] = {}  # names of past tasks → until when, soonest first
        self.running = 0
        self.timer: Timer | None = None  # of the next dispatch
        self.reaper: Timer | None = None  # of the oldest task's end of life
        self.share, self.halved = 1.0, 0.0
        self.refilled = now
        self.configure()
        self.tokens = self.burst

    def configure(self) -> None:
        """Reads the numbers out of the specification, after each change."""
        limits = self.spec["rateLimits"]
        self.rate = float(limits["maxDispatchesPerSecond"])
        self.burst = float(limits["maxBurstSize"])
        self.most = int(limits["maxConcurrentDispatches"])
        self.retry = retry_of(self.spec["retryConfig"])

    def wait(self, now: float) -> float:
        """Refills the token bucket; seconds until it holds a token."""
        rate = self.rate * self.share
        self.tokens = min(self.burst, self.tokens + (now - self.refilled) * rate)
        self.refilled = now
        return 0.0 if self.tokens >= 1 - 1e-6 else (1 - self.tokens) / rate

    def throttle(self, status: int | None, now: float) -> bool:
        """Takes note of an answer; whether it slowed the queue down."""
        if status in (429, 503):
            if now - self.halved < 1.0:
                return False
            self.wait(now)
            self.share, self.halved = max(self.share / 2, SHARE_MIN), now
            return True
        if status is not None and 200 <= status < 300 and self.share < 1:
            self.wait(now)
            self.share = min(self.share * SHARE_STEP, 1.0)
        return False
