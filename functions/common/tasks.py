"""The task that stands for one piece of work: its name, body and target.

The body's JSON Schema is docs/schemas/task.schema.json: a lane may name any HTTPS target.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.identity import Work

# What a task carries of the object resource that Cloud Storage sent.
OBJECT_FIELDS = (
    "bucket", "name", "generation", "size", "contentType", "contentEncoding", "crc32c", "md5Hash",
    "timeCreated", "metadata",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lane:
    """A queue and the target behind it. records = False: the target keeps no records."""

    queue: str
    url: str
    audience: str
    dispatch_deadline_seconds: int
    prefixes: tuple[str, ...] = ()
    content_types: tuple[str, ...] = ()
    records: bool = True

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Lane:
        """Raises KeyError for a missing field."""
        return cls(
            queue=row["queue"],
            url=row["url"],
            audience=row["audience"],
            dispatch_deadline_seconds=int(row["dispatch_deadline_seconds"]),
            prefixes=tuple(row.get("prefixes") or ()),
            content_types=tuple(row.get("content_types") or ()),
            records=row.get("records", True),
        )


def task_for(
    work: Work,
    resource: Mapping[str, Any],
    lane_name: str,
    lane: Lane,
    results_bucket: str,
    invoker: str,
) -> dict[str, Any]:
    """The Task message, as the client library takes it, of `work` over the object `resource`."""
    body: dict[str, Any] = {
        "object": {field: resource[field] for field in OBJECT_FIELDS if field in resource},
        "run": work.run,
        "lane": lane_name,
    }
    if lane.records:
        body["records"] = {
            "manifest": f"gs://{results_bucket}/{work.manifest}",
            "failure": f"gs://{results_bucket}/{work.failure}",
        }
    return {
        "name": f"{lane.queue}/tasks/{work.task_id}",
        "dispatch_deadline": {"seconds": lane.dispatch_deadline_seconds},
        "http_request": {
            "http_method": "POST",
            "url": lane.url,
            "headers": {"Content-Type": "application/json"},
            "body": json.dumps(body).encode(),
            "oidc_token": {"service_account_email": invoker, "audience": lane.audience},
        },
    }
