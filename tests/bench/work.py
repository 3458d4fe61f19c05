"""Tasks for both processors, and small files."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable

from PIL import Image

from tests.bench.site import Site

_runs = itertools.count(1)


def small_photo() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((640, 480), 40).convert("RGB").save(file, "JPEG", quality=88)
    return file.getvalue()


def task(site: Site, name: str, data: bytes, content_type: str) -> Callable[[], bytes]:
    """Bodies of tasks for our processor, each a run of its own."""
    generation = site.upload(name, data, content_type)
    fields = {
        "bucket": site.uploads, "name": name, "generation": generation, "size": str(len(data)),
        "contentType": content_type, "timeCreated": "2026-11-21T00:00:00Z",
    }  # fmt: skip
    return lambda: json.dumps(
        {"object": fields, "run": next(_runs), "lane": "default", "records": {}}
    ).encode()


def baseline_task(site: Site, name: str, data: bytes, content_type: str) -> Callable[[], bytes]:
    """Bodies for the tutorial's processor, which overwrites what it made of the file before."""
    site.upload(name, data, content_type)
    body = json.dumps({"bucket": site.uploads, "filename": name, "content_type": content_type})
    return body.encode
