"""The processor over one file after another: a path on each line of stdin, its end on stdout.

A process of its own, so that a crash, a hang or a lack of memory is seen and not shared.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import jsonschema

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT / part) for part in ("tests/functions", "functions", "functions/processor")
]

from function_fakes import PROCESSOR_ENV, FakeStorage, load, task  # noqa: E402
from PIL import Image  # noqa: E402

from processor.fence.worker import Fence  # noqa: E402
from processor.memory import Gate  # noqa: E402
from processor.storage import Storage  # noqa: E402
from runtime.logs import Log  # noqa: E402

KIND = os.environ.get("KIND", "default")
MEMORY_MIB = {"media": 1024}.get(KIND, 512)  # what the instance declares
ADDRESS_SPACE = 4 << 30  # a last resort: decoders map more than they touch
SETTINGS = {"MEMORY_BYTES": str(MEMORY_MIB << 20), "KIND": KIND}
if KIND == "media":  # whatever shows something is made a video of, too
    renditions = json.loads(PROCESSOR_ENV["RENDITIONS"])
    film = {"width": 300, "height": 300, "format": "mp4"}
    SETTINGS["RENDITIONS"] = json.dumps(renditions | {"film": film})
TYPES = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".gif": "image/gif",
    ".webp": "image/webp", ".bmp": "image/bmp", ".tif": "image/tiff", ".tiff": "image/tiff",
    ".avif": "image/avif", ".heic": "image/heic", ".heif": "image/heic", ".pdf": "application/pdf",
    ".csv": "text/csv", ".tsv": "text/tab-separated-values", ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson", ".parquet": "application/vnd.apache.parquet",
}  # fmt: skip
FACTS = ("image", "document", "media", "table", "text")


def schemas() -> dict[str, Any]:
    return {
        status: json.loads((ROOT / f"functions/contract/schemas/{name}.schema.json").read_text())
        for status, name in (("done", "manifest"), ("failed", "failure"))
    }


def kept(path: Path) -> Path:
    """Where the file's thumbnail goes when CORPUS_KEEP names a folder."""
    return Path(os.environ["CORPUS_KEEP"]) / (hashlib.sha256(bytes(path)).hexdigest()[:16] + ".jpg")


class Seen(Fence):
    """Keeps the most that a file's process took, in bytes."""

    grown = 0

    def launch(self, *about: Any) -> Any:
        ended = super().launch(*about)
        self.grown = max(self.grown, ended.grown)
        return ended


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    answers, log = os.fdopen(os.dup(1), "w"), os.memfd_create("log")
    os.dup2(log, 1)
    module, http = load("processor")
    config = module.Config.from_env(PROCESSOR_ENV | SETTINGS)
    gate = Gate(config.memory_bytes - module.BASE_BYTES)
    fence = Seen(config)
    wanted = schemas()
    keep = os.environ.get("CORPUS_KEEP")
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        cloud = FakeStorage()
        storage = Storage(cloud, config.results_bucket)
        made = module.Worker(config, storage, gate, Log("p", False), fence)
        module.worker = lambda made=made: made
        fields = {"contentEncoding": "gzip"} if ".gz." in path.name else {}
        resource_ = cloud.put(
            path.read_bytes(), "x", contentType=TYPES.get(path.suffix.lower()), **fields
        )
        os.ftruncate(log, 0)
        os.lseek(log, 0, os.SEEK_SET)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        fence.grown = 0
        answer = http.post("/", json=task(resource_))
        record = answer.json
        if answer.status_code == 200:
            jsonschema.validate(record, wanted[record["status"]])
            for output in record.get("outputs", ()):
                if not output["contentType"].startswith("image/"):
                    continue
                with Image.open(io.BytesIO(cloud.results[output["object"]].data)) as picture:
                    picture.load()
                    assert max(picture.size) <= 300
                if keep:
                    kept(path).write_bytes(cloud.results[output["object"]].data)
        status = Path("/proc/self/status").read_text()
        found = {
            "status": record["status"],
            "reason": record.get("reason"),
            "detail": record.get("detail"),
            "kind": record.get("detected", {}).get("contentType"),
            "facts": {name: record[name] for name in FACTS if name in record},
            "peak": (int(status.partition("VmHWM:")[2].split()[0]) + (fence.grown >> 10)) >> 10,
            "memory": MEMORY_MIB,
            "log": os.pread(log, 1 << 20, 0).decode() if answer.status_code != 200 else "",
        }
        answers.write(json.dumps(found) + "\n")
        answers.flush()
    fence.close()
    os._exit(0)


if __name__ == "__main__":
    main()
