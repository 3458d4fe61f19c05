"""The tutorial's processing service, written anew from its description, faults and all."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from flask import Flask, jsonify, request
from google.cloud import storage
from PIL import Image

app = Flask(__name__)
client = storage.Client()
RESULTS = os.environ.get("RESULTS_BUCKET", "")


def shrink(source: str | IO[bytes], target: str | IO[bytes]) -> None:
    """Reads an image and writes its thumbnail."""
    with Image.open(source) as image:
        image.thumbnail((300, 300), Image.Resampling.LANCZOS)
        image.convert("RGB").save(target, "JPEG", quality=85, optimize=True)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/process")
def process() -> Any:
    began = time.time()
    task = request.get_json()
    name, content_type = task["filename"], task["content_type"]
    try:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            path = file.name
        client.bucket(task["bucket"]).blob(name).download_to_filename(path)
        if content_type.startswith("image/"):
            shrink(path, path)
            result = f"thumb_{name}"
        else:
            result = f"processed_{int(began)}_{name}"
        bucket = client.bucket(RESULTS)
        bucket.blob(result).upload_from_filename(path)
        metadata = {
            "original_filename": name,
            "processed_filename": result,
            "processing_time": time.time() - began,
            "content_type": content_type,
            "status": "completed",
        }
        bucket.blob(f"{result}.metadata.json").upload_from_string(
            json.dumps(metadata), content_type="application/json"
        )
        Path(path).unlink()
        return jsonify(metadata)
    except Exception as error:
        return jsonify({"error": str(error)}), 500
