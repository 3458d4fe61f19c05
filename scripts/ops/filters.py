"""Which objects a command is about: by prefix and by time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from contract.identity import shortened
from sweep.listing import ALIKE_BYTES

from .problems import Problem

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Filter:
    """since ≤ time < until; None leaves an end open. name: this object alone; prefix: then the
    beginning of its name."""

    prefix: str = ""
    since: datetime | None = None
    until: datetime | None = None
    name: str = ""

    @classmethod
    def of_name(cls, name: str, since: datetime | None, until: datetime | None) -> Filter:
        return cls(name.encode()[:ALIKE_BYTES].decode(errors="ignore"), since, until, name)

    def __post_init__(self) -> None:
        if len(self.prefix.encode()) > ALIKE_BYTES:
            raise Problem(f"--prefix is longer than {ALIKE_BYTES} bytes")

    def names(self, name: str) -> bool:
        """Whether an object of this name is chosen."""
        return name == self.name if self.name else name.startswith(self.prefix)

    def keys(self, key: str) -> bool:
        """Whether a generation is, by its key; what is listed begins with the prefix already."""
        return not self.name or key.rpartition("/")[0] == shortened(self.name)

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
        raise ValueError(f"{text} is not a duration")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
