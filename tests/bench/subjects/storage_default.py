"""What the tutorial's processor asks of Cloud Storage for one image: default client, default calls.

One claim fewer than ours: it has no attempts to count.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from google.cloud import storage


def make(
    uploads: str, results: str, name: str, generation: str, size: int, output: int
) -> Callable[[], None]:
    client = storage.Client()
    data, record = os.urandom(output), json.dumps({"record": "x" * 900})
    serial, own = itertools.count(), f"{os.getpid()}"

    def step() -> None:
        key = f"default/{own}/{next(serial)}"
        with tempfile.NamedTemporaryFile() as file:
            client.bucket(uploads).blob(name).download_to_filename(file.name)
            if Path(file.name).stat().st_size != size:
                raise ValueError("short")
            Path(file.name).write_bytes(data)
            bucket = client.bucket(results)
            bucket.blob(f"files/{key}").upload_from_filename(file.name)
            bucket.blob(f"manifests/{key}").upload_from_string(
                record, content_type="application/json"
            )

    return step
