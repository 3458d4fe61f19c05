"""Requests at the same time stay within the memory that the instance declares.

In a process of its own, as the peak of a process is never taken back.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LIMIT_MIB = 256
PROGRAM = """
import io, json, sys, threading, time
sys.path[:0] = {paths!r}
from function_fakes import FakeStorage, PROCESSOR_ENV, load, task
from PIL import Image

main, _ = load("processor")
import functions_framework
from common.logs import Log
from worker.memory import Gate
from worker.kinds import image as images
from worker.storage import Storage

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

log, sys.stdout = sys.stdout, io.StringIO()
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
print(json.dumps({{"peak": int(peak) >> 10, "statuses": statuses}}), file=log)
"""


def peak(capacity: str) -> int:
    """MiB at the peak of 16 images of 5 megapixels in 16 threads, all of which must be done."""
    here = Path(__file__).parent
    functions = here.parents[1] / "functions"
    paths = [str(here), str(functions), str(functions / "processor")]
    program = PROGRAM.format(paths=paths, limit=LIMIT_MIB, capacity=capacity)
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
