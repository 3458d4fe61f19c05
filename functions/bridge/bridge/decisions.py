"""Every decision that the bridge can take, in one table, and the rules that lead to each.

An answer of 2xx is final: the task is there, or the object is deliberately left alone. Any other
answer makes Pub/Sub deliver again, with back-off, ending in the dead-letter topic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bridge.notification import Notification
from bridge.settings import DEFAULT_LANE, Config


@dataclass(frozen=True, slots=True)
class Decision:
    reason: str
    event: str
    status: int
    severity: str
    message: str


TABLE = {
    decision.reason: decision
    for decision in (
        Decision("created", "enqueued", 200, "INFO", "task created"),
        Decision("delayed", "enqueued", 200, "INFO", "task created, for when the object is due"),
        Decision("already_exists", "enqueued", 200, "INFO", "the task was there already"),
        Decision("handed_over", "enqueued", 200, "INFO", "task created; its lane keeps no records"),
        Decision("not_finalize", "ignored", 200, "INFO", "not the event of a finished upload"),
        Decision("folder_marker", "ignored", 200, "INFO", "an empty object that marks a folder"),
        Decision("composite_part", "ignored", 200, "INFO", "a part of a parallel upload"),
        Decision("excluded_prefix", "ignored", 200, "INFO", "its prefix is excluded by a setting"),
        Decision("not_included", "ignored", 200, "INFO", "no included prefix matches"),
        Decision("malformed", "rejected", 400, "ERROR", "not a notification of Cloud Storage"),
        Decision("foreign_bucket", "rejected", 403, "ERROR", "another bucket's notification"),
        Decision("queue_throttled", "unavailable", 503, "WARNING", "Cloud Tasks asks to slow down"),
        Decision("queue_unavailable", "unavailable", 503, "WARNING", "Cloud Tasks gives no answer"),
        Decision("queue_refused", "unavailable", 503, "ERROR", "Cloud Tasks refuses the task"),
    )
}

_PARTS = ("gcloud/tmp/parallel_composite_uploads/", "/gsutil/tmp/parallel_composite_uploads/")

# The first rule that holds decides.
_RULES: tuple[tuple[str, Callable[[Notification, Config], bool]], ...] = (
    ("foreign_bucket", lambda n, c: n.work.bucket != c.uploads_bucket),
    ("not_finalize", lambda n, c: n.event_type != "OBJECT_FINALIZE"),
    ("folder_marker", lambda n, c: n.is_folder_marker),
    ("composite_part", lambda n, c: any(part in n.work.name for part in _PARTS)),
    ("excluded_prefix", lambda n, c: n.work.name.startswith(c.exclude_prefixes)),
    (
        "not_included",
        lambda n, c: bool(c.include_prefixes) and not n.work.name.startswith(c.include_prefixes),
    ),
)


def rejection(notification: Notification, config: Config) -> Decision | None:
    """Why no task is made for it; None when one is."""
    for reason, holds in _RULES:
        if holds(notification, config):
            return TABLE[reason]
    return None


def lane_of(notification: Notification, config: Config) -> str:
    """The lane with the longest matching prefix, else with the declared type, else `default`.

    A content type of a lane ends in `/*` to mean a whole family.
    """
    name = notification.work.name
    prefixes = [
        (len(prefix), lane)
        for lane, row in config.lanes.items()
        for prefix in row.prefixes
        if name.startswith(prefix)
    ]
    if prefixes:
        return max(prefixes)[1]
    declared = str(notification.resource.get("contentType", "")).partition(";")[0].strip().lower()
    family = declared.partition("/")[0] + "/*"
    for wanted in (declared, family):
        for lane, row in config.lanes.items():
            if wanted in row.content_types:
                return lane
    return DEFAULT_LANE
