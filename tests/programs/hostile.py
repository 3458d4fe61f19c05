"""Hostile files among good ones, `make hostile`: 2,000 of 10,000, instances of 512 MiB.

SEED=7 FILES=1000 python -m tests.programs.hostile replays a run or changes its size. No faults are
injected: whatever a good file meets here, a hostile neighbour did to it.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import secrets
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from tests.bench.corpus import picture
from tests.corpus.files import made
from tests.localcloud.client import LocalCloud
from tests.localcloud.client.deployment import Deployment
from tests.programs.soak import change_lane, wait_until_over
from tests.system.pipeline import PROCESSOR, Pipeline

MEMORY_MIB = 512
PROCESSOR_SETTINGS = {
    "memory_mib": MEMORY_MIB, "max_file_bytes": 10 << 20, "max_pixels": 9_000_000,
    "max_instances": 2, "work_seconds": 40,
}  # fmt: skip
QUEUE_SETTINGS = {"max_dispatches_per_second": 500, "max_concurrent_dispatches": 14}
SHARE = 5  # one of so many is hostile
BOMBS = 10  # and of these one of so many takes all that it can get
SLOW = "deadline_exceeded"  # in the place of decoder_timed_out where eight share two cores
Content = tuple[str, bytes, dict[str, str]]  # its type, its bytes, its metadata


def good() -> dict[str, Content]:
    photo = picture(1600, 1200)

    def encoded(format: str, image: Image.Image = photo, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, format, **options)
        return file.getvalue()

    small = photo.resize((800, 600))
    return {
        "photo.jpg": ("image/jpeg", encoded("JPEG", quality=88), {}),
        "screen.png": ("image/png", encoded("PNG", small, compress_level=3), {}),
        "shop.webp": ("image/webp", encoded("WEBP", small, method=0), {}),
        "scan.tif": ("image/tiff", encoded("TIFF", small, compression="tiff_lzw"), {}),
        "letter.pdf": ("application/pdf", encoded("PDF", small), {}),
        "notes.txt": ("text/plain", "größe\n".encode() * 20_000, {}),
    }


def damaged() -> Iterator[tuple[str, Content]]:
    """Cut, damaged and lying ones of each format."""
    with tempfile.TemporaryDirectory() as folder:
        for path in made(Path(folder)):
            if any(part in path.name for part in ("cut", "damaged", "bomb", "noise", "page.pdf")):
                yield path.name, ("application/octet-stream", path.read_bytes(), {})


def bombs() -> Iterator[tuple[str, Content]]:
    """What is small and becomes large, or takes for ever."""
    side = 16_000
    zeros = zlib.compress(zlib.compress(bytes(side * side), 9), 9)
    image = (
        b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray/BitsPerComponent 8"
        b"/Filter[/FlateDecode/FlateDecode]" % (side, side)
    )
    one = (_stream(image, zeros),)
    yield "one-image.pdf", _pdf(b"/XObject<</I 5 0 R>>", b"200 0 0 200 0 0 cm /I Do", *one)
    names = b"".join(b"/I%d %d 0 R" % (n, 5 + n) for n in range(9))
    drawn = b"200 0 0 200 0 0 cm " + b"".join(b"/I%d Do " % n for n in range(9))
    yield "nine-images.pdf", _pdf(b"/XObject<<" + names + b">>", drawn, *(one * 9))
    forms = [
        _stream(b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</F %d 0 R>>>>"
                % (6 + n), b"/F Do " * 10) for n in range(9)
    ]  # fmt: skip
    yield (
        "forms.pdf",
        _pdf(b"/XObject<</F 5 0 R>>", b"/F Do", *forms, _stream(b"", b"0 0 9 9 re f")),
    )
    text = gzip.compress(bytes(1 << 30), 9)
    yield "bomb.txt", ("text/plain", text, {"content_encoding": "gzip"})


def _pdf(resources: bytes, content: bytes, *objects: bytes) -> Content:
    every = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<<%b>>>>"
        % resources,
        _stream(b"", content),
        *objects,
    ]
    body = b"".join(b"%d 0 obj %b endobj\n" % item for item in enumerate(every, 1))
    data = b"%%PDF-1.7\n%btrailer <</Root 1 0 R/Size %d>>\n" % (body, len(every) + 1)
    return "application/pdf", data, {}


def _stream(dictionary: bytes, data: bytes) -> bytes:
    return b"<<%b/Length %d>> stream\n%b\nendstream" % (dictionary, len(data), data)


@dataclass
class Report:
    """How it went. `problems` is empty when no neighbour paid for a hostile file."""

    seed: int
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    killed: int = 0
    peak: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [f"seed {self.seed}, {self.seconds:.0f} s, instances of {MEMORY_MIB} MiB"]
        for sort, counts in self.outcomes.items():
            lines.append(f"{sort}: {counts.total()}")
            lines += [f"  {n:6}  {name}" for name, n in counts.most_common()]
        lines.append(f"instances killed over their memory: {self.killed}")
        lines.append(f"most memory of one, of all its processes: {self.peak >> 20} MiB")
        return "\n".join(lines + [f"PROBLEM: {problem}" for problem in self.problems[:20]])


def run(pipeline: Pipeline, seed: int, files: int) -> Report:
    chooser, report, began = random.Random(seed), Report(seed), time.monotonic()
    sound, broken, large = good(), dict(damaged()), dict(bombs())
    sorts = [sound if n % SHARE else broken if n // SHARE % BOMBS else large for n in range(files)]
    kinds = [chooser.choice(list(sort)) for sort in sorts]
    chooser.shuffle(kinds)  # bursts of them meet, too

    def upload(item: tuple[int, str]) -> tuple[str, str]:
        number, kind = item
        content_type, data, fields = (sound | broken | large)[kind]
        name = f"{number:05}-{kind}"
        return f"{name}/{pipeline.upload(name, data, content_type, **fields)}", kind

    with ThreadPoolExecutor(4) as pool:
        keys = dict(pool.map(upload, enumerate(kinds)))
    over = threading.Event()
    watching = threading.Thread(target=watch, args=(pipeline, report, over))
    watching.start()
    if not wait_until_over(pipeline, [tuple_of(key) for key in keys]):
        report.problems.append("not over after its time")
    over.set()
    watching.join()
    judge(pipeline, report, keys, set(sound))
    report.seconds = time.monotonic() - began
    return report


def tuple_of(key: str) -> tuple[str, int]:
    name, _, generation = key.rpartition("/")
    return name, int(generation)


def watch(pipeline: Pipeline, report: Report, over: threading.Event) -> None:
    """The most memory of an instance, as the cloud measures it."""
    while not over.wait(0.5):
        for one in pipeline.cloud.post("/run/instances", {"service": PROCESSOR}):
            report.peak = max(report.peak, one["peak"])


def judge(pipeline: Pipeline, report: Report, keys: dict[str, str], sound: set[str]) -> None:
    listed = pipeline.listing()
    there = {one.removesuffix(".json") for one in listed}
    claims = Counter(one.partition("/")[2].rpartition("/")[0] for one in listed
                     if one.startswith("attempts/"))  # fmt: skip
    report.outcomes = {"good": Counter(), "hostile": Counter()}
    for key, kind in keys.items():
        sort = "good" if kind in sound else "hostile"
        end = "done" if f"manifests/{key}" in there else "neither"
        if f"failures/{key}" in there:
            record = json.loads(pipeline.read(f"failures/{key}.json"))
            end = f"failed: {record['reason']}"
            if record["retryable"] and record["reason"] != SLOW:
                report.problems.append(f"{key}: {record['reason']}, which is not its own fault")
        report.outcomes[sort][end] += 1
        if end == "neither" or (sort == "good" and (end != "done" or claims[key] != 1)):
            report.problems.append(f"{key}: {end}, {claims[key]} attempts")
    for line in pipeline.cloud.journal("log"):
        report.killed += "Memory limit of" in str(line["payload"])
    if report.killed:
        report.problems.append(f"{report.killed} instances were killed over their memory")


def main() -> int:
    seed = int(os.environ.get("SEED") or secrets.randbelow(10**6))
    files = int(os.environ.get("FILES") or 10_000)
    with LocalCloud.start() as cloud:
        deployment = Deployment.prepare(cloud)
        change_lane(deployment, queue=QUEUE_SETTINGS, processor=PROCESSOR_SETTINGS)
        deployment.make("bootstrap", "YES=1")
        deployment.make("apply", "ENV=dev", "YES=1")
        report = run(Pipeline.of(deployment), seed, files)
    sys.stdout.write(f"{report}\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
