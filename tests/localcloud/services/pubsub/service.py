"""The API of Pub/Sub: topics, push and pull subscriptions. What delivers is in engine.py."""

from __future__ import annotations

import asyncio
import json
import re

from ...core import fields
from ...core.api import Call, Json, rpc
from ...core.errors import ApiError, invalid, not_implemented
from ...core.identity import Principal
from ...core.sending import act_as
from .engine import DAY, PULL_WAIT, Engine, Subscription, release
from .streaming import Stream

NAME = re.compile(r"projects/[^/]+/(topics|subscriptions)/(?!goog)[A-Za-z][\w.~+%-]{2,254}")
# Fields that would change what happens and are not served: refused rather than ignored.
UNSERVED = {
    "topics": "ingestionDataSourceSettings messageRetentionDuration messageTransforms "
    "schemaSettings",
    "subscriptions": "bigqueryConfig bigtableConfig cloudStorageConfig enableExactlyOnceDelivery "
    "enableMessageOrdering messageTransforms retainAckedMessages",
}


NOT_SUPPORTED = "This method is not supported for this subscription type."


class PubSub(Engine):
    documents = ("pubsub.v1",)
    policies = {
        "pubsub.projects.topics": "pubsub.topics",
        "pubsub.projects.subscriptions": "pubsub.subscriptions",
    }

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

    # Pull

    @rpc("pubsub.projects.subscriptions.pull", "pubsub.subscriptions.consume", on="{subscription}")
    async def pull(self, call: Call) -> Json:
        subscription = self._subscription(call)
        most = int(call.body.get("maxMessages") or 0)
        if most < 1:
            raise ApiError(400, "You have passed a non-positive value for max_messages.")
        if subscription.endpoint:
            raise ApiError(400, NOT_SUPPORTED, "FAILED_PRECONDITION")
        self._touch(subscription)
        if not call.body.get("returnImmediately"):
            await self._message(subscription)
        received = self.lease(subscription, most, subscription.ack_deadline)
        return {"receivedMessages": received} if received else {}

    async def _message(self, subscription: Subscription) -> None:
        """Until there is one to be pulled, for a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PULL_WAIT
        while not subscription.ready and (left := until - loop.time()) > 0:
            waiter = loop.create_future()
            subscription.waiting.add(waiter)
            try:
                await asyncio.wait([waiter], timeout=left)
            finally:
                subscription.waiting.discard(waiter)

    def stream(self, first: Json, authorization: str | None) -> Stream:
        """A StreamingPull that begins with this request.

        Raises:
            ApiError: whatever is wrong with it.
        """
        principal = self.cloud.identity.authenticate(authorization)
        name = first.get("subscription", "")
        self.cloud.iam.require(principal, "pubsub.subscriptions.consume", name)
        subscription = self._named(name)
        if subscription.endpoint:
            raise ApiError(400, NOT_SUPPORTED, "FAILED_PRECONDITION")
        self._touch(subscription)
        self.cloud.journal.api(principal, "pubsub.streamingPull", {"subscription": name}, 200, "")
        return Stream(self, subscription, first)

    @rpc(
        "pubsub.projects.subscriptions.acknowledge",
        "pubsub.subscriptions.consume",
        on="{subscription}",
    )
    def acknowledge(self, call: Call) -> Json:
        self.acknowledge_ids(self._subscription(call), call.body["ackIds"])
        return {}

    def acknowledge_ids(self, subscription: Subscription, ack_ids: list[str]) -> None:
        for ack_id in ack_ids:
            delivery = subscription.leases.get(ack_id)
            # Acknowledging too late is not an error; the message comes again.
            if delivery is None or self.cloud.faults.chance("pubsub.lost_ack"):
                continue
            del subscription.leases[ack_id]
            release(delivery)
            self._note("pubsub.acknowledged", subscription, delivery)
        self._touch(subscription)
        subscription.wake()

    @rpc(
        "pubsub.projects.subscriptions.modifyAckDeadline",
        "pubsub.subscriptions.consume",
        on="{subscription}",
    )
    def modify_ack_deadline(self, call: Call) -> Json:
        seconds = int(call.body.get("ackDeadlineSeconds") or 0)
        self.modify_ids(self._subscription(call), call.body["ackIds"], seconds)
        return {}

    def modify_ids(self, subscription: Subscription, ack_ids: list[str], seconds: int) -> None:
        """Longer leases; with 0 seconds the messages come again at once."""
        _between("ack_deadline_seconds", seconds, 0, 600)
        for ack_id in ack_ids:
            if ack_id not in subscription.leases:
                continue
            if seconds:
                self._extend(subscription, ack_id, seconds)
            else:
                release(subscription.leases[ack_id])
                self._expire(subscription, ack_id)

    # Look-ups

    def _new_name(self, call: Call) -> str:
        name = str(call.params["name"])
        if not NAME.fullmatch(name):
            raise ApiError(400, f"Invalid resource name given (name={name}).")
        if self.exists(name):
            raise ApiError(409, f"Resource already exists in the project (resource={name}).")
        return name

    def _subscription(self, call: Call, parameter: str = "subscription") -> Subscription:
        return self._named(call.params[parameter])

    def _named(self, name: str) -> Subscription:
        if name not in self.subscriptions:
            raise ApiError(404, f"Resource not found (resource={name}).")
        return self.subscriptions[name]


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
