"""The pipeline's own processing of an uploaded file, or of all under a prefix: same records, same
outputs, and the settings of a lane, but with a task's time and memory in place of the lane's."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

from batch.records import DONE, FAILED
from batch.tasks import TaskId
from contract.task import FIELDS, Task
from processor.cloud import Cloud
from processor.delivery import Delivery, Worker
from processor.fence.worker import Fence
from processor.formats import BASE_BYTES
from processor.memory import Gate, bound_allocator
from processor.settings import Config as Processor
from processor.storage import Storage
from runtime.logs import Log
from runtime.storage import cloud_storage
from worker.handlers import Failed, Unavailable
from worker.settings import Config

TRIES = 4
PAUSE_SECONDS = 2.0  # doubled after each try
SHOWN = 20  # failures that an outcome names
OWN = ("MEMORY_BYTES", "SOURCE_VERSION", "WORK_SECONDS")  # of the task, not of a lane


def handle(task: TaskId, request: dict[str, Any]) -> dict[str, Any]:
    """Outcome: {files, done, failed, records, failures}. Raises Failed and Unavailable."""
    config = _settings(request.get("lane", "default"))
    bound_allocator()
    client = cloud_storage(config.project_id)
    gate = Gate(max(0, config.memory_bytes - BASE_BYTES))
    log = Log(config.project_id, config.hash_object_names)
    storage = Storage(Cloud(), config.results_bucket)
    worker = Worker(config, storage, gate, log, Fence(config))
    done, failures, names = 0, [], []
    for resource in _objects(client, config.uploads_bucket, request):
        body = {"object": resource, "run": request.get("run", 0), "lane": config.lane}
        parsed = Task.parse(json.dumps(body).encode())
        record = _recorded(worker, parsed)
        work = parsed.work
        if record["status"] == DONE:
            done += 1
            names.append(work.manifest)
        else:
            names.append(work.failure)
            failures.append({"object": work.name, "reason": record["reason"]})
    if not names:
        wanted = request.get("filename", request.get("prefix"))
        raise Failed("object_not_found", f"gs://{config.uploads_bucket}/{wanted} does not exist.")
    counts = {"files": len(names), "done": done, "failed": len(failures)}
    shown = {"records": names[:SHOWN], "failures": failures[:SHOWN]}
    if not failures:
        return {"status": DONE} | counts | shown
    if "filename" in request:
        return {"status": FAILED, "reason": failures[0]["reason"]} | counts | shown
    detail = f"{len(failures)} of {len(names)} files failed; each has its failure record."
    return {"status": FAILED, "reason": "some_files_failed", "detail": detail} | counts | shown


def _settings(lane: str) -> Processor:
    """Raises Failed."""
    lanes = Config.from_env().lanes
    if lane not in lanes:
        detail = f"There is no lane {lane} with a processor; there are {', '.join(sorted(lanes))}."
        raise Failed("invalid_request", detail)
    own = {name: os.environ[name] for name in OWN}
    return Processor.from_env({**os.environ, **lanes[lane], **own})


def _recorded(worker: Worker, task: Task) -> Any:
    """The record that the file ended in. Raises Unavailable where none can be written now."""
    for number in range(TRIES):
        record, code = Delivery(worker, task).run()
        if code == 200:
            return record
        time.sleep(PAUSE_SECONDS * 2**number)
    raise Unavailable(f"{record['reason']}: {record['detail']}")


def _objects(client: Any, bucket: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The live objects as Cloud Storage describes them, with the fields that a task carries."""
    if "filename" in request:
        found = client.bucket(bucket).get_blob(request["filename"])
        blobs = [found] if found else []
    else:
        blobs = client.list_blobs(bucket, prefix=request["prefix"])
    for blob in blobs:
        if not blob.name.endswith("/"):
            yield {field: blob._properties[field] for field in FIELDS if field in blob._properties}
