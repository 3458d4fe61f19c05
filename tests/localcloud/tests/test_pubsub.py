"""Pub/Sub of the local cloud: push, pull, back-off, dead letters; real clients."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
import requests
from google import pubsub_v1
from google.api_core import exceptions
from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.types import FlowControl
from google.oauth2.credentials import Credentials
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from tests.localcloud.client import OWNER, LocalCloud
from tests.localcloud.services.pubsub.engine import WINDOW_MAX, WINDOW_START
from tests.localcloud.services.pubsub.service import PubSub
from tests.localcloud.tests.helpers import Inside, Receiver, grpc_channel, receiver

Http = Callable[..., requests.Response]
DAY = 86400
HOST = "https://pubsub.googleapis.com/v1/"


@pytest.fixture
def target(cloud: LocalCloud, fresh: str) -> Iterator[Receiver]:
    with receiver(cloud, fresh) as one:
        yield one


class Bus:
    """A topic and its subscriptions over REST; all of it is deleted at the end."""

    def __init__(self, cloud: LocalCloud, http: Http, name: str, url: str) -> None:
        self.cloud, self.http, self.name, self.url = cloud, http, name, url
        self.project = f"projects/{cloud.project}"
        self.topic = f"{self.project}/topics/{name}"
        self.made: list[str] = []
        self.create(self.topic)

    def call(self, verb: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self.http(verb, HOST + path, json=body, **more)

    def create(self, name: str, body: Any = None) -> requests.Response:
        answer = self.call("PUT", name, body or {})
        assert answer.status_code == 200, answer.text
        self.made.append(name)
        return answer

    def subscribe(self, suffix: str = "sub", push: bool = True, **spec: Any) -> str:
        name = f"{self.project}/subscriptions/{self.name}-{suffix}"
        config = {"pushConfig": {"pushEndpoint": self.url}} if push else {}
        self.create(name, {"topic": self.topic} | config | spec)
        return name

    def publish(self, *data: str, **attributes: str) -> list[str]:
        messages = [{"data": base64.b64encode(d.encode()).decode()} for d in data]
        for message in messages if attributes else ():
            message["attributes"] = attributes  # type: ignore[assignment]
        answer = self.call("POST", f"{self.topic}:publish", {"messages": messages})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["messageIds"])

    def pull(self, subscription: str, most: int = 10) -> list[dict[str, Any]]:
        body = {"maxMessages": most, "returnImmediately": True}
        answer = self.call("POST", f"{subscription}:pull", body)
        assert answer.status_code == 200, answer.text
        return list(answer.json().get("receivedMessages", []))

    def acknowledge(self, subscription: str, *received: dict[str, Any]) -> None:
        body = {"ackIds": [r["ackId"] for r in received]}
        assert self.call("POST", f"{subscription}:acknowledge", body).status_code == 200

    def journal(self, kind: str) -> list[dict[str, Any]]:
        lines = self.cloud.journal(f"pubsub.{kind}")
        return [e for e in lines if e.get("subscription", "").startswith(self.name)]

    def delays(self) -> list[float]:
        """Seconds between deliveries."""
        times = [datetime.datetime.fromisoformat(e["time"]) for e in self.journal("push")]
        return [(b - a).total_seconds() for a, b in itertools.pairwise(times)]


@pytest.fixture
def bus(cloud: LocalCloud, http: Http, fresh: str, target: Receiver) -> Iterator[Bus]:
    one = Bus(cloud, http, fresh, target.url)
    yield one
    for name in reversed(one.made):
        http("DELETE", HOST + name)


# Push


def test_a_push_is_wrapped_and_named(bus: Bus, cloud: LocalCloud, target: Receiver) -> None:
    name = bus.subscribe()
    (id,) = bus.publish("hello", bucketId="b", objectId="o", objectGeneration="1")
    cloud.idle()
    (got,) = target.got
    assert got.headers["content-type"] == "application/json"
    message = got.body.pop("message")
    assert got.body == {"subscription": name}  # no deliveryAttempt without a dead-letter policy
    assert message["data"] == base64.b64encode(b"hello").decode()
    assert message["attributes"] == {"bucketId": "b", "objectId": "o", "objectGeneration": "1"}
    assert message["messageId"] == message["message_id"] == id
    assert message["publishTime"] == message["publish_time"]
    (entry,) = bus.journal("push")
    about = {"bucket": "b", "object": "o", "generation": "1", "attempt": 1, "status": 200}
    assert entry.items() >= about.items()


FILTER = 'attributes.status = "done" AND (NOT attributes:for OR hasPrefix(attributes.for, "cr"))'


def test_a_filter_lets_through_what_its_attributes_say(bus: Bus) -> None:
    name = bus.subscribe(push=False, filter=FILTER)
    for status, more in (("done", {}), ("failed", {}), ("done", {"for": "x"})):
        bus.publish("left out" if more or status == "failed" else "plain", status=status, **more)
    bus.publish("named", status="done", **{"for": "crm"})
    told = [base64.b64decode(one["message"]["data"]).decode() for one in bus.pull(name)]
    assert sorted(told) == ["named", "plain"]
    assert not bus.journal("lost")


def test_a_filter_stays_as_it_was_made(bus: Bus) -> None:
    name = bus.subscribe(push=False, filter=FILTER)
    body = {"subscription": {"filter": "attributes:x"}, "updateMask": "filter"}
    assert bus.call("PATCH", name, body).status_code == 400


def test_102_acknowledges_too() -> None:
    """No real server ends with it: the service alone is asked."""

    async def run() -> None:
        cloud = _inside()
        cloud.status = 102
        _publish(cloud)
        await cloud.clock.advance(700)
        assert len(cloud.got) == 1

    asyncio.run(run())


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_these_statuses_acknowledge(
    bus: Bus, cloud: LocalCloud, target: Receiver, status: int
) -> None:
    bus.subscribe()
    target.statuses(then=status)
    bus.publish("x")
    cloud.advance(700)
    assert [e["status"] for e in bus.journal("push")] == [status]


@pytest.mark.parametrize("status", [203, 206, 301, 400, 403, 404, 429, 500, 503, 0])
def test_all_others_redeliver(bus: Bus, cloud: LocalCloud, target: Receiver, status: int) -> None:
    bus.subscribe()
    target.statuses(status)
    bus.publish("x")
    cloud.advance(5)
    assert [e["status"] for e in bus.journal("push")] == [status or None, 200]


def test_backoff_doubles_between_its_bounds(bus: Bus, cloud: LocalCloud, target: Receiver) -> None:
    bus.subscribe(retryPolicy={"minimumBackoff": "10s", "maximumBackoff": "600s"})
    target.statuses(*[500] * 9)
    bus.publish("x")
    cloud.advance(DAY)
    assert bus.delays() == pytest.approx([10, 20, 40, 80, 160, 320, 600, 600, 600], abs=1)


def _inside(**spec: Any) -> Inside:
    """The service alone, with one push subscription."""
    cloud = Inside(PubSub)
    topic, name = "projects/p/topics/one", "projects/p/subscriptions/one"
    cloud.call("create_topic", {"name": topic})
    push = {"pushEndpoint": "https://x.example"}
    cloud.call("create_subscription", {"name": name}, topic=topic, pushConfig=push, **spec)
    return cloud


def _publish(cloud: Inside, number: int = 1) -> None:
    body = [{"data": "eA=="}] * number
    cloud.call("publish_messages", {"topic": "projects/p/topics/one"}, messages=body)


def test_an_answer_is_awaited_for_the_ack_deadline() -> None:
    async def run() -> None:
        cloud = _inside(ackDeadlineSeconds=60)
        _publish(cloud)
        await cloud.clock.advance(1)
        assert [got[2] for got in cloud.got] == [60]

    asyncio.run(run())


def test_pushes_in_flight_are_bounded_and_the_bound_grows_with_success() -> None:
    async def run() -> None:
        cloud = _inside()
        running, most, gate = 0, [0], asyncio.Event()

        async def invoke(*rest: Any) -> Any:
            nonlocal running
            running += 1
            most[-1] = max(most[-1], running)
            await gate.wait()
            await asyncio.sleep(0)
            running -= 1
            return SimpleNamespace(status=200)

        cloud.run.invoke = invoke
        _publish(cloud, 1000)
        await asyncio.sleep(0.01)
        assert most == [WINDOW_START]
        gate.set()
        await cloud.clock.idle()
        assert WINDOW_START < most[0] <= WINDOW_MAX

    asyncio.run(run())


def test_a_day_without_endpoint_spends_100_attempts_in_16_hours() -> None:
    async def run() -> None:
        retry = {"minimumBackoff": "10s", "maximumBackoff": "600s"}
        cloud = _inside(retryPolicy=retry)
        cloud.status = 503
        _publish(cloud)
        began = cloud.clock.now()
        await cloud.clock.advance(DAY)
        assert (cloud.got[99][0] - began) / 3600 == pytest.approx(15.7, abs=0.1)

    asyncio.run(run())


def test_a_stuck_message_holds_up_no_other(bus: Bus, cloud: LocalCloud, target: Receiver) -> None:
    bus.subscribe(retryPolicy={"minimumBackoff": "10s", "maximumBackoff": "600s"})
    poison = base64.b64encode(b"poison").decode()
    target.answer = lambda got: 500 if got.body["message"]["data"] == poison else 200
    bus.publish("poison", *(f"m{n}" for n in range(300)))
    cloud.idle()
    done = [e for e in bus.journal("push") if e["status"] == 200]
    assert len(done) == 300


def test_messages_are_dropped_at_their_retention(
    bus: Bus, cloud: LocalCloud, target: Receiver
) -> None:
    retry = {"minimumBackoff": "60s", "maximumBackoff": "600s"}
    bus.subscribe(messageRetentionDuration="3600s", retryPolicy=retry)
    target.statuses(then=500)
    bus.publish("x")
    cloud.advance(3 * 3600)
    assert 5 < len(bus.journal("push")) < 12
    assert len(bus.journal("retention")) == 1


def test_a_push_carries_the_token_of_the_subscriptions_account(
    bus: Bus, cloud: LocalCloud, target: Receiver
) -> None:
    email = _account(bus)
    oidc = {"serviceAccountEmail": email, "audience": "https://me"}
    bus.subscribe(pushConfig={"pushEndpoint": target.url, "oidcToken": oidc})
    bus.publish("x")
    cloud.idle()
    token = target.got[0].headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["email"], claims["aud"]) == (email, "https://me")
    assert claims["iss"] == "https://accounts.google.com"


def test_creating_a_push_with_a_token_needs_act_as(bus: Bus, cloud: LocalCloud) -> None:
    email = _account(bus)
    member = "user:deployer@example.com"
    editor = {"resource": bus.project, "role": "roles/pubsub.editor", "member": member}
    cloud.post("/bindings", editor | {"present": True})
    name = f"{bus.project}/subscriptions/{bus.name}-oidc"
    push = {"pushEndpoint": bus.url, "oidcToken": {"serviceAccountEmail": email}}
    body = {"topic": bus.topic, "pushConfig": push}
    refused = bus.call("PUT", name, body, member=member)
    assert refused.status_code == 403
    assert "iam.serviceAccounts.actAs" in refused.text
    account = f"{bus.project}/serviceAccounts/{email}"
    user = {"resource": account, "role": "roles/iam.serviceAccountUser", "member": member}
    cloud.post("/bindings", user | {"present": True})
    assert bus.call("PUT", name, body, member=member).status_code == 200
    bus.made.append(name)
    cloud.post("/bindings", editor | {"present": False})


# Dead letters


def _agent(cloud: LocalCloud, http: Http) -> str:
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{cloud.project}"
    number = http("GET", url).json()["projectNumber"]
    return f"serviceAccount:service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"


@pytest.fixture
def dead(bus: Bus) -> str:
    """A dead-letter topic with a subscription to pull from."""
    topic = f"{bus.topic}-dead"
    bus.create(topic)
    name = f"{bus.project}/subscriptions/{bus.name}-dead"
    bus.create(name, {"topic": topic})
    return topic


def _policy(topic: str) -> dict[str, Any]:
    return {"deadLetterPolicy": {"deadLetterTopic": topic, "maxDeliveryAttempts": 5}} | {
        "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "10s"}
    }


def test_dead_letters_after_the_last_attempt(
    bus: Bus, cloud: LocalCloud, http: Http, target: Receiver, dead: str
) -> None:
    name = bus.subscribe(**_policy(dead))
    agent = _agent(cloud, http)
    for resource, role in ((dead, "publisher"), (name, "subscriber")):
        binding = {"resource": resource, "role": f"roles/pubsub.{role}", "member": agent}
        cloud.post("/bindings", binding | {"present": True})
    target.statuses(then=500)
    bus.publish("bad", color="red")
    cloud.advance(3600)
    assert [got.body["deliveryAttempt"] for got in target.got] == [1, 2, 3, 4, 5]
    (received,) = bus.pull(f"{bus.project}/subscriptions/{bus.name}-dead")
    message = received["message"]
    assert base64.b64decode(message["data"]) == b"bad"
    published = message["attributes"].pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert published == target.got[0].body["message"]["publishTime"]
    assert message["attributes"] == {
        "color": "red",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": name.rpartition("/")[2],
        "CloudPubSubDeadLetterSourceSubscriptionProject": cloud.project,
    }


@pytest.mark.parametrize("missing", ["publisher", "subscriber"])
def test_without_both_bindings_of_the_service_agent_a_message_is_just_retried(
    bus: Bus, cloud: LocalCloud, http: Http, target: Receiver, dead: str, missing: str
) -> None:
    name = bus.subscribe(**_policy(dead))
    agent = _agent(cloud, http)
    bindings = {"publisher": dead, "subscriber": name}
    for role, resource in bindings.items():
        binding = {"resource": resource, "role": f"roles/pubsub.{role}", "member": agent}
        cloud.post("/bindings", binding | {"present": role != missing})
    target.statuses(then=500)
    bus.publish("bad")
    cloud.advance(1000)
    assert len(target.got) > 50
    assert bus.journal("dead_letter") == []
    assert bus.pull(f"{bus.project}/subscriptions/{bus.name}-dead") == []
    binding = {"resource": bindings[missing], "role": f"roles/pubsub.{missing}", "member": agent}
    cloud.post("/bindings", binding | {"present": True})
    cloud.advance(20)
    assert len(bus.journal("dead_letter")) == 1


def test_a_topic_without_subscription_loses_messages(bus: Bus, cloud: LocalCloud) -> None:
    (id,) = bus.publish("x")
    assert id in [e["message"] for e in cloud.journal("pubsub.lost")]
    name = bus.subscribe(push=False)
    assert bus.pull(name) == []


# Pull


def test_pulled_messages_come_back_unless_acknowledged(bus: Bus, cloud: LocalCloud) -> None:
    name = bus.subscribe(push=False, ackDeadlineSeconds=60)
    bus.publish("a", "b")
    first = bus.pull(name)
    assert len(first) == 2
    assert bus.pull(name) == []
    bus.acknowledge(name, first[0])
    cloud.advance(61)
    (again,) = bus.pull(name)
    assert again["message"]["messageId"] == first[1]["message"]["messageId"]
    assert again["ackId"] != first[1]["ackId"]
    bus.acknowledge(name, first[1])  # too late: ignored
    cloud.advance(61)
    assert len(bus.pull(name)) == 1


def test_ack_deadline_can_be_extended_or_given_up(bus: Bus, cloud: LocalCloud) -> None:
    name = bus.subscribe(push=False)
    bus.publish("a")
    (one,) = bus.pull(name)
    body = {"ackIds": [one["ackId"]], "ackDeadlineSeconds": 600}
    bus.call("POST", f"{name}:modifyAckDeadline", body)
    cloud.advance(599)
    assert bus.pull(name) == []
    bus.call("POST", f"{name}:modifyAckDeadline", body | {"ackDeadlineSeconds": 0})
    assert len(bus.pull(name)) == 1


def test_pull_attempts_count_towards_dead_letters(
    bus: Bus, cloud: LocalCloud, http: Http, dead: str
) -> None:
    policy = {"deadLetterTopic": dead, "maxDeliveryAttempts": 5}
    name = bus.subscribe(push=False, deadLetterPolicy=policy)
    for resource, role in ((dead, "publisher"), (name, "subscriber")):
        binding = {"resource": resource, "role": f"roles/pubsub.{role}"}
        cloud.post("/bindings", binding | {"member": _agent(cloud, http), "present": True})
    bus.publish("a")
    for attempt in range(1, 6):
        (one,) = bus.pull(name)
        assert one["deliveryAttempt"] == attempt
        cloud.advance(11)
    assert bus.pull(name) == []
    assert len(bus.pull(f"{bus.project}/subscriptions/{bus.name}-dead")) == 1


# Resources


def test_answers_are_what_terraform_reads(bus: Bus, cloud: LocalCloud) -> None:
    topic = bus.call("GET", bus.topic).json()
    assert topic == {"name": bus.topic, "state": "ACTIVE"}
    name = bus.subscribe(expirationPolicy={}, retryPolicy={})
    spec = bus.call("GET", name).json()
    assert spec == {
        "name": name,
        "topic": bus.topic,
        "state": "ACTIVE",
        "ackDeadlineSeconds": 10,
        "messageRetentionDuration": "604800s",
        "expirationPolicy": {},
        "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
        "pushConfig": {"pushEndpoint": bus.url},
    }
    body = {"subscription": {"ackDeadlineSeconds": 60, "labels": {"a": "b"}}}
    patched = bus.call("PATCH", f"{name}?updateMask=ackDeadlineSeconds,bigqueryConfig", body)
    assert patched.json() == spec | {"ackDeadlineSeconds": 60}
    assert bus.call("PUT", name, {"topic": bus.topic}).status_code == 409
    bus.call("DELETE", bus.topic)
    assert bus.call("GET", name).json()["topic"] == "_deleted-topic_"


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"ackDeadlineSeconds": 9}, 400),
        ({"ackDeadlineSeconds": 601}, 400),
        ({"messageRetentionDuration": "599s"}, 400),
        ({"retryPolicy": {"minimumBackoff": "20s", "maximumBackoff": "10s"}}, 400),
        ({"deadLetterPolicy": {"deadLetterTopic": "{t}", "maxDeliveryAttempts": 4}}, 400),
        ({"deadLetterPolicy": {"deadLetterTopic": "{t}-not", "maxDeliveryAttempts": 5}}, 404),
        ({"pushConfig": {"pushEndpoint": "http://x.example"}}, 400),
        ({"topic": "projects/other/topics/none"}, 403),
        ({"filter": "attributes.a"}, 400),
        ({"filter": 'attributes.a = "1" AND attributes.b = "1" OR attributes:c'}, 400),
        ({"filter": f'attributes.a = "{"x" * 256}"'}, 400),
        ({"ackDeadline": 10}, 400),
    ],
)
def test_bad_subscriptions_are_refused(bus: Bus, spec: dict[str, Any], code: int) -> None:
    text = json.dumps({"topic": "{t}"} | spec).replace("{t}", bus.topic)
    name = f"{bus.project}/subscriptions/{bus.name}-bad"
    assert bus.call("PUT", name, json.loads(text)).status_code == code
    assert bus.call("GET", name).status_code == 404


@pytest.mark.parametrize("id", ["ab", "1abc", "googly", "a b", "x" * 256])
def test_bad_names_are_refused(bus: Bus, id: str) -> None:
    assert bus.call("PUT", f"{bus.project}/topics/{id}", {}).status_code == 400


def test_idle_subscriptions_expire_unless_they_never_do(bus: Bus, cloud: LocalCloud) -> None:
    mortal = bus.subscribe("mortal", push=False)
    immortal = bus.subscribe("immortal", push=False, expirationPolicy={})
    cloud.advance(20 * DAY)
    bus.pull(mortal)
    cloud.advance(20 * DAY)
    assert bus.call("GET", mortal).status_code == 200
    cloud.advance(12 * DAY)
    assert bus.call("GET", mortal).status_code == 404
    assert bus.call("GET", immortal).status_code == 200


@pytest.mark.parametrize(("verb", "permission"), [("publish", "topics.publish")])
def test_publishing_needs_its_permission(bus: Bus, verb: str, permission: str) -> None:
    body = {"messages": [{"data": "eA=="}]}
    answer = bus.call("POST", f"{bus.topic}:{verb}", body, member="user:nobody@example.com")
    assert answer.status_code == 403
    assert f"pubsub.{permission}" in answer.text


# Faults


def test_duplicates_reorder_and_lost_acks(
    bus: Bus, cloud: LocalCloud, target: Receiver, no_faults: None
) -> None:
    bus.subscribe(ackDeadlineSeconds=60)
    rates = {"pubsub.duplicate": 0.2, "pubsub.reorder": 0.2, "pubsub.lost_ack": 0.2}
    cloud.post("/faults", {"seed": 7, "rates": rates})
    ids = bus.publish(*(f"m{n}" for n in range(200)))
    cloud.advance(3600)
    counts = cloud.get("/faults")["counts"]
    assert all(counts[name] > 20 for name in rates)
    seen = [got.body["message"]["messageId"] for got in target.got]
    assert set(seen) == set(ids)
    assert len(seen) == 200 + counts["pubsub.duplicate"] + counts["pubsub.lost_ack"]
    assert list(dict.fromkeys(seen)) != ids


# Real clients


def _account(bus: Bus) -> str:
    url = f"https://iam.googleapis.com/v1/{bus.project}/serviceAccounts"
    answer = bus.http("POST", url, json={"accountId": f"{bus.name}-account", "serviceAccount": {}})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["email"])


def test_the_python_clients_publish_pull_and_acknowledge(bus: Bus, cloud: LocalCloud) -> None:
    name = bus.subscribe(push=False)
    channel = grpc_channel(cloud, "pubsub.googleapis.com")
    publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    message = {"data": b"\x00\xff", "attributes": {"a": "1"}}
    (id,) = publisher.publish(topic=bus.topic, messages=[message]).message_ids
    (received,) = subscriber.pull(subscription=name, max_messages=5).received_messages
    assert (received.message.message_id, received.message.data) == (id, b"\x00\xff")
    assert dict(received.message.attributes) == {"a": "1"}
    assert subscriber.get_subscription(subscription=name).ack_deadline_seconds == 10
    subscriber.acknowledge(subscription=name, ack_ids=[received.ack_id])
    cloud.advance(30)
    assert not subscriber.pull(subscription=name, max_messages=5).received_messages
    with pytest.raises(exceptions.NotFound):
        publisher.publish(topic=bus.topic + "x", messages=[message])
    assert bus.topic in [topic.name for topic in publisher.list_topics(project=bus.project)]
    assert name in [one.name for one in subscriber.list_subscriptions(project=bus.project)]
    with pytest.raises(exceptions.MethodNotImplemented, match=r"not implemented: .*Detach"):
        publisher.detach_subscription(request={"subscription": name})
    nobody = grpc_channel(cloud, "pubsub.googleapis.com", cloud.token("user:nobody@example.com"))
    publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=nobody))
    with pytest.raises(exceptions.PermissionDenied):
        publisher.publish(topic=bus.topic, messages=[message])


def test_the_python_clients_work_over_rest_too(
    bus: Bus, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", cloud.proxy)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cloud.authority))
    name, owner = bus.subscribe(push=False), Credentials(cloud.token())
    publisher = pubsub_v1.PublisherClient(credentials=owner, transport="rest")
    subscriber = pubsub_v1.SubscriberClient(credentials=owner, transport="rest")
    message = {"data": b"\x00\xff", "attributes": {"a": "1"}}
    (id,) = publisher.publish(topic=bus.topic, messages=[message]).message_ids
    assert bus.topic in [topic.name for topic in publisher.list_topics(project=bus.project)]
    (received,) = subscriber.pull(subscription=name, max_messages=5).received_messages
    assert (received.message.message_id, received.message.data) == (id, b"\x00\xff")
    subscriber.modify_ack_deadline(
        subscription=name, ack_ids=[received.ack_id], ack_deadline_seconds=0
    )
    (again,) = subscriber.pull(subscription=name, max_messages=5).received_messages
    subscriber.acknowledge(subscription=name, ack_ids=[again.ack_id])
    cloud.advance(30)
    assert bus.pull(name) == []


class Listener:
    """Google's own streaming client, on one subscription."""

    def __init__(self, cloud: LocalCloud, name: str, member: str = OWNER, **more: Any) -> None:
        channel = grpc_channel(cloud, "pubsub.googleapis.com", cloud.token(member))
        self.client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        self.got: queue.Queue[Any] = queue.Queue()
        self.future = self.client.subscribe(name, self.got.put, flow_control=FlowControl(**more))

    def close(self) -> None:
        self.future.cancel()
        with contextlib.suppress(Exception):
            self.future.result(timeout=20)
        self.client.close()


