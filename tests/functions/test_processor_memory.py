"""A file takes no more memory than is counted; requests together no more than the instance has.

In a process of its own, whose peak is no other's.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from processor.formats import BASE_BYTES, FORMATS, RENDERED

ROOT = Path(__file__).parents[2]
PATHS = [str(ROOT / part) for part in ("tests/functions", "functions", "functions/processor")]
LIMIT_MIB = 256
PROGRAM = """
import io, json, os, sys, threading, time
sys.path[:0] = {paths!r}
from function_fakes import FakeStorage, PROCESSOR_ENV, load, task
from PIL import Image

main, _ = load("processor")
import functions_framework
from runtime.logs import Log
from processor.memory import Gate
from processor.kinds import image as images
from processor.storage import Storage

render = images.render
def held(*arguments):
    time.sleep(0.15)  # decoded pictures of several requests are there at once
    return render(*arguments)
images.render = held

cloud = FakeStorage()
config = main.Config.from_env(PROCESSOR_ENV | {{"MEMORY_BYTES": str({limit} << 20)}})
gate = Gate({capacity})
made = main.Worker(config, Storage(cloud.client, config.results_bucket), gate, Log("p", False))
main.worker = lambda: made
flat = Image.linear_gradient("L").resize((2400, 2000))
kinds = [
    ("JPEG", Image.merge("RGB", [flat] * 3), {{"progressive": True, "subsampling": 0}}),
    ("PNG", Image.merge("RGBA", [flat] * 4), {{"compress_level": 1}}),
    ("WEBP", Image.merge("RGB", [flat] * 3), {{"method": 0}}),
    ("GIF", Image.merge("RGB", [flat] * 3), {{}}),
]
bodies = []
for number in range(16):
    format, image, options = kinds[number % 4]
    file = io.BytesIO()
    image.save(file, format, **options)
    stored = cloud.put(file.getvalue(), f"{{number}}", contentType="image/" + format.lower())
    bodies.append(task(stored))
del flat, image, kinds, file  # what the test itself holds
with open("/proc/self/clear_refs", "w") as reset:
    reset.write("5")  # the peak begins here

log = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
statuses = []
app = functions_framework.create_app("handle", main.__file__)
sys.modules["main"].worker = lambda: made

def work(mine):
    for body in mine:
        statuses.append(app.test_client().post("/", json=body).json["status"])

threads = [threading.Thread(target=work, args=(bodies[n::16],)) for n in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
with open("/proc/self/status") as status:
    (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
print(json.dumps({{"peak": int(peak) >> 10, "statuses": statuses}}), file=log, flush=True)
"""


def peak(capacity: str) -> int:
    """MiB at the peak of 16 images of 5 megapixels in 16 threads, all of which must be done."""
    program = PROGRAM.format(paths=PATHS, limit=LIMIT_MIB, capacity=capacity)
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120
    )
    found = json.loads(run.stdout)
    assert found["statuses"] == ["done"] * 16
    return int(found["peak"])


def test_parallel_requests_stay_within_the_declared_memory() -> None:
    bounded = peak("config.memory_bytes - main.BASE_BYTES")
    assert bounded <= LIMIT_MIB
    assert peak("1 << 40") > LIMIT_MIB  # without the gate, the same work does not fit


ONE = """
import io, json, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from function_fakes import PROCESSOR_ENV
from PIL import Image
from processor.kinds import Job, image, render, sniff
from processor.memory import Gate, bound_allocator
from processor.settings import Config

def status(field):
    return int(Path("/proc/self/status").read_text().partition(field + ":")[2].split()[0]) << 10

class Source:
    def __init__(self, data):
        self.head, self._data = data[: 1 << 18], data
    def all(self, limit):
        return io.BytesIO(self._data)  # shared, until somebody writes

bound_allocator()
Image.init()
config = Config.from_env(PROCESSOR_ENV | {{"RENDITIONS": sys.argv[1]}})
data = Path(sys.argv[2]).read_bytes()
with Gate(2 << 30).room(None) as room:
    assert room.take(0)
    job = Job(Source(data), len(data), sniff(data), None, config, room)
    before = status("VmRSS") - len(data)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    image.process(job)
    print(json.dumps([room.size, status("VmHWM") - before]))
"""
SQUARE = '{"a": {"width": %d, "height": %d, "fit": "cover", "format": "%s"}}'


@pytest.mark.parametrize(
    ("format", "mode", "options", "rendition"),
    [
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0}, (300, 300, "jpeg")),
        ("JPEG", "RGB", {}, (600, 600, "avif")),
        ("PNG", "RGBA", {"compress_level": 1}, (540, 440, "png")),
        ("PNG", "RGBA", {"compress_level": 1}, (800, 800, "webp")),
        ("WEBP", "RGB", {"method": 0}, (300, 300, "jpeg")),
        ("TIFF", "RGBA", {"compression": "tiff_lzw", "turned": True}, (300, 300, "jpeg")),
        ("AVIF", "RGBA", {"speed": 10, "subsampling": "4:4:4"}, (300, 300, "jpeg")),
    ],
)
def test_a_file_takes_no_more_than_is_counted(
    tmp_path: Path,
    format: str,
    mode: str,
    options: dict[str, Any],
    rendition: tuple[int, int, str],
) -> None:
    flat = Image.effect_noise((270, 220), 60).resize((2160, 1760))
    image = Image.merge(mode, [flat] * len(mode))
    if options.pop("turned", False):
        options["exif"] = image.getexif()
        options["exif"][0x0112] = 6
    image.save(tmp_path / "file", format, **options)
    program = ONE.format(paths=PATHS)
    run = subprocess.run(
        [sys.executable, "-c", program, SQUARE % rendition, str(tmp_path / "file")],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    counted, taken = json.loads(run.stdout)
    assert taken <= counted


def test_the_page_counts_as_the_processor_does() -> None:
    page = (ROOT / "docs/reasons.md").read_text()
    assert f"less {BASE_BYTES >> 20} MiB for the interpreter" in page
    assert f"{RENDERED} × pixels of the largest rendition" in page
    for format in FORMATS:
        name = format.content_type.removeprefix("image/")
        (row,) = re.findall(rf"^\| [^|]*\b{name}\b[^|]* \| (\d) \| (\d+)", page, re.M | re.I)
        assert row == (str(format.copies), str(format.bytes_per_pixel))
