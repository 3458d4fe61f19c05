"""A task: the body of the HTTP POST that a lane's target receives.

Its JSON Schema is schemas/task.schema.json. A target writes one of the two records, as
contract.records has them, before it answers 2xx. Fields may be added; readers ignore what they do
not know.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NotRequired, TypedDict, cast

from contract.identity import Work
from contract.records import Source


class ObjectResource(TypedDict):
    """What a task carries of the object as Cloud Storage sent it; numbers are decimal strings."""

    bucket: str
    name: str
    generation: str
    size: NotRequired[str]
    contentType: NotRequired[str]
    contentEncoding: NotRequired[str]
    crc32c: NotRequired[str]
    md5Hash: NotRequired[str]
    timeCreated: NotRequired[str]
    metadata: NotRequired[dict[str, str]]


class RecordNames(TypedDict):
    """The gs:// URLs that this run may write."""

    manifest: str
    failure: str


class TaskBody(TypedDict):
    """enqueued: when the task was created. due: from when on the object was to be worked on, where
    not at once. fault: the reason of contract.reasons to fail it for. records is absent where the
    lane keeps none."""

    object: ObjectResource
    run: int
    lane: str
    enqueued: NotRequired[str]
    due: NotRequired[str]
    fault: NotRequired[str]
    records: NotRequired[RecordNames]


FIELDS = tuple(ObjectResource.__annotations__)


class Malformed(Exception):
    """The body names no piece of work."""


@dataclass(frozen=True, slots=True)
class Task:
    """source is the object as both records carry it; what the task does not tell is None.

    enqueued is the RFC 3339 time at which this task was created, due the one that it waited for,
    and fault the reason to fail it for.
    """

    work: Work
    source: Source
    enqueued: str | None = None
    due: str | None = None
    fault: str | None = None

    @classmethod
    def parse(cls, body: bytes) -> "Task":
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
        source = Source(
            bucket=work.bucket,
            name=work.name,
            generation=work.generation,
            size=int(size) if size and size.isascii() and size.isdigit() else None,
            contentType=_text(resource, "contentType"),
            crc32c=_text(resource, "crc32c"),
            created=_text(resource, "timeCreated"),
        )
        if metadata := _metadata(resource.get("metadata")):
            source["metadata"] = metadata
        told = (_text(task, field) for field in ("enqueued", "due", "fault"))
        return cls(work, source, *told)

    @property
    def since(self) -> str | None:
        """From when on its age counts: when it was due, else its upload."""
        return self.due or self.source["created"]

    @property
    def declared(self) -> str | None:
        """The declared type without parameters; None where it says nothing."""
        declared = (self.source["contentType"] or "").partition(";")[0].strip().lower()
        return None if declared in ("", "application/octet-stream") else declared


def body(
    work: Work,
    resource: Mapping[str, Any],
    lane: str,
    results_bucket: str | None,
    due: datetime | None = None,
    fault: str | None = None,
) -> TaskBody:
    """resource: the object as Cloud Storage sent it. results_bucket: None where the lane keeps no
    records."""
    carried = {field: resource[field] for field in FIELDS if field in resource}
    made = TaskBody(
        object=cast(ObjectResource, carried),
        run=work.run,
        lane=lane,
        enqueued=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if due is not None:
        made["due"] = due.isoformat()
    if fault is not None:
        made["fault"] = fault
    if results_bucket is not None:
        results = f"gs://{results_bucket}"
        made["records"] = RecordNames(
            manifest=f"{results}/{work.manifest}", failure=f"{results}/{work.failure}"
        )
    return made


def _metadata(given: Any) -> dict[str, str]:
    pairs = given.items() if isinstance(given, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _text(resource: Mapping[str, Any], field: str) -> str | None:
    value = resource.get(field)
    return value if isinstance(value, str) and len(value) < 1024 else None
