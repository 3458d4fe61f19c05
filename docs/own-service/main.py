"""Counts the lines of a text: a lane's target, which takes a task and leaves a record."""

import json
import os
from contextlib import suppress

import functions_framework
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import storage

from contract.task import Task

client = storage.Client()


def count(data: bytes) -> dict:
    """What is known of a text, as functions/contract/schemas/manifest.schema.json has it."""
    timings = {"queued": None, "download": 0, "process": 0, "upload": 0}
    text = {"encoding": "unknown-8bit", "lines": data.count(b"\n")}
    detected = {"contentType": "text/plain", "matchesDeclared": None}
    return {"detected": detected, "outputs": [], "text": text, "timings": timings}


@functions_framework.http
def handle(request):
    task, records = Task.parse(request.get_data()), request.get_json()["records"]
    work, version = task.work, os.environ["SOURCE_VERSION"]
    record = {"schema": 1, "source": task.source, "run": work.run, "attempt": 1, "version": version}
    upload = client.bucket(work.bucket).blob(work.name, generation=int(work.generation))
    try:
        data = upload.download_as_bytes()
        url, record = records["manifest"], record | {"status": "done"} | count(data)
    except NotFound:
        gone = {"reason": "source_gone", "detail": "The upload is gone.", "retryable": False}
        url, record = records["failure"], record | {"status": "failed", "trace": work.trace} | gone
    blob = storage.Blob.from_string(url, client)
    # A task can come twice: then its record is there.
    with suppress(PreconditionFailed):
        blob.upload_from_string(json.dumps(record), "application/json", if_generation_match=0)
    return "", 204
