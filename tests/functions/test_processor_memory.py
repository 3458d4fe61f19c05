"""A file takes no more memory than is counted; requests together no more than the instance has."""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from function_fakes import PROCESSOR_ENV
from made_files import CODED, LARGE_HEIC, Item, heic
from PIL import Image
from test_processor_kinds import pdf

from processor import admission
from processor.fence import worker
from processor.fence.server import Request
from processor.formats import BASE_BYTES, FIXED, FORMATS, RENDERED
from processor.headers import HEAD_BYTES, Header
from processor.kinds import Job, kind_of, sniff
from processor.memory import Gate
from processor.settings import Config

ROOT = Path(__file__).parents[2]
PATHS = [str(ROOT / part) for part in ("tests/functions", "functions", "functions/processor", "")]
LIMIT_MIB = 256
# An instance with so many requests at a time; its memory, with all its processes, is looked at.
PROGRAM = """
import io, json, os, sys, threading, time
from pathlib import Path
sys.path[:0] = {paths!r}
from function_fakes import FakeStorage, PROCESSOR_ENV, load, task

main, _ = load("processor")
import functions_framework
from runtime.logs import Log
from processor.headers import Header
from processor.memory import Gate
from processor.storage import Storage
from tests.localcloud.core.processes import memfds, proportional, tree

cloud = FakeStorage()
config = main.Config.from_env(PROCESSOR_ENV | {{"MEMORY_BYTES": str({limit} << 20)}})
storage, fence = Storage(cloud, config.results_bucket), main.Fence(config)
made = main.Worker(config, storage, Gate({capacity}), Log("p", False), fence)
bodies = []
for number in range(16):
    name = str(number % 4)
    resource = cloud.put(Path({folder!r}, name).read_bytes(), str(number), contentType=None)
    bodies.append(task(resource))
held = sum(len(one.data) for one in cloud.uploads.values())  # Cloud Storage's own

def memory():
    pids = tree(os.getpid())
    return memfds(pids) + sum(proportional(pid) for pid in pids) - held

def resident():
    # As if the function and the fork server shared nothing, with each other or with others.
    statm = [Path(f"/proc/{{pid}}/statm").read_text().split()[1] for pid in tree(os.getpid())]
    return sum(map(int, statm)) * os.sysconf("SC_PAGE_SIZE") - held

log = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
statuses, peak, over = [], [0], threading.Event()
app = functions_framework.create_app("handle", main.__file__)
sys.modules["main"].worker = lambda: made

def work(mine):
    for body in mine:
        statuses.append(app.test_client().post("/", json=body).json["status"])

def look():
    while not over.wait(0.003):
        peak[0] = max(peak[0], memory())

watch = threading.Thread(target=look)
watch.start()
threads = [threading.Thread(target=work, args=(bodies[n::16],)) for n in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
over.set()
watch.join()
found = {{"peak": peak[0] >> 20, "idle": resident() >> 20, "statuses": statuses}}
print(json.dumps(found), file=log, flush=True)
fence.close()
"""
PATTERN = Image.linear_gradient("L")


def encode(format: str, mode: str, size: tuple[int, int] = (4000, 3000), **options: Any) -> bytes:
    image = PATTERN.resize(size)
    image = Image.merge(mode, [image] * len(mode)) if mode not in "LP" else image.convert(mode)
    if options.pop("turned", False):
        options["exif"] = image.getexif()
        options["exif"][0x0112] = 6
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def peak(folder: Path, capacity: str) -> tuple[int, int]:
    """MiB at the peak of 16 files in 16 threads, all of which must be done, and when they are."""
    program = PROGRAM.format(paths=PATHS, limit=LIMIT_MIB, capacity=capacity, folder=str(folder))
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120
    )
    found = json.loads(run.stdout)
    assert found["statuses"] == ["done"] * 16
    return int(found["peak"]), int(found["idle"])


def test_parallel_requests_stay_within_the_declared_memory(tmp_path: Path) -> None:
    files = [
        encode("JPEG", "RGB", (2400, 2000), progressive=True, subsampling=0),
        encode("PNG", "RGBA", (2400, 2000), compress_level=1),
        encode("WEBP", "RGB", (2400, 2000), method=0),
        pdf(1, (2000, 1500)),
    ]
    for number, data in enumerate(files):
        (tmp_path / str(number)).write_bytes(data)
    most, idle = peak(tmp_path, "config.memory_bytes - main.BASE_BYTES")
    assert most <= LIMIT_MIB
    assert idle <= BASE_BYTES >> 20 <= 2 * idle
    # Without the gate the same does not fit; on a busy machine not each run has all at once.
    assert any(peak(tmp_path, "1 << 40")[0] > LIMIT_MIB for _ in range(5))


