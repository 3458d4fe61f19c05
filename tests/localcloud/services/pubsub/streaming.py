"""StreamingPull: messages go to a client as they come, over one gRPC stream.

What the client has not acknowledged counts against its own limit, as Google's flow control does;
acknowledgements come on the stream or by the unary methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ...core.api import Json
from ...core.errors import ApiError

if TYPE_CHECKING:
    from .engine import Delivery, Subscription
    from .service import PubSub

MANY = 1000  # messages of one answer, and of a client without a limit at a time


class Stream:
    """One stream of one subscription.

    Args:
        first: the first StreamingPullRequest, by JSON names.
    """

    def __init__(self, service: PubSub, subscription: Subscription, first: Json) -> None:
        self._service, self._subscription = service, subscription
        self._deadline = _seconds(first)
        self._most = int(first.get("maxOutstandingMessages") or 0) or MANY
        self._mine: dict[str, Delivery] = {}  # leased here, by ack id
        self._change = asyncio.Event()
        self.take(first)

    def take(self, request: Json) -> None:
        """A request after the first one: acknowledgements, longer deadlines."""
        service, subscription = self._service, self._subscription
        if request.get("ackIds"):
            service.acknowledge_ids(subscription, request["ackIds"])
        pairs = zip(
            request.get("modifyDeadlineAckIds", ()),
            request.get("modifyDeadlineSeconds", ()),
            strict=True,
        )
        for ack_id, seconds in pairs:
            service.modify_ids(subscription, [ack_id], int(seconds))
        if request.get("streamAckDeadlineSeconds"):
            self._deadline = _seconds(request)
        self._change.set()

    async def answers(self) -> AsyncIterator[Json]:
        """StreamingPullResponses, as messages come.

        Raises:
            ApiError: 404 once the subscription is deleted.
        """
        subscription = self._subscription
        while True:
            if not subscription.alive:
                raise ApiError(404, f"Resource not found (resource={subscription.name}).")
            self._mine = {k: d for k, d in self._mine.items() if subscription.leases.get(k) is d}
            room = min(self._most - len(self._mine), MANY)
            received = self._service.lease(subscription, room, self._deadline) if room > 0 else []
            for item in received:
                self._mine[item["ackId"]] = subscription.leases[item["ackId"]]
            if received:
                yield {"receivedMessages": received}
            else:
                await self._wait()

    async def _wait(self) -> None:
        """Until there may be something to send: a message, room for one, or the end."""
        self._change.clear()
        self._subscription.streams.add(self._change)
        try:
            await self._change.wait()
        finally:
            self._subscription.streams.discard(self._change)


def _seconds(request: Json) -> float:
    seconds = int(request.get("streamAckDeadlineSeconds") or 0)
    if not 10 <= seconds <= 600:
        raise ApiError(400, "stream_ack_deadline_seconds must be in [10, 600].")
    return float(seconds)
