"""A Pub/Sub push request, read as a notification of Cloud Storage."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contract.identity import Work


class Malformed(Exception):
    """The request is not a notification of Cloud Storage with a JSON payload."""


@dataclass(frozen=True, slots=True)
class Notification:
    """resource is the object as Cloud Storage sent it: size and generation are strings."""

    event_type: str
    work: Work
    resource: Mapping[str, Any]
    message_id: str | None = None
    delivery_attempt: int | None = None

    @property
    def is_folder_marker(self) -> bool:
        return self.work.name.endswith("/") and self.resource.get("size") == "0"

    @classmethod
    def parse(cls, body: bytes) -> Notification:
        """Reads the push envelope. Raises Malformed with one sentence that says what is wrong."""
        envelope = _json_object(body, "the body")
        message = envelope.get("message")
        if not isinstance(message, dict):
            raise Malformed("the body has no message")
        attributes = message.get("attributes")
        if not isinstance(attributes, dict):
            raise Malformed("the message has no attributes")
        if attributes.get("payloadFormat") != "JSON_API_V1":
            raise Malformed("payloadFormat is not JSON_API_V1")
        try:
            data = base64.b64decode(message.get("data", ""), validate=True)
        except (ValueError, TypeError):
            raise Malformed("data is not base64") from None
        resource = _json_object(data, "data")
        try:
            work = Work(resource.get("bucket", ""), resource.get("name", ""),
                        resource.get("generation", ""))  # fmt: skip
        except ValueError as error:
            raise Malformed(f"data: {error}") from None
        claimed = tuple(attributes.get(k) for k in ("bucketId", "objectId", "objectGeneration"))
        if claimed != (work.bucket, work.name, work.generation):
            raise Malformed("attributes and data name different objects")
        return cls(
            event_type=str(attributes.get("eventType")),
            work=work,
            resource=resource,
            message_id=_of_type(str, message.get("messageId")),
            delivery_attempt=_of_type(int, envelope.get("deliveryAttempt")),
        )


def _json_object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise Malformed(f"{what} is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed(f"{what} is not a JSON object")
    return value


def _of_type(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) else None
