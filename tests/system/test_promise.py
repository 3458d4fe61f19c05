"""Every finalized object ends done or failed: duplicates, kills, poison, what it can cost."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.cloud import storage

from tests.localcloud.client import ROOT
from tests.system.pipeline import PROCESSOR, Pipeline, events, jpeg


def publish_again(pipeline: Pipeline, name: str, generation: int, times: int) -> None:
    """The object's own notification, published again as Cloud Storage would."""
    blob = pipeline.client.bucket(pipeline.uploads).get_blob(name, generation=generation)
    assert blob is not None
    pipeline.publish([notification(blob)] * times)


def notification(blob: storage.Blob) -> dict[str, Any]:
    return {
        "data": base64.b64encode(json.dumps(blob._properties).encode()).decode(),
        "attributes": {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": blob.bucket.name,
            "objectId": blob.name,
            "objectGeneration": str(blob.generation),
            "payloadFormat": "JSON_API_V1",
        },
    }


def test_the_same_event_five_times_makes_one_task_and_one_manifest(
    pipeline: Pipeline, fresh: str
) -> None:
    name = f"{fresh}/five.jpg"
    before = len(pipeline.cloud.journal("tasks.attempt"))
    generation = pipeline.upload(name, jpeg(64, 64))
    publish_again(pipeline, name, generation, 4)
    pipeline.settle()
    pushes = pipeline.deliveries("pubsub.push", name)
    assert len(pushes) == 5
    assert all(line["status"] in (200, 204) for line in pushes)
    assert len(pipeline.dispatches(name, generation)) == 1
    assert len(pipeline.cloud.journal("tasks.attempt")) == before + 1
    assert len(pipeline.listing(f"manifests/{name}/")) == 1
    assert len(pipeline.attempts(name, generation)) == 1


def test_a_kill_between_thumbnail_and_manifest_is_finished_by_the_retry(
    pipeline: Pipeline, fresh: str
) -> None:
    name = f"{fresh}/killed.jpg"
    rule = {"method": "storage.objects.insert", "object": "manifests/*", "kill": True, "times": 1}
    pipeline.cloud.post("/faults", {"rules": [rule]})
    generation = pipeline.process(name, jpeg(64, 64))
    assert pipeline.manifest(name, generation) is None
    pipeline.cloud.advance(10)
    pipeline.settle()
    manifest = pipeline.manifest(name, generation)
    assert manifest is not None
    assert manifest["attempt"] == 2
    key = f"files/{name}/{generation}"
    assert manifest["outputs"][0]["object"].endswith(f"{key}/2/thumbnail.jpg")
    assert pipeline.failure(name, generation) is None


def test_a_file_that_always_kills_its_instance_ends_as_one_record_after_its_budget(
    pipeline: Pipeline, fresh: str
) -> None:
    name = f"{fresh}/poison.jpg"
    rule = {
        "method": "storage.objects.insert",
        "object": f"files/{fresh}/poison.jpg/*",
        "kill": True,
    }
    pipeline.cloud.post("/faults", {"rules": [rule]})
    generation = pipeline.process(name, jpeg(64, 64))
    pipeline.cloud.advance(3600)
    pipeline.settle()
    failure = pipeline.failure(name, generation)
    assert failure is not None
    assert failure["reason"] == "attempts_exhausted"
    assert failure["retryable"] is True
    assert len(pipeline.attempts(name, generation)) == 3
    assert len(pipeline.listing(f"failures/{name}/")) == 1
    # Three started attempts, and one more delivery to say so.
    assert len(pipeline.dispatches(name, generation)) == 4


def test_poison_costs_its_neighbours_one_attempt_at_most(pipeline: Pipeline, fresh: str) -> None:
    """They are at work in the same instance when it first dies; from then on it is alone there."""
    poison, neighbours = f"{fresh}/poison.jpg", [f"{fresh}/good-{n}.jpg" for n in range(5)]
    write = {"method": "storage.objects.insert"}
    rules = [
        write | {"object": f"files/{poison}/*", "kill": True},
        write | {"object": f"files/{fresh}/good-*", "delay": 0.7, "code": 0},
    ]
    pipeline.cloud.post("/faults", {"rules": rules})
    generations = {name: pipeline.upload(name, jpeg(64, 64)) for name in [*neighbours, poison]}
    pipeline.settle()
    pipeline.cloud.advance(3600)
    for name in neighbours:
        assert pipeline.manifest(name, generations[name]), name
        assert len(pipeline.attempts(name, generations[name])) <= 2, name
    failure = pipeline.failure(poison, generations[poison])
    assert failure is not None
    assert failure["reason"] == "attempts_exhausted"


# What one object can cost at most


