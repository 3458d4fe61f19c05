"""`python -m tests.bench [--quick] [--only NAME …] [--out FOLDER]`: measures, and reports.

The whole takes about a quarter of an hour on two cores, --quick less than a minute.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from tests.bench import batch, bridge, chain, files, kinds, many, portal, report, start, storage
from tests.bench.site import site
from tests.bench.subject import ROOT

SECTIONS = {
    "core": files.core,
    "whole": files.whole,
    "throughput": many.throughput,
    "storage": storage.measure,
    "start": start.measure,
    "kinds": kinds.measure,
    "bridge": bridge.measure,
    "chain": chain.measure,
    "portal": portal.measure,
    "batch": batch.measure,
}
BUSY = 0.7  # load average from which on somebody else is at work


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps each: does it run?")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--out", type=Path, help="folder for benchmarks.md and benchmarks/")
    options = parser.parse_args(argv)
    whole = not options.quick and len(options.only) == len(SECTIONS)
    out = options.out or ROOT / ("docs" if whole else ".cache/bench")
    began = time.monotonic()
    before = os.getloadavg()[0]
    sections = []
    with site() as here:
        facts = report.machine(here.version)
        pictures = here.pictures
        facts["Terraform provider"] = here.deployment.provider.title
        for name in options.only:
            since = time.monotonic()
            print(f"{name} …", end=" ", flush=True)
            sections.append(SECTIONS[name](here, options.quick))
            print(f"{time.monotonic() - since:.0f} s", flush=True)
    facts["took"] = f"{time.monotonic() - began:.0f} s"
    noise = f"its load was {before:.1f} before the run began" if before > BUSY else ""
    (out / "benchmarks").mkdir(parents=True, exist_ok=True)
    (out / "benchmarks.md").write_text(report.markdown(facts, sections, options.quick, noise))
    for name, picture in pictures.items():
        (out / "benchmarks" / name).write_text(picture)
    report.save_json(out / "benchmarks/results.json", facts, sections)
    print((out / "benchmarks.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
