"""The processor: a task of one object generation becomes a manifest or a failure record."""

from __future__ import annotations

import functions_framework
from flask import Request

from contract.task import Malformed, Task
from processor.cloud import Cloud
from processor.delivery import Answer, Delivery, Worker
from processor.fence.worker import Fence
from processor.formats import BASE_BYTES
from processor.memory import Gate, bound_allocator
from processor.settings import Config
from processor.storage import Storage
from runtime.logs import Log
from runtime.once import once

bound_allocator()


@once
def worker() -> Worker:
    config = Config.from_env()
    storage = Storage(Cloud(), config.results_bucket)
    gate = Gate(max(0, config.memory_bytes - BASE_BYTES))
    log = Log(config.project_id, config.hash_object_names)
    return Worker(config, storage, gate, log, Fence(config))


@functions_framework.http
def handle(request: Request) -> Answer:
    """GET → health; POST of a task → its record, or 5xx when there is none yet."""
    this = worker()
    if request.method != "POST":
        return {"status": "ok", "version": this.config.source_version}, 200
    try:
        task = Task.parse(request.get_data())
    except Malformed as error:
        return _rejected(this, "malformed", str(error))
    if task.work.bucket != this.config.uploads_bucket:
        return _rejected(this, "foreign_bucket", "the object is not in the uploads bucket")
    return Delivery(this, task).run()


def _rejected(this: Worker, reason: str, detail: str) -> Answer:
    """2xx: no record can be written, and trying again would change nothing."""
    this.log.write(
        "ERROR", "rejected", "not a task of this processor", reason=reason, detail=detail
    )
    return {"status": "rejected", "reason": reason, "detail": detail}, 200
