"""Attempts when settings change under way, and when a worker takes longer than it may.

The settings are changed as people change them: in the environment, and applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.programs.soak import change_lane
from tests.system.pipeline import PROCESSOR, Pipeline, jpeg, until


@contextmanager
def applied(pipeline: Pipeline, **settings: dict[str, int]) -> Iterator[None]:
    """The default lane of dev with other settings; afterwards as before."""
    file = pipeline.deployment.checkout / "environments/dev/main.tf"
    before = file.read_text()
    change_lane(pipeline.deployment, **settings)
    try:
        pipeline.deployment.make("apply", "ENV=dev", "YES=1")
        yield
    finally:
        file.write_text(before)
        pipeline.deployment.make("apply", "ENV=dev", "YES=1")


def started(pipeline: Pipeline, name: str, generation: int, attempts: int) -> None:
    """Lets time pass until so many attempts were started."""
    for _ in range(60):
        if len(pipeline.attempts(name, generation)) >= attempts:
            return
        pipeline.cloud.advance(1)
    raise AssertionError(f"{name}: {pipeline.attempts(name, generation)}")


def manifest_writes(pipeline: Pipeline, name: str) -> list[int]:
    """Answers to each attempt to write a file's manifest."""
    return [
        line["code"]
        for line in pipeline.cloud.journal("api")
        if line["params"].get("name", "").startswith(f"manifests/{name}/")
    ]


def test_changing_the_budget_while_tasks_wait_loses_nothing(pipeline: Pipeline, fresh: str) -> None:
    """Budget 3, then 4, then 3 again; each file's instance is killed after its claims."""
    raised, lowered, untouched = (f"{fresh}/{n}.jpg" for n in ("raised", "lowered", "untouched"))
    kill = {"method": "storage.objects.insert", "kill": True}
    rules = [
        kill | {"object": f"files/{raised}/*", "times": 3},
        kill | {"object": f"files/{lowered}/*"},
    ]
    pipeline.cloud.post("/faults", {"rules": rules})
    first = pipeline.process(raised, jpeg(64, 64))
    started(pipeline, raised, first, 2)
    pipeline.cloud.post("/run/down", {"service": PROCESSOR})
    third = pipeline.upload(untouched, jpeg(64, 64))
    with applied(pipeline, queue={"max_attempts": 4}):
        pipeline.cloud.post("/run/up", {"service": PROCESSOR})
        pipeline.cloud.advance(700)
        manifest = pipeline.manifest(raised, first)
        assert manifest is not None
        assert manifest["attempt"] == 4
        assert pipeline.failure(raised, first) is None
        manifest = pipeline.manifest(untouched, third)
        assert manifest is not None
        assert manifest["attempt"] == 1
        second = pipeline.process(lowered, jpeg(64, 64))
        started(pipeline, lowered, second, 3)
        pipeline.cloud.post("/run/down", {"service": PROCESSOR})
    pipeline.cloud.post("/run/up", {"service": PROCESSOR})
    pipeline.cloud.advance(700)
    failure = pipeline.failure(lowered, second)
    assert failure is not None
    assert failure["reason"] == "attempts_exhausted"
    assert len(pipeline.attempts(lowered, second)) == 3
    assert pipeline.tasks() == []


def test_a_worker_that_outlives_its_deadline_does_no_harm(pipeline: Pipeline, fresh: str) -> None:
    """Its output takes 9 s; its work may take 6, its request 8, and then the retry begins."""
    name = f"{fresh}/late.jpg"
    output = f"files/{name}/{{}}/thumbnail.jpg"
    rule = {"method": "storage.objects.insert", "object": f"files/{name}/*", "code": 0}
    processor = {"work_seconds": 6, "timeout_seconds": 8}
    with applied(pipeline, processor=processor, queue={"dispatch_deadline_seconds": 15}):
        pipeline.cloud.post("/faults", {"rules": [rule | {"delay": 9, "times": 1}]})
        generation = pipeline.process(name, jpeg(64, 64))
        assert [x["status"] for x in pipeline.dispatches(name, generation)] == [504]
        pipeline.cloud.advance(10)
        manifest = pipeline.manifest(name, generation)
        assert manifest is not None
        assert manifest["attempt"] == 2
        # The first worker wakes up, ends its write, looks at the time, and leaves it at that.
        late = output.format(generation)
        until(lambda: pipeline.listing(late))
        until(
            lambda: any(
                line["payload"].get("reason") == "deadline_exceeded"
                and line["payload"].get("object") == name
                for line in pipeline.cloud.journal("log")
                if isinstance(line["payload"], dict)
            )
        )
        assert manifest_writes(pipeline, name) == [200]
        assert pipeline.manifest(name, generation) == manifest
        assert manifest["outputs"][0]["object"] == output.format(f"{generation}/2")
        assert pipeline.failure(name, generation) is None
