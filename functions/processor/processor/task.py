"""The body of a task, as contract/schemas/task.schema.json describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contract.identity import Work


class Malformed(Exception):
    """The body names no piece of work."""


@dataclass(frozen=True, slots=True)
class Task:
    """source is the object as both records carry it; what the task does not tell is None.

    enqueued is the RFC 3339 time at which this task was created.
    """

    work: Work
    source: Mapping[str, Any]
    enqueued: str | None = None

    @classmethod
    def parse(cls, body: bytes) -> Task:
        """Only the identity must be there. Raises Malformed with one sentence."""
        try:
            task = json.loads(body)
            if not (isinstance(task, dict) and isinstance(task.get("object"), dict)):
                raise Malformed("the body has no object")
            resource = task["object"]
            identity = (resource.get("bucket"), resource.get("name"), resource.get("generation"))
            work = Work(*identity, task.get("run", 0))
        except (ValueError, RecursionError) as error:
            raise Malformed(str(error)) from None
        size = _text(resource, "size")
        source: dict[str, Any] = {
            "bucket": work.bucket,
            "name": work.name,
            "generation": work.generation,
            "size": int(size) if size and size.isascii() and size.isdigit() else None,
            "contentType": _text(resource, "contentType"),
            "crc32c": _text(resource, "crc32c"),
            "created": _text(resource, "timeCreated"),
        }
        # What whoever uploaded wrote on the object, for whoever reads the record.
        if metadata := _metadata(resource.get("metadata")):
            source["metadata"] = metadata
        return cls(work, source, _text(task, "enqueued"))

    @property
    def declared(self) -> str | None:
        """The declared type without parameters; None where it says nothing."""
        declared = (self.source["contentType"] or "").partition(";")[0].strip().lower()
        return None if declared in ("", "application/octet-stream") else declared


def _metadata(given: Any) -> dict[str, str]:
    pairs = given.items() if isinstance(given, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _text(resource: Mapping[str, Any], field: str) -> str | None:
    value = resource.get(field)
    return value if isinstance(value, str) and len(value) < 1024 else None
