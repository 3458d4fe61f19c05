"""`python -m tests.corpus`: every file ends in a manifest or a named failure; prints the table."""
# ruff: noqa: T201

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.corpus.files import made, pillow
from tests.corpus.run import run, table


def main() -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        ends = list(run([*made(Path(folder)), *pillow()]))
    print(table(ends))
    faults = [one for one in ends if one.fault]
    for one in faults:
        print(f"NOT ALLOWED: {one.path.name}: {one.fault}")
    print(f"{len(ends)} files in {time.monotonic() - began:.0f} s; {len(faults)} not allowed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
