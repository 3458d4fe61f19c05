"""When a job of Cloud Scheduler is due: unix-cron on the clocks of a time zone.

The schedule is of wall-clock time: what falls into the hour that is skipped in spring is left out,
what falls into the hour that is repeated in autumn comes twice.
https://docs.cloud.google.com/scheduler/docs/configuring/cron-job-schedules
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ...core.errors import ApiError, not_implemented

ITEM = r"(\*|\d+|[A-Za-z]{3})(-(\d+|[A-Za-z]{3}))?(/\d+)?"
FIELDS = re.compile(rf"({ITEM}(,{ITEM})*)(\s+{ITEM}(,{ITEM})*){{4}}")
SHIFT = timedelta(hours=3)  # more than any zone's clocks are moved by


def zone(name: str) -> ZoneInfo:
    """Raises ApiError 400 for what the tz database does not have."""
    try:
        return ZoneInfo("UTC" if name.lower() == "utc" else name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ApiError(400, f"Time zone is invalid: {name!r}. It is one of the tz database, "
                            "such as Europe/Berlin.") from error  # fmt: skip


def check(schedule: str) -> None:
    """Raises ApiError 400 for what is not unix-cron; 501 for Google's English-like schedules."""
    from cronsim import CronSim, CronSimError  # clouds without a schedule do without it

    if re.match(r"every\b|\d+(st|nd|rd|th)\b", schedule):
        raise not_implemented("English-like schedules of Cloud Scheduler")
    try:
        if not FIELDS.fullmatch(schedule.strip()):
            raise CronSimError("five fields of digits, names, * , - and /")
        CronSim(schedule, datetime(2026, 1, 1))
    except CronSimError as error:
        raise ApiError(400, f"Schedule or time zone is invalid: {schedule!r}: {error}") from error


def next_time(schedule: str, tz: ZoneInfo, after: float) -> float | None:
    """The first instant later than `after` (seconds since the epoch); None: there is none."""
    from cronsim import CronSim

    start = datetime.fromtimestamp(after, tz).replace(tzinfo=None) - SHIFT
    best: float | None = None
    limit: datetime | None = None
    for wall in CronSim(schedule, start):
        if limit and wall > limit:
            break
        for instant in _instants(wall, tz):
            if instant > after and (best is None or instant < best):
                best, limit = instant, limit or wall + SHIFT
    return best


def _instants(wall: datetime, tz: ZoneInfo) -> set[float]:
    """When clocks show this: once, twice or never."""
    found = set()
    for fold in (0, 1):
        instant = wall.replace(tzinfo=tz, fold=fold).timestamp()
        if datetime.fromtimestamp(instant, UTC).astimezone(tz).replace(tzinfo=None) == wall:
            found.add(instant)
    return found
