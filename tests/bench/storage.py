"""Which client reads and writes Cloud Storage: our own few requests, or Google's library."""

from __future__ import annotations

import os
import subprocess

from tests.bench.report import MIB, Goal, Sample, Section, cpu, ratio, wall
from tests.bench.site import Site
from tests.bench.subject import ROOT, running, turns

SIZES = (4_000_000, 100_000)  # bytes of a file: what a telephone's photo has, and a small one
OUTPUT = 15_000  # bytes of a thumbnail
NAMES = {
    "default": "tutorial: default client, default calls (3 requests)",
    "own": "the processor, as it is",
    "library": "google-cloud-storage with care (4 requests)",
    "direct": "the JSON API over urllib3 alone (4 requests)",
    "floor": "bare socket, the download alone",
}
IMPORTS = (
    "from google.cloud import storage; storage.Client()",
    "from tests.bench.subjects import direct; direct.Google()",
)


def measure(site: Site, quick: bool) -> Section:
    section = Section("Storage client")
    section.text = (
        "One image: a download by generation, the attempt's claim, an output of "
        f"{OUTPUT // 1000} kB and a manifest; the tutorial has no claim, and makes its "
        "client once. TLS is part of it. The floor is one GET over an open TLS socket into a "
        "buffer, without HTTP parsing or checksum."
    )
    rows = []
    ratios = {}
    for size in SIZES:
        name = f"io-{size}"
        arguments = {
            "uploads": site.uploads, "results": site.results, "name": name, "size": size,
            "generation": site.upload(name, os.urandom(size), "image/jpeg"), "output": OUTPUT,
        }  # fmt: skip
        subjects = {
            "default": site.tutorial("storage_default", **arguments),
            "own": site.own("storage_own", **arguments),
            "library": site.tutorial("storage_library", **arguments),
            "direct": site.tutorial("storage_direct", **arguments),
            "floor": site.tutorial("storage_floor", **arguments),
        }
        with running(subjects):
            done = turns(subjects, 4 if quick else 80, 2 if quick else 5)
        base = cpu(done["default"]).median
        for what, steps in done.items():
            used = section.keep(f"{size}/{what} cpu", cpu(steps))
            taken = section.keep(f"{size}/{what} wall", wall(steps))
            ratios[size, what] = used.median / base
            rows.append(
                [f"{size / 1e6:g} MB: {NAMES[what]}", used, ratio(used.median / base), taken,
                 f"{subjects[what].peak / MIB:.0f}"]
            )  # fmt: skip
    section.table(["", "CPU ms", "of tutorial", "wall ms", "peak RSS MiB"], rows)
    rows = []
    for code in IMPORTS:
        steps = [_import(site, code) for _ in range(2 if quick else 12)]
        used = section.keep(f"import: {code}", Sample.of(steps, scale=1e3))
        rows.append([f"`{code}`", used])
    section.table(["Import on a cold start", "CPU ms"], rows)
    section.goals.append(
        Goal("storage I/O CPU of a 4 MB file, of tutorial", ratios[SIZES[0], "own"], 0.5)
    )
    section.notes.append(
        "A goal of 0.2× was retired: the bare socket, which parses no HTTP, sums nothing and "
        f"writes nothing, takes {ratio(ratios[SIZES[0], 'floor'])} by itself. 0.5× is what urllib3 "
        "reaches with all that, and what the goals of the whole request and of the start need "
        "([decision 17](decisions/0017-urllib3-in-the-processor.md))."
    )
    return section


def _import(site: Site, code: str) -> float:
    """CPU seconds of a fresh interpreter that does this, less those of one that does nothing."""
    spent = []
    for script in (code, "pass"):
        process = subprocess.Popen(
            [str(site.baseline), "-c", script], env={**site.processor.way, "PYTHONPATH": str(ROOT)}
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{script!r} ended with {process.returncode}")
        spent.append(usage.ru_utime + usage.ru_stime)
    return spent[0] - spent[1]
