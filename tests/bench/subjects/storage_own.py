"""What the processor asks of Cloud Storage for one image: with its own module and client."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable


def make(
    uploads: str, results: str, name: str, generation: str, size: int, output: int
) -> Callable[[], None]:
    os.environ |= {"UPLOADS_BUCKET": uploads, "RESULTS_BUCKET": results}
    import main
    from contract.identity import Work

    storage = main.worker().storage
    work = Work(uploads, name, generation, 0)
    data, record = os.urandom(output), json.dumps({"record": "x" * 900}).encode()
    serial, own = itertools.count(), f"{os.getpid()}"

    def step() -> None:
        key = f"own/{own}/{next(serial)}"
        source = storage.open(work, size)
        storage.create(f"attempts/{key}", b"{}", "application/json")
        if len(source.all(1 << 30).getbuffer()) != size:
            raise ValueError("short")
        storage.create(f"files/{key}", data, "image/jpeg", metadata={"source-object": name})
        storage.create(f"manifests/{key}", record, "application/json")

    return step
