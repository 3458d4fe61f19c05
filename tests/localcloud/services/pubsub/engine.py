"""The engine of Pub/Sub: messages on their way to each subscription, by push, pull or stream.

At least once and in no order, on the cloud's clock. A message that is not acknowledged comes back
after the subscription's back-off; a push is acknowledged by 102, 200, 201, 202 or 204 only.
Faults: pubsub.duplicate, pubsub.reorder, pubsub.lost_ack.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import itertools
import json
import math
from collections import deque
from collections.abc import Iterator
from typing import Any

from ...core import fields
from ...core.api import Json, Service
from ...core.clock import Timer, rfc3339
from ...core.errors import ApiError
from ...core.identity import Principal
from ...core.sending import send
from .filters import parse

ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})
DAY = 86400.0
# Without a retry policy Google redelivers at once, and slows pushes down between these, in seconds.
PUSH_BACKOFF = (0.1, 60.0)
# Pushes in flight per subscription: it starts low, grows with each success, halves on a failure.
WINDOW_START, WINDOW_MIN, WINDOW_MAX = 10.0, 4.0, 200.0
PULL_WAIT = 0.2  # real seconds that an empty pull waits for a message


class Message:
    """What was published once: `data` in base64, as it travels."""

    __slots__ = ("attributes", "data", "id", "published")

    def __init__(self, id: str, data: str, attributes: dict[str, str], published: float) -> None:
        self.id, self.data, self.attributes, self.published = id, data, attributes, published

    def json(self) -> Json:
        body: Json = {"messageId": self.id, "publishTime": rfc3339(self.published)}
        if self.data:
            body["data"] = self.data
        if self.attributes:
            body["attributes"] = self.attributes
        return body

    def where(self) -> dict[str, str]:
        """The object that a Cloud Storage notification is about, for the journal."""
        names = {"bucket": "bucketId", "object": "objectId", "generation": "objectGeneration"}
        return {k: self.attributes[v] for k, v in names.items() if v in self.attributes}


class Delivery:
    """One message on its way through one subscription."""

    __slots__ = ("attempt", "lease", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.attempt = 0  # deliveries begun
        self.lease: Timer | None = None


class Subscription:
    def __init__(self, name: str, spec: Json) -> None:
        self.name, self.spec = name, spec
        self.passes = parse(spec["filter"]) if spec.get("filter") else lambda _: True
        self.ready: deque[Delivery] = deque()
        self.leases: dict[str, Delivery] = {}  # pulled and not acknowledged, by ack id
        self.waiting: set[asyncio.Future[None]] = set()  # pulls that wait for a message
        self.streams: set[asyncio.Event] = set()  # streams that wait for something to send
        self.pushing, self.window = 0, WINDOW_START
        self.active = 0.0
        self.expiry: Timer | None = None
        self.alive = True

    def wake(self) -> None:
        """Whoever waits looks again."""
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_result(None)
        for stream in self.streams:
            stream.set()

    @property
    def endpoint(self) -> str:
        return str(self.spec.get("pushConfig", {}).get("pushEndpoint", ""))

    @property
    def ack_deadline(self) -> float:
        return float(self.spec["ackDeadlineSeconds"])

    def delay(self, attempt: int) -> float:
        """Seconds between the failure of delivery `attempt` (from 1) and the next one."""
        low, high = PUSH_BACKOFF if self.endpoint else (0.0, 0.0)
        if policy := self.spec.get("retryPolicy"):
            low = fields.seconds(policy["minimumBackoff"])
            high = fields.seconds(policy["maximumBackoff"])
        return min(low * 2.0 ** min(attempt - 1, 40), high)


class Engine(Service):
    """The part of Pub/Sub that works on its own."""

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.topics: dict[str, Json] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self._serial = itertools.count(10**15)
        self._acks = itertools.count(1)

    def exists(self, resource: str) -> bool:
        return resource in self.topics or resource in self.subscriptions

    def publish(
        self,
        topic: str,
        data: bytes,
        attributes: dict[str, str],
        principal: Principal | None = None,
    ) -> str:
        """Publishes one message in the name of `principal`; its id.

        Args:
            principal: None for a service agent, whose own role on the project suffices.

        Raises:
            ApiError: 403 without pubsub.topics.publish, 404 without such a topic.
        """
        if principal:
            self.cloud.iam.require(principal, "pubsub.topics.publish", topic)
        self._topic(topic)
        return self._publish(
            topic, {"data": base64.b64encode(data).decode(), "attributes": attributes}
        )

    def _publish(self, topic: str, body: Json) -> str:
        message = Message(
            str(next(self._serial)),
            body.get("data", ""),
            body.get("attributes") or {},
            self.cloud.clock.now(),
        )
        attached = list(self._attached(topic))
        # What a filter leaves out counts as acknowledged.
        subscriptions = [s for s in attached if s.passes(message.attributes)]
        if not attached:
            where = message.where()
            self.cloud.journal.write("pubsub.lost", topic=topic, message=message.id, **where)
        for subscription in subscriptions:
            if not subscription.endpoint:
                short = subscription.name.rpartition("/")[2]
                self.cloud.journal.write("pubsub.waiting", subscription=short, message=message.id)
            faults, about = self.cloud.faults, message.attributes.get("objectId", "")
            for _ in range(2 if faults.chance("pubsub.duplicate", about) else 1):
                late = faults.chance("pubsub.reorder", about)
                delay = 5.0 * faults.draw("pubsub.delay", about) if late else 0.0
                self._offer_after(delay, subscription, Delivery(message))
        return message.id

    def _remove(self, subscription: Subscription) -> None:
        subscription.alive = False
        subscription.wake()
        if subscription.expiry:
            subscription.expiry.cancel()
        for delivery in subscription.leases.values():
            release(delivery)
        del self.subscriptions[subscription.name]
        self.cloud.iam.forget(subscription.name)

    def _touch(self, subscription: Subscription) -> None:
        """Notes activity: a subscription that sees none for its ttl disappears."""
        subscription.active = self.cloud.clock.now()
        if subscription.expiry is None and subscription.spec["expirationPolicy"].get("ttl"):
            self._watch(subscription)

    def _watch(self, subscription: Subscription) -> None:
        subscription.expiry = None
        ttl = fields.seconds(subscription.spec["expirationPolicy"].get("ttl"))
        if not ttl or not subscription.alive:
            return
        if subscription.active + ttl <= self.cloud.clock.now():
            self.cloud.journal.write("pubsub.subscription_expired", subscription=subscription.name)
            self._remove(subscription)
        else:
            due = subscription.active + ttl
            again = functools.partial(self._watch, subscription)
            subscription.expiry = self.cloud.clock.call_at(due, again)

    def _offer_after(self, delay: float, subscription: Subscription, delivery: Delivery) -> None:
        offer = functools.partial(self._offer, subscription, delivery)
        if delay:
            self.cloud.clock.call_later(delay, offer)
        else:
            offer()

    def _offer(self, subscription: Subscription, delivery: Delivery) -> None:
        subscription.ready.append(delivery)
        self._pump(subscription)

    def _pump(self, subscription: Subscription) -> None:
        """Starts as many pushes as the window allows; wakes pulls."""
        if not subscription.alive:
            return
        if not subscription.endpoint:
            subscription.wake()
            return
        while subscription.ready and subscription.pushing < subscription.window:
            delivery = subscription.ready.popleft()
            if not self._outlived(subscription, delivery):
                subscription.pushing += 1
                self.cloud.house.spawn(self._push(subscription, delivery))

    def _outlived(self, subscription: Subscription, delivery: Delivery) -> bool:
        """Whether a message is past its retention; it is dropped then."""
        retention = fields.seconds(subscription.spec["messageRetentionDuration"])
        if delivery.message.published + retention > self.cloud.clock.now():
            return False
        self._note("pubsub.retention", subscription, delivery)
        return True

    async def _push(self, subscription: Subscription, delivery: Delivery) -> None:
        with self.cloud.clock.busy():
            delivery.attempt += 1
            started = self.cloud.clock.now()
            status = await self._send(subscription, delivery)
            acknowledged = status in ACKNOWLEDGED
            about = delivery.message.attributes.get("objectId", "")
            lost = acknowledged and self.cloud.faults.chance("pubsub.lost_ack", about)
            took = round(self.cloud.clock.now() - started, 4)
            more = {"lost_ack": True} if lost else {}
            self._note("pubsub.push", subscription, delivery, status=status, seconds=took, **more)
            subscription.pushing -= 1
            if acknowledged:
                subscription.window = min(subscription.window + 1, WINDOW_MAX)
                self._touch(subscription)
            else:
                subscription.window = max(subscription.window / 2, WINDOW_MIN)
            if lost or not acknowledged:
                # A lost answer is noticed at the ack deadline, a refusal at once.
                self._failed(subscription, delivery, subscription.ack_deadline if lost else 0.0)
            self._pump(subscription)

    async def _send(self, subscription: Subscription, delivery: Delivery) -> int | None:
        """One POST to the endpoint: the status, None when no answer came in time."""
        push, message = subscription.spec["pushConfig"], delivery.message.json()
        headers = {"Content-Type": "application/json", "User-Agent": "CloudPubSub-Google"}
        message |= {"message_id": message["messageId"], "publish_time": message["publishTime"]}
        body: Json = {"message": message, "subscription": subscription.name}
        if subscription.spec.get("deadLetterPolicy"):
            body["deliveryAttempt"] = delivery.attempt
        return await send(
            self.cloud,
            "pubsub",
            push["pushEndpoint"],
            "POST",
            headers,
            json.dumps(body).encode(),
            subscription.ack_deadline,
            push,
        )

    def _failed(self, subscription: Subscription, delivery: Delivery, noticed: float = 0.0) -> None:
        """A delivery was refused, or its ack deadline passed: dead letter, or once more later."""
        policy = subscription.spec.get("deadLetterPolicy", {})
        spent = delivery.attempt >= policy.get("maxDeliveryAttempts", math.inf)
        if spent and self._dead_letter(subscription, delivery, policy["deadLetterTopic"]):
            return
        delay = noticed + subscription.delay(delivery.attempt)
        self._offer_after(delay, subscription, delivery)

    def _dead_letter(self, subscription: Subscription, delivery: Delivery, topic: str) -> bool:
        """Forwards to the dead-letter topic as the service agent; False when that is refused."""
        _, project, _, short = subscription.name.split("/")
        agent = f"serviceAccount:service-{self.cloud.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
        message = delivery.message
        about = {
            "CloudPubSubDeadLetterSourceDeliveryCount": str(delivery.attempt),
            "CloudPubSubDeadLetterSourceSubscription": short,
            "CloudPubSubDeadLetterSourceSubscriptionProject": project,
            "CloudPubSubDeadLetterSourceTopicPublishTime": rfc3339(message.published),
        }
        try:
            for permission, on in (
                ("pubsub.subscriptions.consume", subscription.name),
                ("pubsub.topics.publish", topic),
            ):
                self.cloud.iam.require(Principal(agent), permission, on)
            self._topic(topic)
        except ApiError as error:
            refused = "pubsub.dead_letter_refused"
            self._note(refused, subscription, delivery, error=error.message)
            return False
        self._note("pubsub.dead_letter", subscription, delivery, topic=topic)
        attributes = message.attributes | about
        self._publish(topic, {"data": message.data, "attributes": attributes})
        return True

    def _take(self, subscription: Subscription, most: int) -> Iterator[Delivery]:
        while subscription.ready and most:
            delivery = subscription.ready.popleft()
            if not self._outlived(subscription, delivery):
                most -= 1
                yield delivery

    def lease(self, subscription: Subscription, most: int, deadline: float) -> list[Json]:
        """ReceivedMessages, each leased for `deadline` seconds."""
        return [self._lease(subscription, d, deadline) for d in self._take(subscription, most)]

    def _lease(self, subscription: Subscription, delivery: Delivery, deadline: float) -> Json:
        delivery.attempt += 1
        ack_id = f"{delivery.message.id}:{next(self._acks)}"
        subscription.leases[ack_id] = delivery
        self._extend(subscription, ack_id, deadline)
        self._note("pubsub.pull", subscription, delivery)
        received: Json = {"ackId": ack_id, "message": delivery.message.json()}
        if subscription.spec.get("deadLetterPolicy"):
            received["deliveryAttempt"] = delivery.attempt
        return received

    def _extend(self, subscription: Subscription, ack_id: str, seconds: float) -> None:
        delivery = subscription.leases[ack_id]
        release(delivery)
        expire = functools.partial(self._expire, subscription, ack_id)
        delivery.lease = self.cloud.clock.call_later(seconds, expire)

    def _expire(self, subscription: Subscription, ack_id: str) -> None:
        self._failed(subscription, subscription.leases.pop(ack_id))

    def _topic(self, name: str) -> Json:
        if name not in self.topics:
            raise ApiError(404, f"Resource not found (resource={name}).")
        return self.topics[name]

    def _attached(self, topic: str) -> Iterator[Subscription]:
        return (s for s in list(self.subscriptions.values()) if s.spec["topic"] == topic)

    def _note(self, kind: str, subscription: Subscription, delivery: Delivery, **more: Any) -> None:
        self.cloud.journal.write(
            kind,
            subscription=subscription.name.rpartition("/")[2],
            message=delivery.message.id,
            attempt=delivery.attempt,
            **delivery.message.where(),
            **more,
        )


def release(delivery: Delivery) -> None:
    if delivery.lease:
        delivery.lease.cancel()
        delivery.lease = None
