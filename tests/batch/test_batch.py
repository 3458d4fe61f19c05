"""Batch on an applied environment: from a submission over HTTP to its outcome."""

from __future__ import annotations

import json

from tests.system.pipeline import jpeg

from .conftest import Batch

DATA = {"task_type": "data_transformation", "dataset_size": 20}


def lines(count: int, **more: object) -> str:
    return "\n".join(json.dumps(DATA | {"key": str(n)} | more) for n in range(count))


def test_the_recipes_calls_end_in_outcomes_with_their_outputs(batch: Batch) -> None:
    name = "batch/test-document.jpg"
    batch.pipeline.upload(name, jpeg())
    file = batch.call("POST", "/submit-file-task", json={"filename": name, "processing_time": 3})
    data = batch.call(
        "POST", "/submit-data-task", json={"dataset_size": 500, "transformation": "aggregation"}
    )
    assert (file["status"], data["status"]) == ("submitted", "submitted")
    shown = batch.task(file["task_id"])
    assert (shown["status"], shown["done"]) == ("done", 1)
    bucket = batch.pipeline.client.bucket(batch.pipeline.outputs["results_bucket"])
    assert bucket.blob(shown["records"][0]).exists()
    shown = batch.task(data["task_id"])
    assert (shown["status"], shown["rows"]) == ("done", 1)
    tasks = batch.pipeline.client.bucket(batch.pipeline.outputs["batch"]["tasks_bucket"])
    made = tasks.blob(shown["outputs"][0]["object"]).download_as_text()
    assert made.splitlines()[1].startswith("500,124750,")


def test_every_task_has_one_outcome_under_duplicates_and_lost_answers(batch: Batch) -> None:
    batch.cloud.post(
        "/faults",
        {
            "rates": {"pubsub.duplicate": 0.3, "pubsub.lost_ack": 0.2},
            "rules": [
                {"method": "storage.objects.insert", "object": "tasks/*", "rate": 0.1,
                 "after": True},
                {"method": "storage.objects.get", "object": "tasks/*", "rate": 0.1},
            ],
        },
    )  # fmt: skip
    while (
        batch.http.post(f"{batch.base}/tasks:batch?batch_id=faults", lines(30)).status_code != 200
    ):
        pass  # a client that is told to try again does so with the same keys
    counts = batch.ended("faults")
    assert (counts["total"], counts["done"]) == (30, 30)
    again = batch.call("POST", "/tasks:batch?batch_id=faults", data=lines(30))
    assert (again["submitted"], again["already"]) == (0, 30)


def test_an_input_that_is_not_there_is_that_tasks_failure(batch: Batch) -> None:
    wanted = {"task_type": "data_transformation", "input": "gone.csv"}
    made = batch.call("POST", "/submit-task", json=wanted | {"priority": "urgent"})
    shown = batch.task(made["task_id"])
    assert (shown["status"], shown["reason"]) == ("failed", "object_not_found")


def test_a_cancelled_batch_is_not_begun(batch: Batch) -> None:
    batch.call("POST", "/tasks:batch?batch_id=cancelled", data=lines(20))
    batch.call("POST", "/batches/cancelled:cancel")
    counts = batch.call("GET", "/batches/cancelled")
    assert (counts["cancelled"] + counts["done"], counts["waiting"]) == (20, 0)


def test_the_environment_has_no_difference(batch: Batch) -> None:
    assert "No changes." in batch.pipeline.deployment.make("plan", "ENV=dev").stdout
