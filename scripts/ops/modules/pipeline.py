"""The pipeline: what it cannot be without, and dead letters that wait."""

from __future__ import annotations

from collections.abc import Iterator

from ..deadletters import DeadLetters
from ..look import Checks, Finding, Look

COUNTED = 1000  # dead letters, at most


def least(look: Look) -> dict[str, int]:
    return {
        "google_storage_bucket": 3,
        "google_storage_notification": 1,
        "google_pubsub_topic": 2,
        "google_pubsub_subscription": 2,
        "google_cloud_tasks_queue": sum(
            len(lane.queues) for lane in look.environment.config.lanes.values()
        ),
        "google_cloudfunctions2_function": 1,
        "google_service_account": 4,
    }


def dead_letters(look: Look) -> Iterator[Finding]:
    count = len(DeadLetters(look.clients, look.environment.dead_letters).peek(COUNTED))
    if count:
        many = f"{count} or more" if count >= COUNTED else str(count)
        what = f"{many} dead letter{'' if count == 1 else 's'} waiting, for at most 31 days"
        fix = look.ops("redrive --dead-letters --apply")
        yield Finding("error", "dead letters", what, fix)
    else:
        yield Finding("ok", "dead letters", "none wait")


CHECKS: Checks = {"dead letters": dead_letters}
