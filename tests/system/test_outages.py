"""What is away for longer than one retry cycle costs no file and no attempt, and drains by itself.

All on the driven clock: a day takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.programs.soak import drained
from tests.system.pipeline import BRIDGE, PROCESSOR, Pipeline, jpeg

HOUR, DAY = 3600, 86400
LONGEST_BACKOFF = 600  # seconds, of the subscription; the queue's is 300


@contextmanager
def away(pipeline: Pipeline, service: str) -> Iterator[None]:
    pipeline.cloud.post("/run/down", {"service": service})
    yield
    pipeline.cloud.post("/run/up", {"service": service})


def done_at_first_attempt(pipeline: Pipeline, name: str, generation: int) -> bool:
    manifest = pipeline.manifest(name, generation)
    attempts = pipeline.attempts(name, generation)
    return manifest is not None and manifest["attempt"] == 1 and len(attempts) == 1


def drain(pipeline: Pipeline) -> None:
    """One longest back-off and some: then everything that can has been tried again."""
    pipeline.cloud.advance(LONGEST_BACKOFF + 100)
    pipeline.settle()


def test_cloud_tasks_away_for_an_hour_loses_nothing(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/queued-late.jpg"
    rule = {"method": "cloudtasks.*", "member": f"serviceAccount:{BRIDGE}@*"}
    pipeline.cloud.post("/faults", {"rules": [rule | {"code": 503}]})
    generation = pipeline.upload(name, jpeg(64, 64))
    pipeline.cloud.advance(HOUR / 2)
    pipeline.cloud.post("/faults", {"rules": [rule | {"code": 429}]})
    pipeline.cloud.advance(HOUR / 2)
    pushes = pipeline.deliveries("pubsub.push", name)
    assert len(pushes) > 6
    assert {line["status"] for line in pushes} == {503}
    assert pipeline.dispatches(name, generation) == []
    pipeline.cloud.delete("/faults")
    drain(pipeline)
    assert done_at_first_attempt(pipeline, name, generation)


def test_the_bridge_away_for_an_hour_loses_nothing(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/patient.jpg"
    with away(pipeline, BRIDGE):
        generation = pipeline.upload(name, jpeg(64, 64))
        pipeline.cloud.advance(HOUR)
        assert len(pipeline.deliveries("pubsub.push", name)) > 6
        assert pipeline.manifest(name, generation) is None
    drain(pipeline)
    assert done_at_first_attempt(pipeline, name, generation)


def test_the_bridge_away_for_fifteen_hours_makes_no_dead_letter(
    pipeline: Pipeline, fresh: str
) -> None:
    name = f"{fresh}/overnight.jpg"
    with away(pipeline, BRIDGE):
        generation = pipeline.upload(name, jpeg(64, 64))
        pipeline.cloud.advance(15 * HOUR)
        assert len(pipeline.deliveries("pubsub.push", name)) < 100
    drain(pipeline)
    assert done_at_first_attempt(pipeline, name, generation)


def test_the_bridge_away_for_a_day_makes_a_dead_letter_that_is_done_once_returned(
    pipeline: Pipeline, fresh: str
) -> None:
    name = f"{fresh}/dead.jpg"
    with away(pipeline, BRIDGE):
        generation = pipeline.upload(name, jpeg(64, 64))
        pipeline.cloud.advance(DAY)
        assert len(pipeline.deliveries("pubsub.push", name)) == 100
    drain(pipeline)
    assert pipeline.manifest(name, generation) is None
    # Back to where it came from, as it is: the bridge acts on the same event again.
    waiting = pipeline.dead_letters()
    letters = [x for x in waiting if x.get("attributes", {}).get("objectId") == name]
    assert len(letters) == 1
    pipeline.publish(letters)
    pipeline.settle()
    assert done_at_first_attempt(pipeline, name, generation)


@pytest.mark.parametrize("span", [HOUR, DAY], ids=["hour", "day"])
def test_the_processor_away_spends_no_attempt(pipeline: Pipeline, fresh: str, span: int) -> None:
    name = f"{fresh}/waiting.jpg"
    with away(pipeline, PROCESSOR):
        generation = pipeline.upload(name, jpeg(64, 64))
        pipeline.cloud.advance(span)
        # 300 s is the queue's longest back-off.
        assert len(pipeline.dispatches(name, generation)) > span / 300
        assert pipeline.attempts(name, generation) == []
    drain(pipeline)
    assert done_at_first_attempt(pipeline, name, generation)


def test_storage_away_for_an_hour_spends_no_attempt(pipeline: Pipeline, fresh: str) -> None:
    """Whatever it refuses, to read or to claim: the processor answers 503 and leaves no trace."""
    read, write = "storage.objects.get", "storage.objects.insert"
    refusals = {
        f"{fresh}/{kind}-{code}.jpg": (method, code)
        for kind, method, code in (
            ("read", read, 401), ("read", read, 403), ("read", read, 503),
            ("claim", write, 401), ("claim", write, 403), ("claim", write, 429),
        )
    }  # fmt: skip

    def refuse(code: int = 0) -> None:
        rules = [
            {"method": method, "code": code or own, "member": "serviceAccount:files-dev-*"}
            | {"object": name if method == read else f"*/{name}/*"}
            for name, (method, own) in refusals.items()
        ]
        pipeline.cloud.post("/faults", {"rules": rules})

    refuse()
    generations = {name: pipeline.upload(name, jpeg(64, 64)) for name in refusals}
    pipeline.cloud.advance(10)  # more deliveries than the budget has attempts
    # The rest of the hour as 403: after 429 and 503 the processor itself tries again, in real time.
    refuse(403)
    pipeline.cloud.advance(HOUR)
    pipeline.cloud.delete("/faults")
    for name, generation in generations.items():
        dispatches = pipeline.dispatches(name, generation)
        assert len(dispatches) > HOUR / 300, name
        assert {line["status"] for line in dispatches} == {503}, name
        assert pipeline.attempts(name, generation) == []
        assert pipeline.failure(name, generation) is None
    drain(pipeline)
    for name, generation in generations.items():
        assert done_at_first_attempt(pipeline, name, generation), name


def test_tasks_that_waited_out_an_outage_drain_at_the_configured_rate(pipeline: Pipeline) -> None:
    """`make soak` does the same with 10,000 tasks and a day."""
    drain = drained(pipeline, tasks=500, seconds=HOUR)
    assert drain.left == 0
    assert drain.rate == pytest.approx(10, rel=0.05)
    assert drain.fastest_second <= 10 + 10  # what is configured, and Google's burst


def test_a_paused_queue_loses_nothing(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/paused.jpg"
    queue = pipeline.outputs["queues"]["default"]
    pipeline.call("POST", f"https://cloudtasks.googleapis.com/v2/{queue}:pause")
    try:
        generation = pipeline.upload(name, jpeg(64, 64))
        pipeline.cloud.advance(20 * DAY)
        assert pipeline.dispatches(name, generation) == []
    finally:
        pipeline.call("POST", f"https://cloudtasks.googleapis.com/v2/{queue}:resume")
    pipeline.settle()
    assert done_at_first_attempt(pipeline, name, generation)
