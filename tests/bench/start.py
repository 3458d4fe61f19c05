"""From the start of the process to its first answer, on one core."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable

from tests.bench.report import Goal, Sample, Section, cpu, wall
from tests.bench.service import Service
from tests.bench.services import bridge, processor, tutorial
from tests.bench.site import Function, Site
from tests.bench.subject import Step
from tests.bench.work import baseline_task, small_photo, task

NOTABLE = 10.0  # ms: an import from there on is listed
Start = tuple[Callable[[], Service], str, str, bytes]


def measure(site: Site, quick: bool) -> Section:
    section = Section("Start")
    section.text = (
        "Process start to first answer on one core. A first file shows what lazy imports defer: "
        "it is a 640×480 JPEG. "
        "CPU is what is judged: on one idle core it is the time, and neighbours lengthen it least. "
        "The bridge and its client over gRPC or REST import the same: how far these are apart is "
        "what a difference here must exceed."
    )
    photo = small_photo()
    core = max(os.sched_getaffinity(0))
    one = task(site, "start.jpg", photo, "image/jpeg")
    other = baseline_task(site, "start.jpg", photo, "image/jpeg")
    starts: dict[str, Start] = {
        "tutorial's processor, health": (lambda: tutorial(site, core), "GET", "/health", b""),
        "processor, health": (lambda: processor(site, core), "GET", "/", b""),
        "tutorial's processor, first file": (
            lambda: tutorial(site, core), "POST", "/process", b"tutorial",
        ),
        "processor, first file": (lambda: processor(site, core), "POST", "/", b"own"),
        "bridge": (lambda: bridge(site.bridge, "own", core), "GET", "/", b""),
        "bridge, google-cloud-tasks over gRPC (the client's default)": (
            lambda: bridge(site.bridge, "grpc", core), "GET", "/", b"",
        ),
        "bridge, google-cloud-tasks over REST": (
            lambda: bridge(site.bridge, "rest", core), "GET", "/", b"",
        ),
        "bridge, the REST API over urllib3 alone": (
            lambda: bridge(site.bridge, "direct", core), "GET", "/", b"",
        ),
    }  # fmt: skip
    done: dict[str, list[Step]] = {name: [] for name in starts}
    for _ in range(1 if quick else 9):
        for name, (make, method, path, body) in starts.items():
            body = {b"own": one, b"tutorial": other}.get(body, lambda: b"")()
            with make() as service:
                done[name].append(service.first(method, path, body))
    rows = []
    for name, steps in done.items():
        rows.append(
            [
                name,
                section.keep(f"{name} wall", wall(steps)),
                section.keep(f"{name} cpu", cpu(steps)),
            ]
        )
    section.table(["", "wall ms", "CPU ms"], rows)

    def of(name: str, base: str) -> float:
        return cpu(done[name]).median / cpu(done[base]).median

    for what in ("health", "first file"):
        base = f"tutorial's processor, {what}"
        goal = Goal(
            f"cold start of processor, {what}, of tutorial", of(f"processor, {what}", base), 0.6
        )
        section.goals.append(goal)
    for title, what in (("processor", site.processor), ("bridge", site.bridge)):
        section.table(
            [f"Imports of the {title} above {NOTABLE:g} ms", "ms, with what it imports"],
            _imports(what) or [["none", ""]],
        )
    return section


def _imports(what: Function) -> list[list[str | Sample]]:
    """Packages whose import, with all that it imports, costs notable time."""
    code = "import functions_framework, main; getattr(main, 'worker', None) or main.bridge()"
    runs = [
        subprocess.run(
            [str(what.python), "-X", "importtime", "-c", code],
            cwd=what.source, env=dict(what.environ), capture_output=True, text=True, check=True,
        ).stderr
        for _ in range(3)
    ]  # fmt: skip
    line = re.compile(r"import time:\s+\d+ \|\s+(\d+) \| +(\S+)")
    costs: dict[str, list[float]] = {}
    for run in runs:
        largest: dict[str, float] = {}
        for total, module in line.findall(run):
            parts = module.split(".")
            package = ".".join(parts[: 3 if parts[0] == "google" else 1])
            largest[package] = max(largest.get(package, 0.0), int(total) / 1e3)
        for package, cost in largest.items():
            costs.setdefault(package, []).append(cost)
    samples = {name: Sample.of(values) for name, values in costs.items()}
    notable = [(name, sample) for name, sample in samples.items() if sample.median >= NOTABLE]
    notable.sort(key=lambda pair: -pair[1].median)
    return [[f"`{name}`", sample] for name, sample in notable]