def bounds(pipeline: Pipeline) -> dict[str, int]:
    """What one object can cost at most, computed from what is deployed."""
    cloud = pipeline.cloud
    base = f"projects/{cloud.project}/locations/us-central1/functions/{PROCESSOR}"
    function = pipeline.call("GET", f"https://cloudfunctions.googleapis.com/v2/{base}")
    settings = function["serviceConfig"]["environmentVariables"]
    budget, outputs = int(settings["MAX_ATTEMPTS"]), len(json.loads(settings["RENDITIONS"]))
    queue = pipeline.outputs["queues"]["default"]
    retry = pipeline.call("GET", f"https://cloudtasks.googleapis.com/v2/{queue}")["retryConfig"]
    low, high, days = (
        float(retry[name].removesuffix("s"))
        for name in ("minBackoff", "maxBackoff", "maxRetryDuration")
    )
    growing = [low * 2**n for n in range(int(retry["maxDoublings"])) if low * 2**n < high]
    name = f"projects/{cloud.project}/subscriptions/files-dev-bridge"
    subscription = pipeline.call("GET", f"https://pubsub.googleapis.com/v1/{name}")
    pushes = subscription["deadLetterPolicy"]["maxDeliveryAttempts"]
    policy = subscription["retryPolicy"]
    first, longest = (
        float(policy[name].removesuffix("s")) for name in ("minimumBackoff", "maximumBackoff")
    )
    waited = sum(min(first * 2**n, longest) for n in range(pushes - 1))
    return {
        "deliveries": budget + 1,
        "calls": (budget + 1) * (1 + budget + outputs + 1),
        "refused": int((days - sum(growing)) / high) + len(growing) + 2,
        "pushes": pushes,
        "hours": round(waited / 3600),
    }


def test_the_page_tells_what_one_object_can_cost(pipeline: Pipeline) -> None:
    told, most = (ROOT / "docs/operations.md").read_text(), bounds(pipeline)
    for sentence in (
        f"**{most['deliveries']} deliveries and {most['calls']} calls** of Google's APIs",
        f"**{most['refused']:,} deliveries**",
        f"**{most['pushes']} deliveries** of its event, about {most['hours']} hours",
    ):
        assert sentence in " ".join(told.split())


def test_poison_costs_a_bounded_number_of_calls(pipeline: Pipeline, fresh: str) -> None:
    """A delivery reads once, asks for each attempt, writes each output and one record."""
    name, most = f"{fresh}/costly.jpg", bounds(pipeline)
    rule = {"method": "storage.objects.insert", "object": f"files/{name}/*", "kill": True}
    pipeline.cloud.post("/faults", {"rules": [rule]})
    generation = pipeline.process(name, jpeg(64, 64))
    pipeline.cloud.advance(8 * 86_400)
    assert len(pipeline.dispatches(name, generation)) == most["deliveries"]
    calls = [
        line
        for line in pipeline.cloud.journal("api")
        if "serviceAccount:files-dev-" in (line["principal"] or "")
        and name in f"{line['params'].get('object')} {line['params'].get('name')}"
    ]
    assert 0 < len(calls) <= most["calls"]
    assert len(pipeline.deliveries("pubsub.push", name)) == 1


def test_a_task_that_is_never_taken_ends_after_its_seven_days(
    pipeline: Pipeline, fresh: str
) -> None:
    name = f"{fresh}/given-up.jpg"
    pipeline.cloud.post("/run/down", {"service": PROCESSOR})
    generation = pipeline.upload(name, jpeg(64, 64))
    pipeline.cloud.advance(6.9 * 86_400)
    assert len(pipeline.tasks()) == 1
    pipeline.cloud.advance(2 * 86_400)
    assert pipeline.tasks() == []
    assert len(pipeline.dispatches(name, generation)) <= bounds(pipeline)["refused"]
    assert pipeline.listing(f"attempts/{name}/") == []


def test_results_are_no_uploads(pipeline: Pipeline, fresh: str) -> None:
    """Nothing announces them to the bridge, and it would refuse them."""
    name = f"{fresh}/once.jpg"
    generation = pipeline.process(name, jpeg(64, 64))
    base = "https://storage.googleapis.com/storage/v1/b"
    announced = pipeline.call("GET", f"{base}/{pipeline.results}/notificationConfigs")
    topics = [config["topic"] for config in announced.get("items", [])]
    assert not [topic for topic in topics if topic.endswith(events(pipeline))]
    result = f"files/{name}/{generation}/thumbnail.jpg"
    blob = pipeline.client.bucket(pipeline.results).get_blob(result)
    assert blob is not None
    before = len(pipeline.cloud.journal("tasks.attempt"))
    pipeline.publish([notification(blob)])
    pipeline.cloud.advance(86_400)
    assert {x["status"] for x in pipeline.deliveries("pubsub.push", result)} == {403}
    assert len(pipeline.deliveries("pubsub.push", result)) == 100
    assert len(pipeline.cloud.journal("tasks.attempt")) == before
    letters = [letter.get("attributes", {}) for letter in pipeline.dead_letters()]
    assert [letter["objectId"] for letter in letters if letter.get("objectId") == result] == [
        result
    ]
