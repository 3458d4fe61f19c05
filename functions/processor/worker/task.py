"""The body of a task, as docs/schemas/task.schema.json describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.identity import Work


class Malformed(Exception):
    """The body names no piece of work."""


@dataclass(frozen=True, slots=True)
class Task:
    """size in bytes, None when unknown; created as Cloud Storage writes it."""

    work: Work
    size: int | None
    content_type: str | None
    crc32c: str | None
    created: str | None

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
        return cls(
            work=work,
            size=int(size) if size and size.isascii() and size.isdigit() else None,
            content_type=_text(resource, "contentType"),
            crc32c=_text(resource, "crc32c"),
            created=_text(resource, "timeCreated"),
        )

    @property
    def source(self) -> dict[str, Any]:
        """The source as both records carry it."""
        return {
            "bucket": self.work.bucket,
            "name": self.work.name,
            "generation": self.work.generation,
            "size": self.size,
            "contentType": self.content_type,
            "crc32c": self.crc32c,
            "created": self.created,
        }

    @property
    def declared(self) -> str | None:
        """The declared type without parameters; None where it says nothing."""
        declared = (self.content_type or "").partition(";")[0].strip().lower()
        return None if declared in ("", "application/octet-stream") else declared


def _text(resource: Mapping[str, Any], field: str) -> str | None:
    value = resource.get(field)
    return value if isinstance(value, str) and len(value) < 1024 else None
