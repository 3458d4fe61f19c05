"""Which objects a command is about: by prefix and by time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sweep.listing import ALIKE_BYTES

from .problems import Problem

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Filter:
    """since ≤ time < until; None leaves an end open."""

    prefix: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if len(self.prefix.encode()) > ALIKE_BYTES:
            raise Problem(f"--prefix is longer than {ALIKE_BYTES} bytes")

    def takes(self, time: datetime) -> bool:
        return (self.since is None or time >= self.since) and (
            self.until is None or time < self.until
        )


def moment(text: str) -> datetime:
    """A point in time: 2026-11-21, 2026-11-21T10:00Z (UTC unless it says otherwise), or 2h ago."""
    if match := re.fullmatch(r"(\d+)([smhd])(?: ago)?", text):
        return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def span(text: str) -> timedelta:
    """A length of time: 90s, 15m, 2h, 7d, or 0."""
    if text == "0":
        return timedelta()
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise ValueError(f"{text} is no length of time")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