Render = dict[str, Any]
TINY: Render = {"width": 16, "height": 16}
WIDE: Render = {"width": 4000, "height": 1, "fit": "cover"}  # for which nothing is left out
# The most demanding of each format, at 12 megapixels; a rendition that takes next to nothing, so
# that what is counted is the format's own. What a rendition takes, and what takes nothing.
CASES: dict[str, tuple[Callable[[], bytes], Render]] = {
    "AVIF": (lambda: encode("AVIF", "RGBA", speed=10, subsampling="4:4:4"), TINY),
    "BMP": (lambda: encode("BMP", "RGB"), TINY),
    "GIF": (lambda: encode("GIF", "P"), TINY),
    "HEIC": (lambda: LARGE_HEIC, TINY),
    "JPEG": (lambda: encode("JPEG", "RGB"), WIDE),
    "JPEG, progressive": (lambda: encode("JPEG", "RGB", progressive=True, subsampling=0), TINY),
    "PNG": (lambda: encode("PNG", "RGBA", compress_level=1), TINY),
    "TIFF": (lambda: encode("TIFF", "RGBA", compression="tiff_lzw", turned=True), WIDE),
    "WEBP": (lambda: encode("WEBP", "RGBA", method=0), TINY),
    "rendition": (lambda: encode("PNG", "RGBA", (1000, 1000)),
                  {"width": 1000, "height": 1000, "format": "avif"}),
    "next to nothing": (lambda: encode("PNG", "L", (8, 8)), TINY),
}  # fmt: skip
# What their pixels take is enough without what each image is given beside them.
BY_PIXEL = {"AVIF", "BMP", "HEIC", "JPEG, progressive", "TIFF", "WEBP"}
# Small pictures with much behind them, which some decoders are handed as well.
BEHIND = struct.pack(">I4s", 8 + (32 << 20), b"free") + bytes(32 << 20)
SMALL: dict[str, Callable[[], bytes]] = {
    one.decoder: partial(encode, one.decoder, "RGB", (64, 64))
    for one in FORMATS if one.decoder not in ("GIF", "HEIF", "TIFF")
} | {
    "GIF": lambda: encode("GIF", "P", (64, 64)),
    "HEIF": lambda: heic(Item(b"hvc1", CODED)),
    "TIFF": lambda: encode("TIFF", "RGB", (64, 64), compression="tiff_lzw"),
}  # fmt: skip


@pytest.fixture(scope="module")
def measuring() -> Iterator[Callable[[bytes, Config], int]]:
    """Bytes that a file takes in a process without limits: what is in memory at the peak, its copy
    of the fork server's pages, and the file itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEASURE", "1")
        fence = worker.Fence(CONFIG, (str(ROOT / "tests/functions/stand_ins.py"),))
        fence.start()

    def measure(data: bytes, config: Config) -> int:
        room = Gate(4 << 30).room(4 << 30)
        content: Any = SimpleNamespace(write_to=lambda file, limit: file.write(data))
        job = Job(content, len(data), sniff(data), None, config, room)
        request = Request(
            config, len(data), job.content_type or "", None, 4 << 30, 4 << 30, True, 100
        )
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            ended = fence.launch(request, file.fileno(), time.monotonic() + 100, job.tell)
        assert "outputs" in ended.answer, ended
        return int(ended.answer["grown"]) + len(data)

    yield measure
    fence.close()


def rendering(rendition: Render) -> Config:
    settings = {"RENDITIONS": json.dumps({"a": rendition}), "MEMORY_BYTES": str(4 << 30)}
    return Config.from_env(PROCESSOR_ENV | settings)


CONFIG = rendering(TINY)


def counted(data: bytes, config: Config) -> int:
    """What it is given; once it is open, where its beginning does not tell."""
    need = kind_of(sniff(data), config).need(data[:HEAD_BYTES], len(data), config)
    if need is None:
        Image.MAX_IMAGE_PIXELS = config.max_pixels  # else as the last file of another test left it
        with Image.open(io.BytesIO(data)) as image:
            format = next(one for one in FORMATS if one.decoder == image.format)
            need = admission.image_memory(format, Header(*image.size, 0.0), len(data), config)
    return need


@pytest.mark.parametrize("name", CASES)
def test_a_file_takes_what_is_counted(measuring: Callable[[bytes, Config], int], name: str) -> None:
    make, rendition = CASES[name]
    data, config = make(), rendering(rendition)
    taken, given = measuring(data, config), counted(data, config)
    assert taken <= given <= 2.5 * taken
    if name in BY_PIXEL:
        assert taken <= given - FIXED


@pytest.mark.parametrize("decoder", SMALL)
def test_the_file_itself_counts_as_often_as_it_is_in_memory(
    measuring: Callable[[bytes, Config], int], decoder: str
) -> None:
    data = SMALL[decoder]() + BEHIND
    taken, given = measuring(data, CONFIG), counted(data, CONFIG)
    assert taken <= given < taken + len(data)


def test_the_page_counts_as_the_processor_does() -> None:
    page = (ROOT / "docs/reasons.md").read_text()
    assert f"less {BASE_BYTES >> 20} MiB for the interpreter" in page
    assert f"{RENDERED} × pixels of the largest rendition" in page
    for format in FORMATS:
        name = format.content_type.removeprefix("image/")
        (row,) = re.findall(rf"^\| [^|]*\b{name}\b[^|]* \| (\d) \| (\d+)", page, re.M | re.I)
        assert row == (str(format.copies), str(format.bytes_per_pixel))
