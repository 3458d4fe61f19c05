"""What a client says of its file, checked against every rule before a byte is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bridge.decisions import lane_of, rejection
from bridge.delays import PROCESS_AFTER, place
from bridge.notification import Notification
from bridge.settings import Config as Rules
from contract.identity import Work
from portal.names import File, checked_name, new_id
from upload.settings import Config, Folder
from web.problems import Problem, bad

UNDECLARED = "application/octet-stream"
MAX_METADATA, MAX_METADATA_BYTES = 20, 2048
_FIELDS = (
    "name", "size", "contentType", "folder", "metadata", "processAfter", "owner", "origin",
)  # fmt: skip
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]{1,60}"
_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:; ?{_TOKEN}=(?:{_TOKEN}|\"[ !#-\[\]-~]{{0,80}}\"))*")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Offer:
    """A file that will be taken: its place in the uploads bucket, and what is written there."""

    file: File
    name: str
    size: int
    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def object(self) -> str:
        return self.file.prefix + self.name


def fields_of(body: bytes) -> dict[str, Any]:
    """The JSON body of POST /files. Raises Problem 400."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "bad_request", "The body must be JSON.") from None
    if not isinstance(fields, dict):
        raise Problem(400, "bad_request", "The body must be a JSON object.")
    if unknown := sorted(fields.keys() - set(_FIELDS)):
        raise bad(unknown[0][:60], f"is not known here; the fields are {', '.join(_FIELDS)}")
    return fields


def offer(
    fields: Mapping[str, Any], owner: str, key: str | None, config: Config, rules: Rules
) -> Offer:
    """Raises Problem: 400 names the field, 413 the limit, 415 the types that are taken."""
    folder_name, folder = _folder(fields.get("folder"), config)
    name = checked_name(fields.get("name"))
    content_type = _content_type(fields.get("contentType"))
    if not folder.takes(content_type):
        detail = f"The folder {folder_name} takes {', '.join(folder.types)}."
        raise Problem(415, "type_not_taken", detail, accepts=list(folder.types))
    size = _size(fields.get("size"), folder, folder_name)
    metadata = _metadata(fields.get("metadata"))
    after = _process_after(fields.get("processAfter"))
    file_id = new_id(key, owner, folder_name, name, size, content_type, after)
    if after:
        metadata[PROCESS_AFTER] = after
    made = Offer(File(folder_name, owner, file_id), name, size, content_type, metadata)
    _processed(made, after, rules)
    return made


def _processed(made: Offer, after: str | None, rules: Rules) -> None:
    """Asks the bridge's own rules: what it would leave alone is refused."""
    work = Work(rules.uploads_bucket, made.object, "1")
    resource = {"size": str(made.size), "contentType": made.content_type}
    notification = Notification("OBJECT_FINALIZE", work, resource)
    decision = rejection(notification, rules)
    if decision is not None:
        detail = f"The pipeline would not process it: {decision.message}."
        raise Problem(400, "not_processed", detail, rule=decision.reason)
    lane = rules.lanes[lane_of(notification, rules)]
    if not lane.records:
        detail = "Files of this folder and type end without a record, so nothing could be told of them; use another."  # noqa: E501
        raise Problem(415, "no_records", detail)
    if after and not lane.delays:
        raise bad("processAfter", "cannot be given for this folder: its lane takes no delays")
    created = datetime.now(UTC).isoformat()
    if place(lane, {"timeCreated": created, "metadata": made.metadata}).fault:
        days = lane.max_delay_seconds // 86400
        raise bad("processAfter", f"must be within {days} days")


def _folder(name: object, config: Config) -> tuple[str, Folder]:
    known = ", ".join(config.folders)
    if name is None and len(config.folders) == 1:
        name = next(iter(config.folders))
    if not isinstance(name, str) or name not in config.folders:
        raise bad("folder", f"must be one of {known}")
    return name, config.folders[name]


def _size(size: object, folder: Folder, name: str) -> int:
    if type(size) is not int or size < 0:
        raise bad("size", "must be the number of the file's bytes")
    if size > folder.max_bytes:
        detail = f"The folder {name} takes files of at most {folder.max_bytes} bytes."
        raise Problem(413, "file_too_large", detail, limit=folder.max_bytes)
    return size


def _content_type(declared: object) -> str:
    if declared in (None, ""):
        return UNDECLARED
    if not (isinstance(declared, str) and len(declared) <= 255 and _TYPE.fullmatch(declared)):
        raise bad("contentType", "must be a media type such as image/jpeg")
    return declared


def _metadata(given: object) -> dict[str, str]:
    if given is None:
        return {}
    if not (isinstance(given, dict) and all(isinstance(value, str) for value in given.values())):
        raise bad("metadata", "must be a JSON object of strings")
    for key, value in given.items():
        if not _KEY.fullmatch(key) or key.lower() == PROCESS_AFTER:
            raise bad(
                "metadata",
                "must have keys of 1 to 64 letters, digits, - and _, and not process-after",
            )
        if not value.isprintable():
            raise bad("metadata", f"has control characters under {key}")
    if len(given) > MAX_METADATA:
        raise bad("metadata", f"must have at most {MAX_METADATA} entries")
    if sum(len(key) + len(value.encode()) for key, value in given.items()) > MAX_METADATA_BYTES:
        raise bad("metadata", f"must have at most {MAX_METADATA_BYTES} bytes in all")
    return dict(given)


def _process_after(given: object) -> str | None:
    """RFC 3339 in UTC."""
    if given is None:
        return None
    try:
        if not (isinstance(given, str) and _TIME.fullmatch(given)):
            raise ValueError
        time = datetime.fromisoformat(given.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise bad("processAfter", "must be a time such as 2026-12-01T08:00:00Z") from None
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
