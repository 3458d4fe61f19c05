"""Pins every requirements.in of the repository anew, with hashes for all platforms.

By the uv of this Python's environment. The functions come first: the tests' environment holds the
same versions.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deployables import FUNCTIONS, ROOT

FILES = (
    # A function's own come before its further sets, which hold the same versions.
    *(
        str(path.with_suffix("").relative_to(ROOT))
        for path in sorted(FUNCTIONS.glob("*/requirements*.in"), key=lambda path: len(path.name))
    ),
    "tests/requirements",
    "tests/requirements-nodeps",
    "tests/requirements-gsutil",
    "tests/requirements-gates",
    "tests/requirements-schemathesis",
    "tests/requirements-uv",
)


def main() -> int:
    uv = str(Path(sys.executable).parent / "uv")
    for name in FILES:
        command = [uv, "pip", "compile", f"{name}.in", "-o", f"{name}.txt", "--quiet", "--upgrade"]
        command += [
            "--universal",
            "--python-version",
            "3.11",
            "--generate-hashes",
            "--system-certs",
        ]
        command += ["--no-header", "--no-annotate"]
        if name.endswith("nodeps"):
            command.append("--no-deps")
        print(f"{name}.txt", flush=True)
        subprocess.run(command, cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