def test_messages_stream_to_googles_client_and_come_again_when_refused(
    bus: Bus, cloud: LocalCloud
) -> None:
    name = bus.subscribe(push=False)
    bus.publish("before")
    listener = Listener(cloud, name)
    try:
        first = listener.got.get(timeout=20)
        first.ack_with_response().result(timeout=20)
        bus.publish("after")
        refused = listener.got.get(timeout=20)
        refused.nack()
        again = listener.got.get(timeout=20)
        assert (first.data, refused.data, again.data) == (b"before", b"after", b"after")
        again.ack_with_response().result(timeout=20)
        deadline = time.monotonic() + 20
        while len(bus.journal("acknowledged")) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        listener.close()
    cloud.advance(700)
    assert bus.pull(name) == []


def test_a_stream_holds_no_more_than_its_client_wants(bus: Bus, cloud: LocalCloud) -> None:
    name = bus.subscribe(push=False)
    bus.publish("1", "2", "3")
    listener = Listener(cloud, name, max_messages=1)
    try:
        for number in range(1, 4):
            message = listener.got.get(timeout=20)
            cloud.idle()
            assert len(bus.journal("pull")) == number
            message.ack()
    finally:
        listener.close()


def test_a_stream_needs_its_permission_and_ends_with_its_subscription(
    bus: Bus, cloud: LocalCloud
) -> None:
    name = bus.subscribe(push=False)
    listener = Listener(cloud, name, "user:nobody@example.com")
    with pytest.raises(exceptions.PermissionDenied):
        listener.future.result(timeout=20)
    listener.close()
    listener = Listener(cloud, name)
    bus.publish("x")
    listener.got.get(timeout=20).ack()
    bus.call("DELETE", name)
    with pytest.raises(exceptions.NotFound):
        listener.future.result(timeout=20)
    listener.close()


