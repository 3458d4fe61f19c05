"""The same requests by google-cloud-storage, used with care.

One request each: the generation is named, nothing is reloaded, crc32c only, no retries, and the
library's background fetch of bucket metadata is off.
"""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Callable

os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"
from google.cloud import storage


def make(
    uploads: str, results: str, name: str, generation: str, size: int, output: int
) -> Callable[[], None]:
    client = storage.Client()
    source, target = client.bucket(uploads), client.bucket(results)
    data, record = os.urandom(output), json.dumps({"record": "x" * 900}).encode()
    serial, own = itertools.count(), f"{os.getpid()}"

    def create(path: str, content: bytes, content_type: str, **metadata: str) -> None:
        blob = target.blob(path)
        if metadata:
            blob.metadata = metadata
        blob.upload_from_string(
            content, content_type, if_generation_match=0, checksum="crc32c", retry=None
        )

    def step() -> None:
        key = f"library/{own}/{next(serial)}"
        blob = source.blob(name, generation=int(generation))
        file = io.BytesIO()
        blob.download_to_file(
            file, raw_download=True, checksum="crc32c", retry=None, single_shot_download=True
        )
        if len(file.getbuffer()) != size:
            raise ValueError("short")
        create(f"attempts/{key}", b"{}", "application/json")
        create(f"files/{key}", data, "image/jpeg", **{"source-object": name})
        create(f"manifests/{key}", record, "application/json")

    return step
