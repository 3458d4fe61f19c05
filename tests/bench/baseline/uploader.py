"""The tutorial's upload service, written anew from its description: it creates the task itself."""

from __future__ import annotations

import json
import os
from typing import Any

from flask import Flask, jsonify, request
from google.cloud import storage, tasks_v2

app = Flask(__name__)
client = storage.Client()
tasks = tasks_v2.CloudTasksClient()
UPLOADS, QUEUE, PROCESSOR = (
    os.environ.get(n, "") for n in ("UPLOADS_BUCKET", "QUEUE", "PROCESSOR")
)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/upload")
def upload() -> Any:
    file = request.files["file"]
    client.bucket(UPLOADS).blob(file.filename).upload_from_file(
        file, content_type=file.content_type
    )
    body = {"bucket": UPLOADS, "filename": file.filename, "content_type": file.content_type}
    task = {
        "http_request": {
            "http_method": tasks_v2.HttpMethod.POST,
            "url": f"{PROCESSOR}/process",
            "headers": {"Content-Type": "application/json"},
            "body": json.dumps(body).encode(),
        }
    }
    made = tasks.create_task(parent=QUEUE, task=task)
    return jsonify({"message": "File uploaded", "filename": file.filename, "task_name": made.name})
