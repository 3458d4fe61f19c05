"""What is there, against what the state declares: for the resources of every module."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from build_functions import BuildError, zip_bytes
from deployables import deployables

from ..declared import block
from ..look import Checks, Finding, Look, short

STORAGE = "https://storage.googleapis.com/storage/v1/b"
PUBSUB = "https://pubsub.googleapis.com/v1"
TASKS = "https://cloudtasks.googleapis.com/v2"
FUNCTIONS = "https://cloudfunctions.googleapis.com/v2"
# Google's answer names a copy of the source that it made: what runs, the function is told here.
VERSION = "SOURCE_VERSION"


def buckets(look: Look) -> Iterator[Finding]:
    for declared in look.state.of("google_storage_bucket"):
        name = declared.values["name"]
        bucket = look.get("GET", f"{STORAGE}/{name}")
        if bucket is None:
            yield look.absent("buckets", declared, f"gs://{name}")
            continue
        access = bucket.get("iamConfiguration", {})
        facts = {
            "versioning": bucket.get("versioning", {}).get("enabled") is True,
            "uniform access": access.get("uniformBucketLevelAccess", {}).get("enabled") is True,
            "public access prevention": access.get("publicAccessPrevention") == "enforced",
        }
        for fact, holds in facts.items():
            if not holds:
                yield Finding("error", "buckets", f"gs://{name}: {fact} is off", look.apply)


def notifications(look: Look) -> Iterator[Finding]:
    check = "notifications"
    for declared in look.state.of("google_storage_notification"):
        values = declared.values
        bucket, topic = values["bucket"], short(values["topic"])
        answer = look.get("GET", f"{STORAGE}/{bucket}/notificationConfigs") or {}
        prefix = values.get("object_name_prefix") or ""
        ours = [
            one
            for one in answer.get("items", [])
            if short(one["topic"]) == topic and one.get("object_name_prefix", "") == prefix
        ]
        title = f"gs://{bucket}/{prefix}" if prefix else f"gs://{bucket}"
        if not ours:
            what = f"{title} announces no objects to {topic}: uploads stay pending"
            yield Finding(
                "error", check, what, f"{look.apply}; then {look.ops('reconcile --apply')}"
            )
        for extra in ours[1:]:
            what = f"{title} announces each object {len(ours)} times to {topic}"
            path = f"projects/_/buckets/{bucket}/notificationConfigs/{extra['id']}"
            fix = f"gcloud storage buckets notifications delete {path}"
            yield Finding("error", check, what, fix)
        for one in ours[:1]:
            pairs = {
                "events": (sorted(one.get("event_types") or []),
                           sorted(values.get("event_types") or [])),
                "format": (one.get("payload_format"), values["payload_format"]),
                "attributes": (one.get("custom_attributes"), values.get("custom_attributes")),
            }  # fmt: skip
            yield from look.differing(check, f"the notification of {title}", pairs)


def subscriptions(look: Look) -> Iterator[Finding]:
    check = "subscriptions"
    declared_hosts, live_hosts = _hosts(look)
    for declared in look.state.of("google_pubsub_subscription"):
        values = declared.values
        name = f"projects/{values['project']}/subscriptions/{short(values['name'])}"
        live = look.get("GET", f"{PUBSUB}/{name}")
        if live is None:
            yield look.absent(check, declared, name)
            continue
        if short(live.get("topic", "")) != short(values["topic"]):
            yield Finding("error", check, f"{name} has lost its topic", look.apply)
        yield from look.differing(check, name, _of_subscription(live, values))
        endpoint = block(values, "push_config").get("push_endpoint", "")
        # What pushes elsewhere, to somebody's own address, is theirs to answer.
        ours = declared.module == "pipeline" or _host(endpoint) in declared_hosts
        if endpoint and ours and _host(endpoint) not in live_hosts:
            what = f"{name} pushes to {endpoint}, where no function answers"
            yield Finding("error", check, what, look.apply)


def _of_subscription(
    live: dict[str, Any], values: dict[str, Any]
) -> dict[str, tuple[object, object]]:
    push = live.get("pushConfig", {})
    token, policy = push.get("oidcToken", {}), live.get("deadLetterPolicy", {})
    pushed, signed = block(values, "push_config"), block(values, "push_config", "oidc_token")
    dead = block(values, "dead_letter_policy")
    return {
        "push endpoint": (push.get("pushEndpoint"), pushed.get("push_endpoint")),
        "audience": (token.get("audience"), signed.get("audience")),
        "account": (token.get("serviceAccountEmail"), signed.get("service_account_email")),
        "ack deadline": (live.get("ackDeadlineSeconds"), values["ack_deadline_seconds"]),
        "dead-letter topic": (policy.get("deadLetterTopic"), dead.get("dead_letter_topic")),
        "delivery attempts": (policy.get("maxDeliveryAttempts"), dead.get("max_delivery_attempts")),
        "filter": (live.get("filter"), values.get("filter")),
    }


def queues(look: Look) -> Iterator[Finding]:
    for declared in look.state.of("google_cloud_tasks_queue"):
        values, check = declared.values, "queues"
        name = (
            f"projects/{values['project']}/locations/{values['location']}"
            f"/queues/{short(values['name'])}"
        )
        live = look.get("GET", f"{TASKS}/{name}")
        if live is None:
            yield look.absent(check, declared, name)
            continue
        yield from _running(look, name, values, live.get("state", ""))
        rates, retry = block(values, "rate_limits"), block(values, "retry_config")
        has, tries = live.get("rateLimits", {}), live.get("retryConfig", {})
        pairs = {
            "dispatches a second": (
                has.get("maxDispatchesPerSecond"), rates.get("max_dispatches_per_second")
            ),
            "concurrent dispatches": (
                has.get("maxConcurrentDispatches"), rates.get("max_concurrent_dispatches")
            ),
            "attempts": (tries.get("maxAttempts"), retry.get("max_attempts")),
            "retry duration": (tries.get("maxRetryDuration"), retry.get("max_retry_duration")),
            "first back-off": (tries.get("minBackoff"), retry.get("min_backoff")),
            "longest back-off": (tries.get("maxBackoff"), retry.get("max_backoff")),
            "doublings": (tries.get("maxDoublings"), retry.get("max_doublings")),
        }  # fmt: skip
        yield from look.differing(check, name, pairs)


def _running(look: Look, name: str, values: dict[str, Any], state: str) -> Iterator[Finding]:
    check, lost = "queues", "tasks wait, and Cloud Tasks deletes them after 31 days"
    wanted = values.get("desired_state") or "RUNNING"
    queue = f"{short(name)} --location={values['location']} --project={values['project']}"
    if state != "RUNNING" and wanted == "RUNNING":
        what = f"{name} is {state}, by hand: {lost}"
        yield Finding("error", check, what, f"gcloud tasks queues resume {queue}")
    elif state == "RUNNING" and wanted != "RUNNING":
        what = f"{name} runs, although it is declared {wanted}"
        yield Finding("warning", check, what, f"gcloud tasks queues pause {queue}")
    elif state != "RUNNING":
        what = f"{name} is {state}, as declared: {lost}"
        yield Finding("warning", check, what, f"paused = false, then {look.apply}")


def functions(look: Look) -> Iterator[Finding]:
    for declared in look.state.of("google_cloudfunctions2_function"):
        values, check = declared.values, "functions"
        name = _function(values)
        live = look.get("GET", f"{FUNCTIONS}/{name}")
        if live is None:
            yield look.absent(check, declared, name)
            continue
        if live.get("state") != "ACTIVE":
            what = f"{name} is {live.get('state')}: {_messages(live)}"
            yield Finding("error", check, what, look.apply)
        service, config = live.get("serviceConfig", {}), block(values, "service_config")
        settings = service.get("environmentVariables") or {}
        wanted = config.get("environment_variables") or {}
        pairs = {
            "source": (settings.get(VERSION), wanted.get(VERSION)),
            "account": (service.get("serviceAccountEmail"), config.get("service_account_email")),
            "ingress": (service.get("ingressSettings"), config.get("ingress_settings")),
            "settings": (_own(settings), _own(wanted)),
        }
        yield from look.differing(check, name, pairs)
        source = block(values, "build_config", "source", "storage_source")
        yield from _against_repository(look, name, source["object"], settings.get(VERSION, ""))


def _against_repository(look: Look, name: str, zipped: str, deployed: str) -> Iterator[Finding]:
    """zipped: the object that was built, NAME/SHA256.zip. deployed: the version that runs."""
    try:
        (deployable,) = (one for one in deployables() if one.name == zipped.partition("/")[0])
        here = hashlib.sha256(zip_bytes(deployable)).hexdigest()
    except (BuildError, OSError, ValueError) as error:
        yield Finding("warning", "functions", str(error), "git status")
        return
    if here != deployed:
        what = f"{name} runs source {deployed[:12]}, this checkout has {here[:12]}"
        fix = f"{look.apply}, or check out the commit that was deployed"
        yield Finding("warning", "functions", what, fix)


def _hosts(look: Look) -> tuple[set[str], set[str]]:
    """Where functions answer: as the state has it, and as those that are there say."""
    declared, live = set(), set()
    for function in look.state.of("google_cloudfunctions2_function"):
        declared.add(_host(block(function.values, "service_config").get("uri", "")))
        there = look.get("GET", f"{FUNCTIONS}/{_function(function.values)}") or {}
        live.add(_host(there.get("serviceConfig", {}).get("uri", "")))
    return declared, live


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _function(values: dict[str, Any]) -> str:
    where = f"projects/{values['project']}/locations/{values['location']}"
    return f"{where}/functions/{short(values['name'])}"


def _messages(live: dict[str, Any]) -> str:
    texts = [m.get("message", "") for m in live.get("stateMessages", [])]
    return "; ".join(texts) or "no reason is given"


def _own(variables: dict[str, str]) -> dict[str, str]:
    """Without what Google adds, and what is compared by itself."""
    return {k: v for k, v in variables.items() if k not in ("LOG_EXECUTION_ID", VERSION)}


CHECKS: Checks = {
    "buckets": buckets,
    "notifications": notifications,
    "subscriptions": subscriptions,
    "queues": queues,
    "functions": functions,
}
