"""When an object is due: at once, after its lane's delay, or at the time that its metadata names.

Follows from the object and the lane's settings alone, so that whoever makes its task again, by a
second event or a redrive, finds it in the same queue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from bridge.settings import Lane

PROCESS_AFTER = "process-after"  # the key of the object's metadata
INVALID = "process_after_invalid"
# RFC 3339 (section 5.6), where a space may stand for the T.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Place(NamedTuple):
    """The queue of an object's task; when it is due, where that is not at once; and the reason to
    fail it for, where its own time cannot be followed."""

    queue: str
    due: datetime | None = None
    fault: str | None = None


def place(lane: Lane, resource: Mapping[str, Any]) -> Place:
    """Where the task of an object of this lane belongs."""
    if not lane.later:
        return Place(lane.queue)
    created = _created(resource)
    metadata = resource.get("metadata")
    wanted = metadata.get(PROCESS_AFTER) if isinstance(metadata, Mapping) else None
    due = created + timedelta(seconds=lane.delay_seconds)
    if lane.delays and wanted is not None:
        try:
            due = _time(wanted)
            too_late = due - created > timedelta(seconds=lane.max_delay_seconds)
        except (ValueError, OverflowError):
            return Place(lane.queue, fault=INVALID)
        if too_late:
            return Place(lane.queue, fault=INVALID)
    return Place(lane.later, due) if due > created else Place(lane.queue)


def _time(text: object) -> datetime:
    """Raises ValueError, OverflowError."""
    if not (isinstance(text, str) and _TIME.fullmatch(text)):
        raise ValueError("not an RFC 3339 time")
    return datetime.fromisoformat(text.upper()).astimezone(UTC)


def _created(resource: Mapping[str, Any]) -> datetime:
    try:
        return _time(resource.get("timeCreated"))
    except (ValueError, OverflowError):
        return datetime.now(UTC)
