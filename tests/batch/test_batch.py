"""Batch on an applied environment: from a submission over HTTP to its outcome."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.docs_permissions import Grant, grants
from tests.bench.batch import alive, worker_cpu
from tests.localcloud.client import OWNER
from tests.permissions.tools import Binding, made_by, narrower_for, used
from tests.system.pipeline import jpeg

from . import proofs
from .deployed import NORMAL, RUN, Batch, lines
from .soak import fault_run

HOUR, DAY = 3600, 86400


@pytest.fixture
def quiet(batch: Batch) -> Iterator[Batch]:
    """No execution runs, and no message waits for its lease."""
    batch.quiet()
    yield batch
    batch.quiet()


# The recipe


def test_the_recipes_calls_end_in_outcomes_with_their_outputs(batch: Batch) -> None:
    """Its submit and execute steps with curl and gcloud, and what it looks at afterwards."""
    name = "test-document.jpg"
    batch.upload(name, jpeg())
    file, data = (
        curl(batch, "submit-file-task", f'{{"filename": "{name}", "processing_time": 3}}'),
        curl(batch, "submit-data-task", '{"dataset_size": 500, "transformation": "aggregation"}'),
    )
    assert (file["status"], data["status"]) == ("submitted", "submitted")
    execute(batch)
    shown = batch.task(file["task_id"])
    assert (shown["status"], shown["done"]) == ("done", 1)
    assert batch.client.bucket(batch.results).blob(shown["records"][0]).exists()
    shown = batch.task(data["task_id"])
    assert (shown["status"], shown["rows"]) == ("done", 1)
    made = batch.client.bucket(batch.tasks_bucket).blob(shown["outputs"][0]["object"])
    assert made.download_as_text().splitlines()[1].startswith("500,124750,")


def curl(batch: Batch, path: str, body: str) -> dict[str, str]:
    if not shutil.which("curl"):
        pytest.skip("curl is not here: its commands did not run")
    command = ["curl", "-sS", "-X", "POST", f"{batch.base}/{path}"]
    command += ["-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def execute(batch: Batch) -> None:
    """`gcloud run jobs execute --wait`, which comes back: this worker ends."""
    if not shutil.which("gcloud"):
        batch.call("POST", f"{RUN}/{batch.place}/jobs/{NORMAL}:run", {})
        return
    command = ["gcloud", "run", "jobs", "execute", NORMAL, "--region=us-central1", "--wait"]
    environ = os.environ | batch.cloud.environ(OWNER)
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert "has successfully completed" in done.stderr, done.stderr


# Whatever happens


def test_every_task_has_one_outcome_under_every_fault(quiet: Batch) -> None:
    """A small one of `make soak-batch`: duplicates, lost answers, deaths at each step."""
    report = fault_run(quiet, seed=7, tasks=60)
    assert report.problems == [], report


def test_whatever_a_handler_does_has_a_name(quiet: Batch) -> None:
    wanted = {
        "raise": "handler_failed", "crash": "process_crashed", "eat": "out_of_memory",
        "nothing": "done",
    }  # fmt: skip
    text = "\n".join(
        json.dumps({"task_type": "errand", "does": does, "key": does}) for does in wanted
    )
    quiet.submitted("POST", "/tasks:batch?batch_id=handlers", data=text)
    quiet.ended("handlers")
    tasks = quiet.submitted("GET", "/tasks?batch_id=handlers")["tasks"]
    shown = [quiet.submitted("GET", f"/tasks/{task['task_id']}") for task in tasks]
    assert {s["request"]["does"]: s.get("reason", s["status"]) for s in shown} == wanted
    ended = [line["payload"] for line in quiet.cloud.journal("log")
             if "handlers." in str(line["payload"])]  # fmt: skip
    assert {one["delivery"] for one in ended if one["event"] in ("task_done", "task_failed")} == {1}


def test_an_input_that_is_not_there_is_that_tasks_failure(batch: Batch) -> None:
    wanted = {"task_type": "data_transformation", "input": "gone.csv"}
    shown = batch.task(batch.submitted("POST", "/submit-task", json=wanted)["task_id"])
    assert (shown["status"], shown["reason"]) == ("failed", "object_not_found")


def test_a_cancelled_batch_is_not_begun(quiet: Batch) -> None:
    quiet.submitted("POST", "/tasks:batch?batch_id=cancelled", data=lines(20))
    quiet.submitted("POST", "/batches/cancelled:cancel")
    counts = quiet.counts("cancelled")
    assert (counts["cancelled"] + counts["done"], counts["waiting"]) == (20, 0)


def test_the_benchmark_tells_what_a_task_costs_a_core(quiet: Batch) -> None:
    """Nothing is said about times."""
    assert worker_cpu(quiet, "errand", {"task_type": "errand"}, 10) > 0
    assert 0 < alive(60, 0.1, 20) < 3


# Who operates it


def operate(batch: Batch, *words: str) -> str:
    return batch.ops("tasks", *words).out


def test_an_operator_submits_lists_redrives_and_cancels(quiet: Batch, tmp_path: Path) -> None:
    file = tmp_path / "tasks.ndjson"
    file.write_text(lines(3) + '\n{"task_type": "errand", "key": "bad", "does": "raise"}\n')
    with ThreadPoolExecutor(1) as one:
        words = ("tasks", "submit", str(file), "--batch", "operated", "--wait")
        submitting = one.submit(quiet.ops, *words)
        quiet.until(submitting.done)
    assert submitting.result().out.splitlines()[-2:] == [
        "4 submitted, 0 were there already", "0 waiting, 3 done, 1 failed, 0 cancelled",
    ]  # fmt: skip
    assert submitting.result().code == 1
    listed = operate(quiet, "list", "--batch", "operated", "--status", "failed")
    (failed,) = re.findall(r"operated\.[0-9a-f]{32}", listed)
    assert '"reason": "handler_failed"' in operate(quiet, "show", failed)
    logged = quiet.ops("logs", "--event", "task_failed").out
    (line,) = (one for one in logged.splitlines() if f"task_id={failed}" in one)
    assert "reason=handler_failed" in line
    assert NORMAL in line
    assert "would be submitted again" in operate(quiet, "redrive", failed)
    assert "is submitted again as" in operate(quiet, "redrive", failed, "--apply")
    quiet.ended("operated")
    quiet.quiet()  # a worker still at work would take what is to be cancelled
    quiet.submitted("POST", "/tasks:batch?batch_id=dropped", data=lines(2))
    assert "2 would be cancelled" in operate(quiet, "cancel", "dropped")
    assert "2 cancelled" in operate(quiet, "cancel", "dropped", "--apply")


def test_an_execution_that_fails_and_what_is_set_aside_are_told(quiet: Batch) -> None:
    """The alerts ring and fall silent, and the doctor names both."""
    assert quiet.firing() == set()
    fails = {"containerOverrides": [{"env": [{"name": "AT_ONCE", "value": "none"}]}]}
    for _ in range(3):
        url = f"{RUN}/{quiet.place}/jobs/{NORMAL}:run"
        quiet.call("POST", url, {"overrides": fails})
    quiet.until(lambda: quiet.firing() == {"batch_executions_failed"})
    assert doctor(quiet) == {"executions of batch"}
    executor = [f"{quiet.place}/jobs/{NORMAL}", "roles/run.jobsExecutor",
                proofs.account(quiet, "starter"), None]  # fmt: skip
    with proofs.withheld(quiet.cloud, executor):
        quiet.submitted("POST", "/submit-task", json={"task_type": "errand"})
        proofs.exhaust(quiet)
        assert quiet.firing() == {"batch_executions_failed", "batch_dead_letters"}
        assert doctor(quiet) > {"executions of batch", "dead letters of batch"}  # and the binding
        waits = quiet.submitted("POST", "/submit-task", json={"task_type": "errand"})["task_id"]
        quiet.cloud.advance(HOUR)
        quiet.quiet()
        assert quiet.firing() - {"batch_executions_failed"} == {"batch_backlog"}  # of this hour
    assert quiet.task(waits)["status"] == "done"
    quiet.until(lambda: quiet.firing() == set())
    assert doctor(quiet) == set()


def doctor(batch: Batch) -> set[str]:
    """The checks that found something wrong."""
    found = batch.ops("doctor", "--json").json["findings"]
    return {one["check"] for one in found if one["level"] in ("error", "warning")}


# Permissions


@pytest.fixture(scope="session")
def applied(batch: Batch) -> dict[Grant, Binding]:
    """What batch's module granted."""
    own = made_by(batch.deployment, "dev", "batch")
    found = grants(batch.cloud.get("/bindings"))
    return {
        grant: binding for grant, binding in found.items()
        if (binding[0].rpartition("/")[2], binding[1], binding[2]) in own
    }  # fmt: skip


