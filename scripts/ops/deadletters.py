"""The subscription of dead letters: events that the bridge did not take in all their deliveries."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from google.api_core import exceptions as api

from bridge.notification import Malformed, Notification

from .clients import Clients
from .problems import explained

BATCH = 100
PULL_SECONDS = 5.0
EMPTY_PULLS = 2  # in a row: Pub/Sub may answer "nothing" although there is something


class DeadLetter:
    """One message. notification is None, and fault says why, where it announces no upload.
    data: in base64."""

    def __init__(self, received: Any) -> None:
        message = received.message
        self.ack_id: str = received.ack_id
        self.message_id: str = message.message_id
        self.notification: Notification | None = None
        self.fault = ""
        self.attributes, self.data = (
            dict(message.attributes),
            base64.b64encode(message.data).decode(),
        )
        body = {
            "data": self.data,
            "attributes": self.attributes,
            "messageId": message.message_id,
        }
        try:
            self.notification = Notification.parse(json.dumps({"message": body}).encode())
        except Malformed as error:
            self.fault = str(error)


class DeadLetters:
    def __init__(self, clients: Clients, subscription: str) -> None:
        self._clients, self._subscription = clients, subscription

    def batches(self, size: int = BATCH) -> Iterator[list[DeadLetter]]:
        """Until nothing is left that is not held; each is held for the ack deadline, 60 s.

        Raises Problem.
        """
        empty = 0
        while empty < EMPTY_PULLS:
            received = self._call("pull", max_messages=size, timeout=PULL_SECONDS)
            messages = [] if received is None else list(received.received_messages)
            empty = 0 if messages else empty + 1
            if messages:
                yield [DeadLetter(message) for message in messages]

    def peek(self, limit: int) -> list[DeadLetter]:
        """At most `limit` of those that wait, which are let go again at once."""
        found: list[DeadLetter] = []
        try:
            for batch in self.batches(min(BATCH, limit)):
                found += batch
                if len(found) >= limit:
                    break
        finally:
            self.release(found)
        return found

    def acknowledge(self, letters: list[DeadLetter]) -> None:
        """They are dealt with, and gone."""
        for part in _parts(letters):
            self._call("acknowledge", ack_ids=part)

    def release(self, letters: list[DeadLetter]) -> None:
        """They wait again."""
        for part in _parts(letters):
            self._call("modify_ack_deadline", ack_ids=part, ack_deadline_seconds=0)

    def _call(self, method: str, timeout: float = 60, **request: Any) -> Any:
        """None when no answer came in time, which a pull of nothing may take."""
        request["subscription"] = self._subscription
        try:
            call = getattr(self._clients.subscriber, method)
            return call(request=request, timeout=timeout, retry=None)
        except api.DeadlineExceeded:
            return None
        except Exception as error:
            raise explained(error, self._subscription) or error from None


def _parts(letters: list[DeadLetter]) -> Iterator[list[str]]:
    for start in range(0, len(letters), 1000):
        yield [letter.ack_id for letter in letters[start : start + 1000]]
