"""The sweep: Cloud Scheduler has it compare uploads with records, some thousands at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import functions_framework
from flask import Request

from bridge.settings import Config
from runtime.logs import Log
from runtime.once import once
from sweep.settings import Limits
from sweep.sweeping import Sweep, Unavailable

Answer = tuple[dict[str, Any], int]
SCHEDULED = "X-CloudScheduler-ScheduleTime"  # RFC 3339


@dataclass(frozen=True, slots=True)
class Sweeper:
    config: Config
    limits: Limits
    log: Log
    storage: Callable[[], Any]
    tasks: Callable[[], Any]


@once
def sweeper() -> Sweeper:
    from google.cloud import storage, tasks_v2

    config = Config.from_env()
    return Sweeper(
        config,
        Limits.from_env(),
        Log(config.project_id, config.hash_object_names),
        once(lambda: storage.Client(config.project_id)),
        once(lambda: tasks_v2.CloudTasksClient(transport="rest")),
    )


@functions_framework.http
def handle(request: Request) -> Answer:
    """GET → health; POST → what one call found, or 5xx for the same to be looked at again."""
    this = sweeper()
    if request.method != "POST":
        return {"status": "ok"}, 200
    now = scheduled(request.headers.get(SCHEDULED))
    try:
        sweep = Sweep(this.config, this.limits, this.log, this.storage(), this.tasks(), now)
        return sweep.run(), 200
    except Unavailable as error:
        return {"status": "unavailable", "detail": str(error)}, 503
    except Exception as error:
        this.log.write("ERROR", "sweep_failed", "this call ended early", error=error)
        return {"status": "failed"}, 500


def scheduled(header: str | None) -> datetime:
    """Google's time of the call, so that a repeated call looks at the same; else the clock's."""
    try:
        return datetime.fromisoformat(header or "").astimezone(UTC)
    except ValueError:
        return datetime.now(UTC)
