"""Pub/Sub: topics, push and pull subscriptions, dead letters.

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
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from ...core import fields
from ...core.api import Call, Json, Service, rpc
from ...core.clock import Timer, rfc3339
from ...core.errors import ApiError, invalid, not_implemented
from ...core.identity import Principal
from ...core.sending import act_as, send
from .filters import parse

ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})
DAY = 86400.0
# Without a retry policy Google redelivers at once, and slows pushes down between these, in seconds.
PUSH_BACKOFF = (0.1, 60.0)
# Pushes in flight per subscription: it starts low, grows with each success, halves on a failure.
WINDOW_START, WINDOW_MIN, WINDOW_MAX = 10.0, 4.0, 200.0
PULL_WAIT = 0.2  # real seconds that an empty pull waits for a message
NAME = re.compile(r"projects/[^/]+/(topics|subscriptions)/(?!goog)[A-Za-z][\w.~+%-]{2,254}")
# Fields that would change what happens and are not served: refused rather than ignored.
UNSERVED = {
    "topics": "ingestionDataSourceSettings kmsKeyName messageRetentionDuration messageTransforms "
    "schemaSettings",
    "subscriptions": "bigqueryConfig bigtableConfig cloudStorageConfig enableExactlyOnceDelivery "
    "enableMessageOrdering messageTransforms retainAckedMessages",
}


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
        self.pushing, self.window = 0, WINDOW_START
        self.active = 0.0
        self.expiry: Timer | None = None
        self.alive = True

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


class PubSub(Service):
    documents = ("pubsub.v1",)
    policies = {
        "pubsub.projects.topics": "pubsub.topics",
        "pubsub.projects.subscriptions": "pubsub.subscriptions",
    }

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.topics: dict[str, Json] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self._serial = itertools.count(10**15)
        self._acks = itertools.count(1)

    def exists(self, resource: str) -> bool:
        return resource in self.topics or resource in self.subscriptions

    def snapshot(self) -> list[str]:
        return [*self.topics, *self.subscriptions]

    # Topics

    @rpc("pubsub.projects.topics.create", "pubsub.topics.create", on=lambda c: _project(c, "name"))
    def create_topic(self, call: Call) -> Json:
        name = self._new_name(call)
        self.topics[name] = _served("topics", call.body) | {"name": name, "state": "ACTIVE"}
        return self.topics[name]

    @rpc("pubsub.projects.topics.get", "pubsub.topics.get", on="{topic}")
    def get_topic(self, call: Call) -> Json:
        return self._topic(call.params["topic"])

    @rpc("pubsub.projects.topics.patch", "pubsub.topics.update", on="{name}")
    def patch_topic(self, call: Call) -> Json:
        topic = self._topic(call.params["name"])
        changed = dict(topic)
        fields.update(changed, call.body.get("topic") or {}, _mask(call))
        self.topics[call.params["name"]] = changed = _served("topics", changed)
        return changed

    @rpc("pubsub.projects.topics.delete", "pubsub.topics.delete", on="{topic}")
    def delete_topic(self, call: Call) -> Json:
        self._topic(call.params["topic"])
        for subscription in self._attached(call.params["topic"]):
            subscription.spec["topic"] = "_deleted-topic_"
        del self.topics[call.params["topic"]]
        self.cloud.iam.forget(call.params["topic"])
        return {}

    @rpc("pubsub.projects.topics.list", "pubsub.topics.list", on="{project}")
    def list_topics(self, call: Call) -> Json:
        prefix = call.params["project"] + "/"
        mine = ((n, t) for n, t in self.topics.items() if n.startswith(prefix))
        return fields.page("topics", mine, call.params, 1000)

    @rpc("pubsub.projects.topics.publish", "pubsub.topics.publish", on="{topic}")
    def publish_messages(self, call: Call) -> Json:
        self._topic(call.params["topic"])
        messages = call.body.get("messages") or []
        if not 0 < len(messages) <= 1000:
            raise ApiError(400, "The value for message_count must be between 1 and 1000.")
        for message in messages:
            if not message.get("data") and not message.get("attributes"):
                raise ApiError(400, "Some messages have neither data nor attributes.")
            if len(message.get("data", "")) > 10 * 1024 * 1024 * 4 // 3:
                raise ApiError(400, "The value for message data is too large (10 MB).")
        return {"messageIds": [self._publish(call.params["topic"], m) for m in messages]}

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
            faults, about = self.cloud.faults, message.attributes.get("objectId", "")
            for _ in range(2 if faults.chance("pubsub.duplicate", about) else 1):
                late = faults.chance("pubsub.reorder", about)
                delay = 5.0 * faults.draw("pubsub.delay", about) if late else 0.0
                self._offer_after(delay, subscription, Delivery(message))
        return message.id

    # Subscriptions

    @rpc(
        "pubsub.projects.subscriptions.create",
        "pubsub.subscriptions.create",
        on=lambda c: _project(c, "name"),
    )
    def create_subscription(self, call: Call) -> Json:
        name = self._new_name(call)
        topic = call.body.get("topic", "")
        self.cloud.iam.require(call.principal, "pubsub.topics.attachSubscription", topic)
        self._topic(topic)
        subscription = Subscription(name, self._complete(name, call.body, call.principal))
        self.subscriptions[name] = subscription
        self._touch(subscription)
        return subscription.spec

    @rpc("pubsub.projects.subscriptions.get", "pubsub.subscriptions.get", on="{subscription}")
    def get_subscription(self, call: Call) -> Json:
        return self._subscription(call).spec

    @rpc("pubsub.projects.subscriptions.patch", "pubsub.subscriptions.update", on="{name}")
    def patch_subscription(self, call: Call) -> Json:
        subscription = self._subscription(call, "name")
        mask = _mask(call)
        changed = json.loads(json.dumps(subscription.spec))
        fields.update(changed, call.body.get("subscription") or {}, mask)
        for fixed in ("name", "topic", "filter"):
            if changed.get(fixed) != subscription.spec.get(fixed):
                raise ApiError(400, f"The field {fixed} cannot be changed.")
        if "expirationPolicy" in mask:
            changed.setdefault("expirationPolicy", {})
        self._change(subscription, changed, call.principal)
        return subscription.spec

    @rpc(
        "pubsub.projects.subscriptions.modifyPushConfig",
        "pubsub.subscriptions.update",
        on="{subscription}",
    )
    def modify_push_config(self, call: Call) -> Json:
        subscription = self._subscription(call)
        changed = subscription.spec | {"pushConfig": call.body.get("pushConfig") or {}}
        self._change(subscription, changed, call.principal)
        return {}

    @rpc("pubsub.projects.subscriptions.delete", "pubsub.subscriptions.delete", on="{subscription}")
    def delete_subscription(self, call: Call) -> Json:
        self._remove(self._subscription(call))
        return {}

    @rpc("pubsub.projects.subscriptions.list", "pubsub.subscriptions.list", on="{project}")
    def list_subscriptions(self, call: Call) -> Json:
        prefix = call.params["project"] + "/"
        mine = ((n, s.spec) for n, s in self.subscriptions.items() if n.startswith(prefix))
        return fields.page("subscriptions", mine, call.params, 1000)

    def _complete(self, name: str, body: Json, principal: Principal) -> Json:
        """A subscription's fields with Google's defaults; refuses what Google refuses."""
        spec = _served("subscriptions", body) | {"name": name, "state": "ACTIVE"}
        spec["ackDeadlineSeconds"] = int(spec.get("ackDeadlineSeconds") or 10)
        _between("ack_deadline_seconds", spec["ackDeadlineSeconds"], 10, 600)
        spec.setdefault("messageRetentionDuration", "604800s")
        retention = fields.seconds(spec["messageRetentionDuration"])
        _between("message_retention_duration", retention, 600, 31 * DAY)
        spec.setdefault("expirationPolicy", {"ttl": "2678400s"})
        if ttl := fields.seconds(spec["expirationPolicy"].get("ttl")):
            _between("expiration_policy.ttl", ttl, max(DAY, retention), 365 * DAY)
        if "retryPolicy" in spec:
            policy = {"minimumBackoff": "10s", "maximumBackoff": "600s"} | spec["retryPolicy"]
            high = fields.seconds(policy["maximumBackoff"])
            _between("retry_policy.maximum_backoff", high, 0, 600)
            low = fields.seconds(policy["minimumBackoff"])
            _between("retry_policy.minimum_backoff", low, 0, high)
            spec["retryPolicy"] = policy
        if policy := spec.get("deadLetterPolicy"):
            most = int(policy.get("maxDeliveryAttempts") or 5)
            _between("max_delivery_attempts", most, 5, 100)
            self._topic(policy.get("deadLetterTopic", ""))
            spec["deadLetterPolicy"] = policy | {"maxDeliveryAttempts": most}
        push = spec.setdefault("pushConfig", {})
        if "noWrapper" in push:
            raise not_implemented("pushConfig.noWrapper")
        if push.get("pushEndpoint") and not push["pushEndpoint"].startswith("https://"):
            raise ApiError(400, "Invalid push endpoint given: it must begin with https://.")
        if push.get("oidcToken"):
            act_as(self.cloud, principal, name, push["oidcToken"])
        return spec

    def _change(self, subscription: Subscription, changed: Json, principal: Principal) -> None:
        subscription.spec = self._complete(subscription.name, changed, principal)
        if subscription.expiry:
            subscription.expiry.cancel()
            subscription.expiry = None
        self._touch(subscription)
        self._pump(subscription)

    def _remove(self, subscription: Subscription) -> None:
        subscription.alive = False
        if subscription.expiry:
            subscription.expiry.cancel()
        for delivery in subscription.leases.values():
            _release(delivery)
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

    # Delivery

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
            for waiter in subscription.waiting:
                if not waiter.done():
                    waiter.set_result(None)
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

    # Pull

    @rpc("pubsub.projects.subscriptions.pull", "pubsub.subscriptions.consume", on="{subscription}")
    async def pull(self, call: Call) -> Json:
        subscription = self._subscription(call)
        most = int(call.body.get("maxMessages") or 0)
        if most < 1:
            raise ApiError(400, "You have passed a non-positive value for max_messages.")
        if subscription.endpoint:
            raise ApiError(
                400,
                "This method is not supported for this subscription type.",
                "FAILED_PRECONDITION",
            )
        self._touch(subscription)
        if not subscription.ready and not call.body.get("returnImmediately"):
            waiter = asyncio.get_running_loop().create_future()
            subscription.waiting.add(waiter)
            await asyncio.wait([waiter], timeout=PULL_WAIT)
            subscription.waiting.discard(waiter)
        received = [self._lease(subscription, d) for d in self._take(subscription, most)]
        return {"receivedMessages": received} if received else {}

    def _take(self, subscription: Subscription, most: int) -> Iterator[Delivery]:
        while subscription.ready and most:
            delivery = subscription.ready.popleft()
            if not self._outlived(subscription, delivery):
                most -= 1
                yield delivery

    def _lease(self, subscription: Subscription, delivery: Delivery) -> Json:
        delivery.attempt += 1
        ack_id = f"{delivery.message.id}:{next(self._acks)}"
        subscription.leases[ack_id] = delivery
        self._extend(subscription, ack_id, subscription.ack_deadline)
        self._note("pubsub.pull", subscription, delivery)
        received: Json = {"ackId": ack_id, "message": delivery.message.json()}
        if subscription.spec.get("deadLetterPolicy"):
            received["deliveryAttempt"] = delivery.attempt
        return received

    def _extend(self, subscription: Subscription, ack_id: str, seconds: float) -> None:
        delivery = subscription.leases[ack_id]
        _release(delivery)
        expire = functools.partial(self._expire, subscription, ack_id)
        delivery.lease = self.cloud.clock.call_later(seconds, expire)

    def _expire(self, subscription: Subscription, ack_id: str) -> None:
        self._failed(subscription, subscription.leases.pop(ack_id))

    @rpc(
        "pubsub.projects.subscriptions.acknowledge",
        "pubsub.subscriptions.consume",
        on="{subscription}",
    )
    def acknowledge(self, call: Call) -> Json:
        subscription = self._subscription(call)
        for ack_id in call.body["ackIds"]:
            delivery = subscription.leases.get(ack_id)
            # Acknowledging too late is no error; the message comes again.
            if delivery is None or self.cloud.faults.chance("pubsub.lost_ack"):
                continue
            del subscription.leases[ack_id]
            _release(delivery)
            self._note("pubsub.acknowledged", subscription, delivery)
        self._touch(subscription)
        return {}

    @rpc(
        "pubsub.projects.subscriptions.modifyAckDeadline",
        "pubsub.subscriptions.consume",
        on="{subscription}",
    )
    def modify_ack_deadline(self, call: Call) -> Json:
        subscription = self._subscription(call)
        seconds = int(call.body.get("ackDeadlineSeconds") or 0)
        _between("ack_deadline_seconds", seconds, 0, 600)
        for ack_id in call.body["ackIds"]:
            if ack_id not in subscription.leases:
                continue
            if seconds:
                self._extend(subscription, ack_id, seconds)
            else:
                _release(subscription.leases[ack_id])
                self._expire(subscription, ack_id)
        return {}

    # Look-ups

    def _new_name(self, call: Call) -> str:
        name = str(call.params["name"])
        if not NAME.fullmatch(name):
            raise ApiError(400, f"Invalid resource name given (name={name}).")
        if self.exists(name):
            raise ApiError(409, f"Resource already exists in the project (resource={name}).")
        return name

    def _topic(self, name: str) -> Json:
        if name not in self.topics:
            raise ApiError(404, f"Resource not found (resource={name}).")
        return self.topics[name]

    def _subscription(self, call: Call, parameter: str = "subscription") -> Subscription:
        name = call.params[parameter]
        if name not in self.subscriptions:
            raise ApiError(404, f"Resource not found (resource={name}).")
        return self.subscriptions[name]

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


def _project(call: Call, parameter: str) -> str:
    return "/".join(call.params[parameter].split("/")[:2])


def _mask(call: Call) -> str:
    mask = str(call.body.get("updateMask") or call.params.get("updateMask") or "")
    if not mask:
        raise invalid("Required parameter: updateMask", "updateMask", "required")
    return mask


def _served(kind: str, body: Json) -> Json:
    for field in UNSERVED[kind].split():
        if body.get(field):
            raise not_implemented(f"pubsub {kind} {field}")
    return {k: v for k, v in body.items() if v not in (None, "", False)}


def _between(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ApiError(400, f"The value for {what} must be in [{low:g}, {high:g}]: {value:g}.")


def _release(delivery: Delivery) -> None:
    if delivery.lease:
        delivery.lease.cancel()
        delivery.lease = None
