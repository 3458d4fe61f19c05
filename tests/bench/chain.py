"""The whole chain: upload, event, bridge, queue, processor, manifest."""

from __future__ import annotations

import http.server
import re
import socketserver
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from tests.bench.load import percentile
from tests.bench.plot import lines
from tests.bench.report import Goal, Sample, Section, short
from tests.bench.site import Site
from tests.bench.work import small_photo

FILES = 1000
STEADY = 10.0  # uploads a second: the default rate of a queue, and what two cores can bear
RATES = (5, 20)  # dispatches a second
GROWTH = (1, 10, 100, 1000, 10_000)
NAME_OF_PLOT = "cost.svg"


def measure(site: Site, quick: bool) -> Section:
    section = Section("Chain")
    section.text = (
        "Through the local cloud, whose own work shares the cores with the functions: on Google "
        "the hops take their own time, which this cannot show. Overhead is from the upload "
        "to the end of the work, less the processor's own."
    )
    _rate(site, 500)
    _latency(site, section, quick)
    _growth(site, section, quick)
    _rates(site, section, quick)
    return section


def _latency(site: Site, section: Section, quick: bool) -> None:
    count = 20 if quick else FILES
    _upload(site, "warm", 8, None)
    site.cloud.idle(horizon=1.0, timeout=120)
    began = len(site.cloud.journal())
    _upload(site, "chain", count, STEADY)
    site.cloud.idle(horizon=1.0, timeout=240)
    lines_ = site.cloud.journal()[began:]
    done = [line["payload"] for line in lines_ if _event(line) == "done"]
    if len(done) != count:
        raise RuntimeError(f"{len(done)} manifests for {count} files")
    overhead = [1e3 * (line["age_seconds"] - line["seconds"]) for line in done]
    own = [1e3 * line["seconds"] for line in done]
    section.keep("overhead", Sample.of(overhead))
    section.keep("processor", Sample.of(own))
    rows = [
        [name, *(short(max(0.0, percentile(values, p))) for p in (50, 90, 99))]
        for name, values in (("overhead of the chain", overhead), ("the processor's own time", own))
    ]
    title = f"{count} files of 640×480 at {STEADY:g} a second, ms"
    section.table([title, "median", "90 %", "99 %"], rows)
    section.goals.append(Goal("overhead of the chain, median", percentile(overhead, 50), 150, "ms"))
    operations = Counter(
        f"{line['method']} by {str(line['principal']).split(':')[-1].split('@')[0]}"
        for line in lines_
        if line["kind"] == "api" and line["method"].startswith(("storage.objects", "cloudtasks"))
    )
    each = [[f"`{name}`", short(n / count)] for name, n in operations.most_common() if n >= count]
    section.table(["Operations", "a file"], each)


def _rates(site: Site, section: Section, quick: bool) -> None:
    """A burst of uploads, dispatched at the rate of the queue; a stub answers for the processor."""
    rows = []
    worst = 0.0
    with _Stub(site):
        for rate in RATES[-1:] if quick else RATES:
            _rate(site, rate)
            count = 3 * rate if quick else 10 * rate
            began = len(site.cloud.journal())
            _upload(site, f"rate-{rate}", count, None)
            site.cloud.idle(horizon=2.0, timeout=240)
            attempts = [line for line in site.cloud.journal()[began:]
                        if line["kind"] == "tasks.attempt"]  # fmt: skip
            at = sorted(_seconds(line["time"]) for line in attempts)
            # The bucket of tokens lets a first burst through: the second half shows the rate.
            half = at[len(at) // 2 :]
            seen = (len(half) - 1) / (half[-1] - half[0])
            worst = max(worst, abs(seen / rate - 1) * 100)
            rows.append([f"{rate}/s", f"{short(seen)}/s", f"{100 * (seen / rate - 1):+.1f} %"])
    section.table(["Rate of the queue", "measured", "off by"], rows)
    section.notes.append(
        "Rates are kept by the local cloud's queue: this shows that a lane's literal arrives "
        "there, not how exactly Google keeps it. A stub answers for the processor; the second "
        "half of each burst is counted."
    )
    section.goals.append(Goal("configured rates, off by", worst, 5, "%"))


def _growth(site: Site, section: Section, quick: bool) -> None:
    """What each file costs the bridge and the local cloud, from one file to ten thousand."""
    sizes = GROWTH[:2] if quick else GROWTH
    rows, points = [], []
    bridge = f"files-{site.environment}-bridge"
    with _Stub(site):
        for count in sizes:
            cpu, operations = site.cpu(bridge), _operations(site)
            began = time.perf_counter()
            _upload(site, f"growth-{count}", count, None, size=1000)
            site.cloud.idle(horizon=1.0, timeout=400)
            wall = time.perf_counter() - began
            used = site.cpu(bridge) - cpu
            asked = _operations(site) - operations
            points.append((count, used))
            rows.append([
                f"{count:,}", short(used), short(1e3 * used / count), short(asked / count),
                short(wall),
            ])  # fmt: skip
    head = ["Files", "bridge CPU s", "ms a file", "operations a file", "wall s"]
    section.table(head, rows)
    section.notes.append(
        "In the growth from 1 to 10,000 a stub answers for the processor, so its work and its "
        "calls are not in these figures; instances of the bridge that start on the way are, "
        "which is what ten files pay for."
    )
    section.pictures.append(f"benchmarks/{NAME_OF_PLOT}")
    site.pictures[NAME_OF_PLOT] = lines(
        points, "Files", "CPU seconds of the bridge", "Cost grows as the number of files"
    )


def _operations(site: Site) -> int:
    """Calls of Google's APIs so far."""
    counts = site.cloud.get("/journal")["counts"]
    return int(counts.get("api", 0))


def _event(line: dict[str, Any]) -> str:
    payload = line.get("payload")
    return str(payload.get("event")) if line["kind"] == "log" and isinstance(payload, dict) else ""


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


def _rate(site: Site, rate: int) -> None:
    """Raises the literal in this run's copy of environments/dev, and applies it."""
    path = site.deployment.checkout / "environments" / site.environment / "main.tf"
    text = re.sub(r"max_dispatches_per_second = \d+, ", "", path.read_text())
    head, opening, rest = text.partition("queue     = { ")
    if not opening:
        raise RuntimeError("environments/dev has no queue in its lane default")
    path.write_text(f"{head}{opening}max_dispatches_per_second = {rate}, {rest}")
    site.deployment.make("apply", f"ENV={site.environment}", "YES=1")


def _upload(site: Site, prefix: str, count: int, rate: float | None, size: int = 0) -> None:
    """Uploads as the owner does; evenly at a rate, or eight at a time."""
    data = bytes(size) if size else small_photo()
    bucket = site.client.bucket(site.bridge.environ["UPLOADS_BUCKET"])
    began = time.perf_counter()

    def one(number: int) -> None:
        if rate:
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        name = f"{prefix}-{time.time_ns()}/{number}.jpg"
        bucket.blob(name).upload_from_string(data, content_type="image/jpeg")

    with ThreadPoolExecutor(4 if rate else 8) as pool:
        list(pool.map(one, range(count)))


class _Stub:
    """A process that answers 200 at once in the place of the processor."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def __enter__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.chain"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self._set(int(self._process.stdout.readline()))

    def __exit__(self, *_: object) -> None:
        self._set(None)
        self._process.terminate()
        self._process.communicate()

    def _set(self, port: int | None) -> None:
        service = f"files-{self._site.environment}-processor-default"
        self._site.cloud.post("/run/stub", {"service": service, "port": port})


class _Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def main() -> None:
    server = _Server(("127.0.0.1", 0), _Answer)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