def test_a_pull_waits_for_a_message(bus: Bus, cloud: LocalCloud) -> None:
    """A few pulls outlast the tenth of a second; on a busy machine one may not."""
    name = bus.subscribe(push=False)
    channel = grpc_channel(cloud, "pubsub.googleapis.com")
    subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    timer = threading.Timer(0.1, bus.publish, ["late"])
    timer.start()
    pulls = (subscriber.pull(subscription=name, max_messages=1) for _ in range(5))
    (received,) = next(filter(None, (pull.received_messages for pull in pulls)))
    timer.join()
    assert received.message.data == b"late"


def test_a_pull_whose_client_is_gone_takes_nothing(bus: Bus, cloud: LocalCloud) -> None:
    name = bus.subscribe(push=False)
    channel = grpc_channel(cloud, "pubsub.googleapis.com")
    subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    subscriber.get_subscription(subscription=name)  # connected
    with pytest.raises(exceptions.DeadlineExceeded):
        subscriber.pull(subscription=name, max_messages=1, timeout=0.05)
    bus.publish("later")
    assert subscriber.pull(subscription=name, max_messages=1).received_messages


def test_gcloud_lists_publishes_pulls_and_shows_dead_letters(
    bus: Bus, cloud: LocalCloud, dead: str
) -> None:
    if not shutil.which("gcloud"):
        pytest.skip("gcloud is not installed")

    def gcloud(*words: str) -> Any:
        done = subprocess.run(
            ["gcloud", "pubsub", *words, "--format=json"],
            env=os.environ | cloud.environ(OWNER),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    short = f"{bus.name}-gcloud"
    gcloud(
        *("subscriptions", "create", short, f"--topic={bus.topic}", "--ack-deadline=30"),
        *(f"--dead-letter-topic={dead}", "--max-delivery-attempts=7"),
    )
    bus.made.append(f"{bus.project}/subscriptions/{short}")
    (id,) = gcloud("topics", "publish", bus.topic, "--message=hi", "--attribute=a=1")["messageIds"]
    (pulled,) = gcloud("subscriptions", "pull", short, "--auto-ack")
    assert (pulled["message"]["messageId"], pulled["deliveryAttempt"]) == (id, 1)
    assert {bus.topic, dead} <= {topic["name"] for topic in gcloud("topics", "list")}
    listed = {one["name"]: one for one in gcloud("subscriptions", "list")}
    assert listed[bus.made[-1]]["deadLetterPolicy"]["deadLetterTopic"] == dead
    # What operations.md reads: a letter that waits in the dead letters' own subscription.
    body = {"messages": [{"data": base64.b64encode(b"undelivered").decode()}]}
    assert bus.call("POST", f"{dead}:publish", body).status_code == 200
    (letter,) = gcloud("subscriptions", "pull", f"{bus.name}-dead")
    assert base64.b64decode(letter["message"]["data"]) == b"undelivered"
    seen = gcloud("subscriptions", "update", short, "--ack-deadline=45")
    assert seen["ackDeadlineSeconds"] == 45
    assert seen["deadLetterPolicy"]["maxDeliveryAttempts"] == 7
