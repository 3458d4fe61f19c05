"""What a file costs, measured on a local run: python -m tests.programs.measure_cost

Prints the lines of scripts/cost.py's table: means over the files of a size class. CPU seconds are
this machine's; operations, bytes and lines are exact, whatever machine it is.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections import Counter

from PIL import Image

from tests.bench.process import cpu
from tests.localcloud.core.processes import tree
from tests.system.watched import Watched, watching

FILES = 12
WRITES = {"storage.objects.insert", "storage.objects.list"}


def photo(width: int, height: int, grain: int) -> bytes:
    """A JPEG with grain, as cameras make it, so that its size is a camera's."""
    noise = Image.effect_noise((width, height), grain)
    ramp = Image.linear_gradient("L").resize((width, height))
    image = Image.merge("RGB", (Image.blend(noise, ramp, 0.5), ramp, noise))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=77)
    return out.getvalue()


def cpu_seconds(watched: Watched, service: str) -> float:
    """Of all its instances, with all their processes, so far."""
    instances = watched.cloud.post("/run/instances", {"service": service})
    return sum(cpu(pid) for one in instances for pid in tree(one["pid"]))


def measure(watched: Watched, name: str, data: bytes, content_type: str) -> dict[str, object]:
    services = {"bridge": "files-dev-bridge", "processor": "files-dev-processor-default"}
    for number in range(2):  # what is imported on first use is not a file's
        watched.process(f"warm/{name}/{number}", data, content_type)
    before = {part: cpu_seconds(watched, service) for part, service in services.items()}
    mark = len(watched.cloud.journal())
    for number in range(FILES):
        watched.process(f"{name}/{number}", data, content_type)
    lines = watched.cloud.journal()[mark:]
    used = {part: cpu_seconds(watched, service) for part, service in services.items()}
    calls: Counter[str] = Counter()
    for line in lines:
        if line["kind"] == "api" and "processor" in str(line["principal"]):
            calls["class_a" if line["method"] in WRITES else "class_b"] += 1
    spent = Counter[str]()
    for line in lines:
        if line["kind"] == "run.request":
            spent[line["service"]] += line["seconds"]
    logged = sum(len(json.dumps(line["payload"])) for line in lines if line["kind"] == "log")
    return {
        "megabytes": round(len(data) / 1e6, 2),
        "class_a": calls["class_a"] / FILES,
        "class_b": calls["class_b"] / FILES,
        "tasks": sum(1 for line in lines if line["kind"] == "tasks.attempt") / FILES * 2,
        "log_kilobytes": round(logged / FILES / 1000, 2),
        **{f"{p}_cpu": round((used[p] - before[p]) / FILES, 3) for p in services},
        **{f"{p}_seconds": round(spent[s] / FILES, 3) for p, s in services.items()},
    }


def main() -> int:
    classes = {
        "photo of 0.4 MB": (photo(1600, 1200, 40), "image/jpeg"),
        "photo of 4 MB": (photo(4000, 3000, 60), "image/jpeg"),
        "photo of 16 MB": (photo(8000, 6000, 60), "image/jpeg"),
        "other file of 4 MB": (os.urandom(4_000_000), "application/octet-stream"),
    }
    with watching() as watched:
        for name, (data, content_type) in classes.items():
            figures = measure(watched, name.replace(" ", "-"), data, content_type)
            sys.stdout.write(f"    {name!r}: {json.dumps(figures)},\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