def test_every_binding_has_a_proof(applied: dict[Grant, Binding]) -> None:
    proved = {key for proof in proofs.PROOFS for key in proof.keys}
    assert {grant.key for grant in applied} == proved


@pytest.mark.parametrize("proof", proofs.PROOFS, ids=lambda proof: " ".join(proof.keys[0]))
def test_without_its_binding_a_step_is_refused_and_with_it_again_it_happens(
    quiet: Batch, applied: dict[Grant, Binding], proof: proofs.Proof
) -> None:
    bindings = [applied[Grant(*key)] for key in proof.keys]
    proof.story(quiet, proofs.Held(quiet, bindings, proof.refusals))


# At the end


def test_whatever_was_accepted_has_ended(quiet: Batch) -> None:
    def waiting() -> list[str]:
        return [t["task_id"] for t in quiet.submitted("GET", "/tasks?status=waiting")["tasks"]]

    quiet.until(lambda: not waiting())


def test_every_binding_is_used_and_none_could_be_narrower(
    batch: Batch, applied: dict[Grant, Binding]
) -> None:
    exercised = dict(batch.cloud.get("/permissions"))
    assert [grant for grant, binding in applied.items() if not used(binding, exercised)] == []
    found = {grant.key: narrower_for(binding, exercised) for grant, binding in applied.items()}
    assert {key: roles for key, roles in found.items() if roles} == {}


def test_the_environment_has_no_difference(batch: Batch) -> None:
    plan = batch.deployment.make("plan", "ENV=dev").stdout
    assert "No changes." in plan, [line for line in plan.splitlines() if line.startswith("  #")]
