"""A kill at every single step of bridge and processor, before and after it takes effect.

The steps are not listed here: they are the API calls that a clean file was seen to make.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.system.pipeline import Pipeline, jpeg

FILES = {
    "photo.jpg": (jpeg(64, 64), "manifests"),
    "broken.jpg": (jpeg(640, 480)[:5000], "failures"),
}
FAULTS: dict[str, dict[str, Any]] = {
    "killed before": {"kill": True},
    "killed after": {"kill": True, "after": True},
    "answer lost": {"code": 503, "after": True},
}


def steps(pipeline: Pipeline, account: str, name: str, data: bytes) -> list[str]:
    """What a function calls for one clean file, in order."""
    pipeline.settle()
    before = len(pipeline.cloud.journal())
    pipeline.process(name, data)
    lines = pipeline.cloud.journal()[before:]
    calls = [x for x in lines if x["kind"] == "api" and account in (x["principal"] or "")]
    return [f"{x['method']} {x['params'].get('name', '').partition('/')[0]}".strip() for x in calls]


def problems(pipeline: Pipeline, name: str, generation: int, kind: str) -> list[str]:
    """What is wrong with how one file ended; it was to end as a record of this kind."""
    found = []
    records = {"manifests": pipeline.manifest, "failures": pipeline.failure}
    record = records.pop(kind)(name, generation)
    (other,) = records.values()
    if record is None:
        return [f"no record in {kind}"]
    if other(name, generation):
        found.append("both records are there")
    numbers = [int(a.rpartition("/")[2]) for a in pipeline.attempts(name, generation)]
    if numbers not in ([1], [1, 2]) or record["attempt"] not in numbers:
        found.append(f"attempts {numbers}, but the record is of attempt {record['attempt']}")
    for output in record.get("outputs", ()):
        attempt = record["attempt"]
        folder = f"files/{name}/{generation}" + (f"/{attempt}" if attempt > 1 else "")
        if output["object"].rpartition("/")[0] != folder:
            found.append(f"attempt {attempt} names {output['object']}")
        if not pipeline.listing(output["object"]):
            found.append(f"{output['object']} is missing")
    work = f"{pipeline.uploads}/{name}#{generation}/0"
    task = hashlib.sha256(work.encode()).hexdigest()
    ends = [x["why"] for x in pipeline.cloud.journal("tasks.end") if x["task"] == task]
    if ends != ["done"]:
        found.append(f"its task ended {ends}")
    return found


@pytest.mark.parametrize(
    ("function", "file"),
    [("bridge", "photo.jpg"), ("processor", "photo.jpg"), ("processor", "broken.jpg")],
)
def test_a_fault_at_any_step_is_mended_by_the_retry(
    pipeline: Pipeline, fresh: str, function: str, file: str
) -> None:
    data, kind = FILES[file]
    account = f"files-dev-{function}@"
    clean = steps(pipeline, account, f"{fresh}/clean/{file}", data)
    assert clean, f"{function} calls nothing"
    failed = []
    for number, step in enumerate(clean):
        for what, fault in FAULTS.items():
            name = f"{fresh}/{number}/{what.replace(' ', '-')}/{file}"
            rule = {"member": f"serviceAccount:{account}*", "skip": number, "times": 1} | fault
            pipeline.cloud.delete("/faults")
            pipeline.cloud.post("/faults", {"rules": [rule]})
            generation = pipeline.process(name, data)
            pipeline.cloud.advance(30)
            struck = sum(pipeline.cloud.get("/faults")["counts"].values())
            wrong = [] if struck == 1 else [f"struck {struck} times"]
            wrong += problems(pipeline, name, generation, kind)
            failed += [f"{what} {step} (call {number + 1}): {text}" for text in wrong]
    assert not failed, "\n".join(failed)
