"""The same requests as few lines over urllib3: what a client of our own could reach."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
from collections.abc import Callable

import google_crc32c

from tests.bench.subjects.direct import Google

HOST = "https://storage.googleapis.com"
BOUNDARY = "=-part-of-one-object-="


def make(
    uploads: str, results: str, name: str, generation: str, size: int, output: int
) -> Callable[[], None]:
    google = Google()
    target = f"{HOST}/upload/storage/v1/b/{results}/o?uploadType=multipart&ifGenerationMatch=0"
    data, record = os.urandom(output), json.dumps({"record": "x" * 900}).encode()
    serial, own = itertools.count(), f"{os.getpid()}"

    def create(path: str, content: bytes, content_type: str, **metadata: str) -> None:
        crc = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
        fields = {"name": path, "contentType": content_type, "crc32c": crc, "metadata": metadata}
        head = f"--{BOUNDARY}\r\nContent-Type: application/json\r\n\r\n{json.dumps(fields)}\r\n"
        head += f"--{BOUNDARY}\r\nContent-Type: {content_type}\r\n\r\n"
        body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        kind = f'multipart/related; boundary="{BOUNDARY}"'
        if google.ask("POST", target, kind, body=body).status != 200:
            raise ValueError("refused")

    def step() -> None:
        key = f"direct/{own}/{next(serial)}"
        url = f"{HOST}/storage/v1/b/{uploads}/o/{name}?alt=media&generation={generation}"
        response = google.ask("GET", url, preload_content=False)
        file = io.BytesIO(bytes(size))  # of its final size: growing costs as much as reading
        crc = 0
        while piece := response.read(1 << 20, decode_content=False):
            crc = google_crc32c.extend(crc, piece)
            file.write(piece)
        response.release_conn()
        if response.status != 200 or file.tell() != size:
            raise ValueError("short")
        create(f"attempts/{key}", b"{}", "application/json")
        create(f"files/{key}", data, "image/jpeg", **{"source-object": name})
        create(f"manifests/{key}", record, "application/json")

    return step
