"""A pull subscription: take messages, keep them, acknowledge them or give them back."""

from __future__ import annotations

import json
from dataclasses import dataclass

from batch.tasks import Invalid, TaskId

LEASE_SECONDS = 600  # Pub/Sub's maximum, and what the subscription declares
PULL_SECONDS = 5.0  # a worker that is to end has 10 s, of which it may spend these waiting


@dataclass(frozen=True, slots=True)
class Message:
    """task: None where the message names none. attempt: of its deliveries, from 1."""

    ack_id: str
    task: TaskId | None
    attempt: int


class Subscription:
    """Over Google's client, whose errors it lets through."""

    def __init__(self, name: str) -> None:
        from google.cloud.pubsub_v1 import SubscriberClient

        self._client, self._name = SubscriberClient(), name

    def pull(self, most: int) -> list[Message]:
        """Empty where none came in time."""
        from google.api_core.exceptions import DeadlineExceeded

        try:
            answer = self._client.pull(
                request={"subscription": self._name, "max_messages": most}, timeout=PULL_SECONDS
            )
        except DeadlineExceeded:
            return []
        return [
            Message(one.ack_id, _task(one.message.data), one.delivery_attempt or 1)
            for one in answer.received_messages
        ]

    def acknowledge(self, messages: list[Message]) -> None:
        ids = [message.ack_id for message in messages]
        self._client.acknowledge(request={"subscription": self._name, "ack_ids": ids})

    def extend(self, messages: list[Message], seconds: int = LEASE_SECONDS) -> None:
        """Keeps them for so long from now on; 0 gives them back."""
        self._client.modify_ack_deadline(
            request={
                "subscription": self._name,
                "ack_ids": [message.ack_id for message in messages],
                "ack_deadline_seconds": seconds,
            }
        )


def _task(data: bytes) -> TaskId | None:
    try:
        return TaskId.parse(json.loads(data)["task_id"])
    except (ValueError, KeyError, TypeError, RecursionError, Invalid):
        return None
