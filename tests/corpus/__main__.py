"""`python -m tests.corpus [FOLDER …]`: every file ends in a manifest or a named failure.

A table for each source: files made here, Pillow's own, and those in the folders named, which may
hold anything. --record keeps every outcome, --against shows what changed since it was kept.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.corpus.files import found, made, pillow
from tests.corpus.run import changes, recorded, run, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--only", action="store_true", help="leave out Pillow's and the made ones")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="one line of JSON for each file"
    )
    parser.add_argument("--kind", default="default", help="of the lane, as docs/kinds.md has them")
    parser.add_argument("--against", type=Path, metavar="FILE", help="what an earlier run recorded")
    asked = parser.parse_args()
    os.environ["KIND"] = asked.kind  # the child's
    began, ends = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        sources = {} if asked.only else {"made here": made(Path(folder)), "Pillow": pillow()}
        sources |= {one.name: found(one) for one in asked.folders}
        for name, paths in sources.items():
            print(f"{name}:\n{table(some := list(run(paths)))}\n", flush=True)
            ends += some
    if asked.against:
        print(changes(asked.against.read_text(), ends))
    if asked.record:
        asked.record.write_text(recorded(ends))
    faults = [one for one in ends if one.fault]
    for one in faults:
        print(f"NOT ALLOWED: {one.path.name}: {one.fault}")
    print(f"{len(ends)} files in {time.monotonic() - began:.0f} s; {len(faults)} not allowed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
