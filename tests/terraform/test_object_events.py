from __future__ import annotations

import pytest

from .conftest import MakeRoot
from .plans import Case, Plan, Root, case_id, unseen

SUBSCRIPTION = "google_pubsub_subscription.push"
DEAD_LETTERS = "google_pubsub_subscription.dead_letters"
NAMES = {
    "dead_letters": "files-dev-dead-letters",
    "subscription": "files-dev-bridge",
    "topic": "files-dev-uploads",
}


@pytest.fixture(scope="module")
def events(root: MakeRoot) -> Root:
    return root(
        "terraform/modules/object_events",
        project_id="demo-project",
        names=NAMES,
        bucket="demo-project-uploads",
        url="https://bridge.example.com",
        invoker_email="invoker@demo-project.iam.gserviceaccount.com",
    )


@pytest.fixture(scope="module")
def default(events: Root) -> Plan:
    return events.plan()


# Defaults


def test_finalized_objects_are_announced_once(default: Plan) -> None:
    (address,) = default.of_type("google_storage_notification")
    values = default[address]
    assert values["bucket"] == "demo-project-uploads"
    assert values["event_types"] == ["OBJECT_FINALIZE"]
    assert values["payload_format"] == "JSON_API_V1"


def test_events_are_pushed_with_a_token_for_the_endpoint(default: Plan) -> None:
    (push,) = default[SUBSCRIPTION]["push_config"]
    assert push["push_endpoint"] == "https://bridge.example.com"
    assert push["oidc_token"] == [
        {
            "audience": "https://bridge.example.com",
            "service_account_email": "invoker@demo-project.iam.gserviceaccount.com",
        }
    ]


def test_delivery_is_tried_for_long_and_the_subscription_never_expires(default: Plan) -> None:
    values = default[SUBSCRIPTION]
    assert values["name"] == "files-dev-bridge"
    assert values["ack_deadline_seconds"] == 60
    assert values["message_retention_duration"] == "604800s"
    assert values["retry_policy"] == [{"minimum_backoff": "10s", "maximum_backoff": "600s"}]
    assert values["dead_letter_policy"][0]["max_delivery_attempts"] == 100
    assert values["expiration_policy"] == [{"ttl": ""}]


def test_dead_letters_are_kept_for_31_days(default: Plan) -> None:
    values = default[DEAD_LETTERS]
    assert values["name"] == "files-dev-dead-letters"
    assert values["message_retention_duration"] == "2678400s"
    assert values["ack_deadline_seconds"] == 60
    assert values["expiration_policy"] == [{"ttl": ""}]
    assert not values["push_config"]


def test_only_googles_agents_are_granted_anything(default: Plan) -> None:
    storage = "service@gs-project-accounts.iam.gserviceaccount.com"
    pubsub = "service@gcp-sa-pubsub.iam.gserviceaccount.com"
    assert default.bindings() == {
        (storage, "roles/pubsub.publisher", "topic/files-dev-uploads"),
        (pubsub, "roles/pubsub.publisher", "topic/files-dev-dead-letters"),
        (pubsub, "roles/pubsub.subscriber", "subscription/files-dev-bridge"),
    }


# Overrides


def test_delivery_is_a_setting(events: Root) -> None:
    values = events.plan(
        delivery={
            "ack_deadline_seconds": 30,
            "max_attempts": 5,
            "max_backoff_seconds": 100,
            "min_backoff_seconds": 1,
            "retention_days": 2,
        }
    )[SUBSCRIPTION]
    assert values["ack_deadline_seconds"] == 30
    assert values["message_retention_duration"] == "172800s"
    assert values["retry_policy"] == [{"minimum_backoff": "1s", "maximum_backoff": "100s"}]
    assert values["dead_letter_policy"][0]["max_delivery_attempts"] == 5


def test_dead_letters_retention_is_a_setting(events: Root) -> None:
    values = events.plan(dead_letter_retention_days=14)[DEAD_LETTERS]
    assert values["message_retention_duration"] == "1209600s"


def test_topics_and_subscriptions_can_be_kept(events: Root) -> None:
    key = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"
    plan = events.plan(deletion_policy="PREVENT", kms_key_name=key)
    topics = plan.of_type("google_pubsub_topic")
    assert {plan[address]["kms_key_name"] for address in topics} == {key}
    kept = plan.of_type("google_pubsub_topic") + plan.of_type("google_pubsub_subscription")
    assert len(kept) == 4
    assert {plan[address]["deletion_policy"] for address in kept} == {"PREVENT"}


# Rejections


REFUSED: list[Case] = [
    ({"dead_letter_retention_days": 0}, "dead_letter_retention_days is 0; Pub/Sub keeps messages"),
    ({"delivery": {"ack_deadline_seconds": 9}}, "ack_deadline_seconds is 9; Pub/Sub takes 10 to"),
    ({"delivery": {"min_backoff_seconds": -1}}, "delivery waits -1 to 600 s"),
    ({"delivery": {"min_backoff_seconds": 601}}, "delivery waits 601 to 600 s"),
    ({"delivery": {"retention_days": 0}}, "delivery.retention_days is 0; Pub/Sub keeps messages"),
    (
        {"dead_letter_retention_days": 32},
        "dead_letter_retention_days is 32; Pub/Sub keeps messages at most 31",
    ),
    ({"deletion_policy": "KEEP"}, "deletion_policy is KEEP; it must be DELETE or PREVENT"),
    (
        {"delivery": {"ack_deadline_seconds": 601}},
        "ack_deadline_seconds is 601; Pub/Sub takes 10 to 600",
    ),
    ({"delivery": {"max_attempts": 4}}, "max_attempts is 4; Pub/Sub takes 5 to 100"),
    ({"delivery": {"max_attempts": 101}}, "max_attempts is 101; Pub/Sub takes 5 to 100"),
    (
        {"delivery": {"max_backoff_seconds": 601}},
        "delivery waits 10 to 601 s; Pub/Sub takes 0 to 600",
    ),
    (
        {"delivery": {"retention_days": 32}},
        "delivery.retention_days is 32; Pub/Sub keeps messages at most 31",
    ),
    (
        {"names": NAMES | {"topic": "google-x"}},
        "names has files-dev-dead-letters, files-dev-bridge, google-x; each has 3 to 255",
    ),
]


LEAST = {"ack_deadline_seconds": 10, "max_attempts": 5, "min_backoff_seconds": 0}
MOST = {"ack_deadline_seconds": 600, "max_attempts": 100, "max_backoff_seconds": 600}


def test_the_bounds_themselves_are_taken(events: Root) -> None:
    events.plan(delivery=LEAST | {"retention_days": 1}, dead_letter_retention_days=1)
    events.plan(delivery=MOST | {"retention_days": 31}, dead_letter_retention_days=31)


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(events: Root, case: Case) -> None:
    assert case[1] in events.refused(case, REFUSED)


def test_every_rule_refuses_something(events: Root) -> None:
    assert unseen(events, "terraform/modules/object_events", REFUSED) == []
