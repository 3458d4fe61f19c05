from __future__ import annotations

import json

import pytest

from .conftest import MakeRoot
from .plans import Case, Plan, Root, alerts, case_id, unseen

CRM = 'google_pubsub_subscription.subscriber["crm"]'
AUDIT = 'google_pubsub_subscription.subscriber["audit"]'
URL, READER = "https://crm.example.com/files", "serviceAccount:audit@other.iam.gserviceaccount.com"
MONITORING = {
    "enabled": True, "environment": "dev", "notification_channels": [], "runbook_url": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def subscribers(root: MakeRoot) -> Root:
    return root(
        "terraform/modules/subscribers",
        project_id="demo-project",
        name="files-dev",
        role="completions",
        topic="projects/demo-project/topics/files-dev-completions",
        bucket="demo-project-files-dev-results",
        monitoring=MONITORING,
        subscribers={},
    )


@pytest.fixture(scope="module")
def both(subscribers: Root) -> Plan:
    return subscribers.plan(
        subscribers={"crm": {"push_url": URL, "only": "done"}, "audit": {"reader": READER}}
    )


# Defaults


def test_without_subscribers_there_is_nothing(subscribers: Root) -> None:
    assert subscribers.plan().resources == {}


def test_a_webhook_is_pushed_to_in_the_name_of_its_own_account(both: Plan) -> None:
    (push,) = both[CRM]["push_config"]
    assert push["push_endpoint"] == URL
    account = "files-dev-to-crm@demo-project.iam.gserviceaccount.com"
    assert push["oidc_token"] == [{"audience": URL, "service_account_email": account}]
    assert both[CRM]["name"] == "files-dev-completions-crm"


def test_a_webhook_is_tried_for_long_and_then_has_dead_letters(both: Plan) -> None:
    values = both[CRM]
    assert values["retry_policy"] == [{"minimum_backoff": "10s", "maximum_backoff": "600s"}]
    assert values["dead_letter_policy"][0]["max_delivery_attempts"] == 100
    assert values["expiration_policy"] == [{"ttl": ""}]
    dead = both['google_pubsub_subscription.dead_letters["this"]']
    assert dead["name"] == "files-dev-completions-dead-letters"
    assert dead["message_retention_duration"] == "2678400s"


def test_filters_choose_the_status_and_leave_out_what_is_redriven_for_others(both: Plan) -> None:
    assert both[CRM]["filter"] == (
        'attributes.status = "done" AND '
        '(NOT attributes:subscriber OR attributes.subscriber = "crm")'
    )
    assert both[AUDIT]["filter"] == (
        '(NOT attributes:subscriber OR attributes.subscriber = "audit")'
    )


def test_a_consumer_pulls_and_has_no_dead_letters(both: Plan) -> None:
    assert not both[AUDIT]["push_config"]
    assert not both[AUDIT]["dead_letter_policy"]


def test_only_the_named_ones_are_granted_anything(both: Plan) -> None:
    pubsub = "service@gcp-sa-pubsub.iam.gserviceaccount.com"
    audit = "audit@other.iam.gserviceaccount.com"
    assert both.bindings() == {
        (pubsub, "roles/pubsub.publisher", "topic/files-dev-completions-dead-letters"),
        (pubsub, "roles/pubsub.subscriber", "subscription/files-dev-completions-crm"),
        (audit, "roles/pubsub.subscriber", "subscription/files-dev-completions-audit"),
        (audit, "roles/storage.objectViewer", "bucket/files-dev-results"),
    }


def test_the_dashboard_shows_each_subscriber_and_what_no_webhook_took(both: Plan) -> None:
    text = both["module.dashboard[0].google_monitoring_dashboard.this"]["dashboard_json"]
    charts = [t["widget"] for t in json.loads(text)["mosaicLayout"]["tiles"] if "yPos" in t]
    queries = {
        it["title"]: it["xyChart"]["dataSets"][0]["timeSeriesQuery"]["prometheusQuery"]
        for it in charts
    }
    assert "files-dev-completions-(audit|crm)" in queries["Oldest waiting message"]
    assert "files-dev-completions-(audit|crm)" in queries["Messages waiting"]
    assert "files-dev-completions-(crm)" in queries["Pushes by answer"]
    assert "files-dev-completions-(dead-letters)" in queries["Dead letters waiting"]


def test_webhooks_and_consumers_have_their_alerts(both: Plan, subscribers: Root) -> None:
    assert alerts(both)
    kind = "google_monitoring_alert_policy"
    keys = {both[a]["user_labels"]["alert"] for a in both.of_type(kind)}
    assert keys == {"completions_dead_letters", "completions_waiting"}
    quiet = subscribers.plan(
        subscribers={"crm": {"push_url": URL}}, monitoring=MONITORING | {"enabled": False}
    )
    assert quiet.of_type(kind) == quiet.of_type("google_monitoring_dashboard") == []


# Overrides


def test_audience_reader_and_deployer_are_settings(subscribers: Root) -> None:
    plan = subscribers.plan(
        subscribers={"crm": {"push_url": URL, "audience": "crm", "reader": READER}},
        deployer="serviceAccount:files-apply@demo-project.iam.gserviceaccount.com",
        deletion_policy="PREVENT",
        role="observers",
    )
    assert plan[CRM]["push_config"][0]["oidc_token"][0]["audience"] == "crm"
    assert plan[CRM]["deletion_policy"] == "PREVENT"
    found = plan.bindings()
    assert ("files-apply", "roles/iam.serviceAccountUser", "account/files-dev-ob-crm") in found
    reader = "audit@other.iam.gserviceaccount.com"
    assert (reader, "roles/storage.objectViewer", "bucket/files-dev-results") in found
    assert plan.told() == plan.bindings(conditions=False)


# Rejections

REFUSED: list[Case] = [
    ({"deletion_policy": "KEEP"}, "deletion_policy is KEEP; it must be DELETE or PREVENT"),
    ({"name": "google"}, "name is google; it has 3 to 15 lower-case letters"),
    ({"role": "listeners"}, "role is listeners; it must be approvals, completions or observers"),
    (
        {"subscribers": {"much-too-long": {"push_url": URL}}},
        "subscribers has much-too-long; each name has 2 to 11 lower-case letters",
    ),
    (
        {"subscribers": {"crm": {"push_url": "http://crm.example.com"}}},
        "push_url http://crm.example.com; Pub/Sub calls https:// addresses only",
    ),
    (
        {"subscribers": {"crm": {"only": "done"}}},
        "subscribers crm have neither a push_url to call nor a reader that pulls",
    ),
    (
        {"subscribers": {"crm": {"reader": READER, "audience": "crm"}}},
        "subscribers crm have an audience and no push_url",
    ),
    (
        {"subscribers": {"crm": {"push_url": URL, "only": "late"}}},
        "subscribers has only = late; it is done or failed",
    ),
    (
        {"subscribers": {"crm": {"push_url": URL, "reader": "allUsers"}}},
        "subscribers has the reader allUsers; it names one account, user or group",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=case_id)
def test_refused(subscribers: Root, case: Case) -> None:
    assert case[1] in subscribers.refused(case, REFUSED)


def test_every_rule_refuses_something(subscribers: Root) -> None:
    assert unseen(subscribers, "terraform/modules/subscribers", REFUSED) == []


# The capabilities that call it


KEY = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k"


def interface(**more: object) -> dict[str, object]:
    """The pipeline's output, as a capability takes it."""
    return {
        "buckets": {"results": "demo-project-files-dev-results", "uploads": "demo-project-up"},
        "deployer": "",
        "environment": "dev",
        "monitoring": {"enabled": False, "notification_channels": [], "runbook_url": ""},
        "name": "files-dev",
        "policy": {"deletion_policy": "DELETE", "kms_key_name": KEY},
        "project_id": "demo-project",
        "topics": {"uploads": "projects/demo-project/topics/files-dev-uploads"},
        **more,
    }


def test_each_kind_of_record_is_announced_with_its_status(root: MakeRoot) -> None:
    kept = {"deletion_policy": "PREVENT", "kms_key_name": KEY}
    watched = {"enabled": True, "notification_channels": [], "runbook_url": ""}
    own = interface(policy=kept, environment="prod", monitoring=watched)
    plan = root("terraform/completions", pipeline=own).plan(
        subscribers={"audit": {"reader": "user:a@x.com"}}
    )
    (policy, *_) = plan.of_type("google_monitoring_alert_policy")
    assert "ENV=prod" in plan[policy]["documentation"][0]["content"]
    for address in plan.of_type("google_storage_notification"):
        assert plan[address]["event_types"] == ["OBJECT_FINALIZE"]
        assert plan[address]["bucket"] == "demo-project-files-dev-results"
    assert plan["google_pubsub_topic.this"]["deletion_policy"] == "PREVENT"
    told = {
        plan[address]["object_name_prefix"]: plan[address]["custom_attributes"]
        for address in plan.of_type("google_storage_notification")
    }
    assert told == {"manifests/": {"status": "done"}, "failures/": {"status": "failed"}}
    assert plan["google_pubsub_topic.this"]["kms_key_name"] == KEY
    storage = "service@gs-project-accounts.iam.gserviceaccount.com"
    assert {binding for binding in plan.bindings() if binding[0] != "user:a@x.com"} == {
        (storage, "roles/pubsub.publisher", "topic/files-dev-completions")
    }


def test_observers_subscribe_to_the_uploads_topic_beside_the_bridge(root: MakeRoot) -> None:
    observers = root("terraform/observers", pipeline=interface())
    plan = observers.plan(subscribers={"scan": {"push_url": URL}})
    assert {plan[topic]["kms_key_name"] for topic in plan.of_type("google_pubsub_topic")} == {KEY}
    values = plan['module.subscribers.google_pubsub_subscription.subscriber["scan"]']
    assert values["topic"] == "projects/demo-project/topics/files-dev-uploads"
    assert values["name"] == "files-dev-observers-scan"
    assert plan.of_type("google_storage_notification") == []
