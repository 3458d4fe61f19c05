"""Every finalized object ends done or failed: duplicates, kills, poison, what it can cost."""

from __future__ import annotations

import base64
import json

import requests

from tests.localcloud.client import OWNER
from tests.system.pipeline import Pipeline, events, jpeg

PROCESSOR = "files-dev-processor-default"
BRIDGE = "files-dev-bridge"


def publish_again(pipeline: Pipeline, name: str, generation: int, times: int) -> None:
    """The object's own notification, published again as Cloud Storage would."""
    blob = pipeline.client.bucket(pipeline.uploads).get_blob(name, generation=generation)
    assert blob is not None
    message = {
        "data": base64.b64encode(json.dumps(blob._properties).encode()).decode(),
        "attributes": {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": pipeline.uploads,
            "objectId": name,
            "objectGeneration": str(generation),
            "payloadFormat": "JSON_API_V1",
        },
    }
    answer = requests.post(
        f"https://pubsub.googleapis.com/v1/{events(pipeline)}:publish",
        json={"messages": [message] * times},
        headers={"Authorization": f"Bearer {pipeline.cloud.token(OWNER)}"},
        proxies={"https": pipeline.cloud.proxy},
        verify=str(pipeline.cloud.bundle),
        timeout=60,
    )
    answer.raise_for_status()


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
