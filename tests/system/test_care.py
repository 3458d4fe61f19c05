"""Erasing, numbers, pausing: the operator's tool against the deployed environment."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.permissions.tools import Watch, granted, withheld
from tests.programs.soak import stub
from tests.system.operating import Operator, Ran
from tests.system.pipeline import PROCESSOR, Pipeline, jpeg, until
from tests.system.roles import CARE, USER, VIEWER, needs, resources

BROKEN = b"\xff\xd8\xffbroken"


def told(ops: Operator, *words: str) -> dict[str, Any]:
    ran = ops(*words, "--json")
    assert ran.code == 0, ran.err
    return dict(ran.json)


def erased_apart(pipeline: Pipeline, name: str) -> None:
    """In a process that others may run beside."""
    url = f"gs://{pipeline.uploads}/{name}"
    pipeline.deployment.run(sys.executable, "-m", "scripts.ops", "erase", url, "--apply")


def left(pipeline: Pipeline, text: str) -> list[str]:
    """Names of all versions, in both buckets, that hold a text."""
    return [
        blob.name
        for bucket in (pipeline.uploads, pipeline.results)
        for blob in pipeline.client.list_blobs(bucket, versions=True)
        if text in blob.name
    ]


def erased(pipeline: Pipeline) -> list[str]:
    return pipeline.listing("erased/")


# erase


def test_every_generation_with_outputs_and_records_is_gone_and_a_nameless_record_left(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    name, before = f"{fresh}/twice.jpg", erased(pipeline)
    for data in (jpeg(32, 32), BROKEN, jpeg(48, 48)):
        pipeline.process(name, data)
    other = pipeline.process(f"{name}/1795262349442183", jpeg(32, 32))  # not part of it
    shown = told(ops, "erase", f"gs://{pipeline.uploads}/{name}")
    assert shown["objects"]["uploads"] == 3
    assert len(left(pipeline, name)) > 10
    gone = told(ops, "erase", f"gs://{pipeline.uploads}/{name}", "--apply")
    assert gone["objects"] == shown["objects"]
    assert [x for x in left(pipeline, name) if f"{name}/1795262349442183" not in x] == []
    assert pipeline.manifest(f"{name}/1795262349442183", other)
    (record,) = set(erased(pipeline)) - set(before)
    content = json.loads(pipeline.read(record))
    assert content["objects"]["uploads"] == 3
    assert fresh not in json.dumps(content) + record
    again = told(ops, "erase", f"gs://{pipeline.uploads}/{name}", "--apply")
    assert set(again["objects"].values()) == {0}
    assert len(erased(pipeline)) == len(before) + 1
    pipeline.settle()


def test_a_file_id_and_an_owner_name_files_of_the_portal(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    mine, other = f"{fresh}-me", f"{fresh}-you"
    for owner, digit in ((mine, "1"), (mine, "2"), (other, "3")):
        pipeline.process(f"{fresh}/{owner}/{digit * 32}/a.jpg", jpeg(32, 32))
    found = told(ops, "status", f"{fresh}-{'1' * 32}")
    assert found["object"].endswith(f"/{mine}/{'1' * 32}/a.jpg")
    survey = told(ops, "reconcile", "--file", f"{fresh}-{'1' * 32}", "--min-age", "0")
    assert (survey["uploads"], survey["done"]) == (1, 1)
    told(ops, "erase", f"{fresh}-{'1' * 32}", "--apply")
    assert ops("status", f"{fresh}-{'1' * 32}").code == 2
    assert left(pipeline, "1" * 32) == []
    assert left(pipeline, "2" * 32)
    told(ops, "erase", "--owner", mine, "--apply")
    assert left(pipeline, f"/{mine}/") == []
    assert left(pipeline, f"/{other}/")


def test_a_task_that_waits_goes_with_its_file(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    name = f"{fresh}/waits.jpg"
    ops("pause")
    pipeline.process(name, jpeg(32, 32))
    (task,) = pipeline.tasks()
    for known in (task, task.rpartition("/")[2]):
        assert told(ops, "status", known)["object"].endswith(name)
    told(ops, "erase", f"gs://{pipeline.uploads}/{name}", "--apply")
    assert pipeline.tasks() == []
    assert ops("status", task).code == 2
    ops("resume")
    pipeline.settle()
    assert left(pipeline, name) == []


def test_erasing_waits_for_a_task_under_way_and_takes_what_it_writes(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    name, begun, over = f"{fresh}/busy.jpg", Event(), Event()
    replaced = [pipeline.process(name, jpeg(n, n)) for n in (32, 48)]

    def work(body: bytes) -> None:
        begun.set()
        assert over.wait(120)
        key = f"{name}/{json.loads(body)['object']['generation']}"
        record = pipeline.client.bucket(pipeline.results).blob(f"manifests/{key}.json")
        record.upload_from_string("{}")

    with stub(pipeline, PROCESSOR, work), ThreadPoolExecutor() as pool:
        pipeline.upload(name, jpeg(64, 64))
        assert begun.wait(120)
        watch = Watch(pipeline.cloud)
        erasing = pool.submit(told, ops, "erase", f"gs://{pipeline.uploads}/{name}", "--apply")
        deleted = {"kind": "api", "method": "storage.objects.delete"}
        looked = {"kind": "api", "method": "cloudtasks.projects.locations.queues.tasks.list"}
        until(lambda: len(watch.lines(**deleted)) >= 3 and len(watch.lines(**looked)) >= 3)
        assert not erasing.done()  # the uploads are gone, and it looks again and again
        assert [n for n in left(pipeline, name) if n == name] == []
        assert len(pipeline.listing(f"manifests/{name}/")) == len(replaced)
        over.set()
        gone = erasing.result()["objects"]
    assert (gone["uploads"], gone["manifests"]) == (3, 3)
    again = told(ops, "erase", f"gs://{pipeline.uploads}/{name}", "--apply")
    assert set(again["objects"].values()) == {0}
    pipeline.settle()
    assert left(pipeline, name) == []


def test_erasing_leaves_nothing_under_load(pipeline: Pipeline, ops: Operator, fresh: str) -> None:
    names = [f"{fresh}/load-{n}.jpg" for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        uploads = [pool.submit(pipeline.upload, name, jpeg(1500, 1000)) for name in names]
        uploads[0].result()
        until(lambda: pipeline.cloud.journal("tasks.attempt") or pipeline.tasks())
        erasing = [pool.submit(erased_apart, pipeline, name) for name in names[:3]]
        for one in (*uploads, *erasing):
            one.result()
    pipeline.settle()
    for name in names[:3]:
        told(ops, "erase", f"gs://{pipeline.uploads}/{name}", "--apply")
        assert left(pipeline, name) == []
    for name in names[3:]:
        assert pipeline.listing(f"manifests/{name}/")


@pytest.mark.parametrize("target", ["photos", "gs://other-bucket/a.jpg"])
def test_what_is_no_file_is_refused(ops: Operator, target: str) -> None:
    assert ops("erase", target, "--apply").code == 2


# stats


def test_the_numbers_are_those_of_the_records(
    pipeline: Pipeline, ops: Operator, fresh: str, tmp_path: Path
) -> None:
    for n in range(4):
        pipeline.process(f"{fresh}/{n}.jpg", jpeg(32, 32) if n else BROKEN)
    page = tmp_path / "stats.html"
    found = told(ops, "stats", "--prefix", f"{fresh}/", "--html", str(page))
    assert (found["files"], found["outcomes"]) == (4, {"done": 3, "failed": 1})
    assert sum(found["failures"].values()) == 1
    assert found["bytes"] == 3 * len(jpeg(32, 32)) + len(BROKEN)
    assert set(found["stages"]) == {"queued", "download", "process", "upload", "total"}
    assert sum(day["files"] for day in found["days"].values()) == 4
    assert "4 files since" in page.read_text()
    later = told(ops, "stats", "--prefix", f"{fresh}/", "--until", "2020-01-01")
    assert later["files"] == 0


# pause and resume


def test_a_pause_loses_nothing_and_the_doctor_says_so(
    pipeline: Pipeline, ops: Operator, fresh: str
) -> None:
    ops("pause", "--lane", "default")
    generation = pipeline.process(f"{fresh}/paused.jpg", jpeg(32, 32))
    assert pipeline.manifest(f"{fresh}/paused.jpg", generation) is None
    url = f"gs://{pipeline.uploads}/{fresh}/paused.jpg"
    assert ", and its queue is paused: resume\n" in ops("status", url).out
    assert "PAUSED, by hand" in ops("doctor").out
    planned = " ".join(pipeline.deployment.make("plan", "ENV=dev").stdout.split())
    assert "No changes." in planned
    assert "is PAUSED, and declared is paused = false" in planned
    ops("resume")
    pipeline.settle()
    assert pipeline.manifest(f"{fresh}/paused.jpg", generation)
    assert ops("pause", "--lane", "nope").code == 2


# Least roles: docs/operations.md lists those of roles.py


OPERATOR = "user:operator@example.com"


@pytest.mark.parametrize("command", dict.fromkeys(title.split()[0] for title in CARE))
def test_the_documented_roles_suffice_and_each_is_needed(
    pipeline: Pipeline, ops: Operator, fresh: str, command: str
) -> None:
    on, titles = resources(pipeline), [title for title in CARE if title.split()[0] == command]
    needed = [(on[where], role) for role, where in needs(*titles)]
    names = [f"{fresh}/{number}.jpg" for number in range(len(needed) + 1)]
    if command == "logs":
        pipeline.upload(names[0], jpeg(32, 32))
    if command == "erase":  # each time a file of its own, whose task waits
        ops("pause")
        for name in names:
            pipeline.upload(name, jpeg(32, 32))
        pipeline.settle()

    def run(number: int) -> Ran:
        words = {
            "erase": (f"gs://{pipeline.uploads}/{names[number]}", "--apply"),
            "logs": (f"gs://{pipeline.uploads}/{names[0]}",),
        }
        return ops(command, *words.get(command, ()), member=OPERATOR)

    with ExitStack() as stack:
        bindings = [[*it, OPERATOR, None] for it in needed]
        for binding in bindings:
            stack.enter_context(granted(pipeline.cloud, binding))
        for number, binding in enumerate(bindings):
            with ExitStack() as without:
                without.enter_context(withheld(pipeline.cloud, binding))
                if binding[1] == USER:  # nor is reading enough
                    reads = [binding[0], VIEWER, *binding[2:]]
                    without.enter_context(granted(pipeline.cloud, reads))
                ran = run(number)
                assert ran.code == 2, f"{command} needs no {binding}: {ran.out}"
                assert len(ran.err.splitlines()) == 1, ran.err
        ran = run(len(needed))
        assert ran.code == 0, ran.err
    ops("resume")
