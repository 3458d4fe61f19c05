"""Builds build/bridge.zip and build/processor.zip, byte-identical on any machine and day.

Terraform names each uploaded zip by its hash, so that an unchanged function is never deployed
again. That only works when the same source always makes the same bytes: entries are sorted, their
dates and modes are fixed, and nothing is compressed, because the output of deflate differs between
versions of zlib.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = ("bridge", "processor")
COMMON = "common"

# Without an entry point and pinned requirements Google's build fails, minutes later.
NEEDED = ("main.py", "requirements.txt")
EARLIEST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
REGULAR_FILE_0644 = 0o100644 << 16
UNIX = 3


class BuildError(Exception):
    """The source of a function is not complete. The message says what is missing."""


def files_under(folder: Path) -> list[Path]:
    """The files of `folder` that belong in a zip, sorted: no caches, no hidden files."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix != ".pyc"
        and not any(
            part == "__pycache__" or part.startswith(".") for part in path.relative_to(folder).parts
        )
    )


def zip_bytes(source: Path, name: str) -> bytes:
    """The zip of the function `name`: its own folder at the root, beside it common/.

    Raises BuildError where a file that the build on Google needs is missing.
    """
    folder = source / name
    for needed in NEEDED:
        if not (folder / needed).is_file():
            raise BuildError(f"{folder / needed} is missing: the function {name} cannot be built")
    entries = {path.relative_to(folder).as_posix(): path for path in files_under(folder)}
    for path in files_under(source / COMMON):
        entries[path.relative_to(source).as_posix()] = path
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_STORED) as archive:
        for entry in sorted(entries):
            info = zipfile.ZipInfo(entry, date_time=EARLIEST_ZIP_DATE)
            info.create_system = UNIX
            info.external_attr = REGULAR_FILE_0644
            archive.writestr(info, entries[entry].read_bytes())
    return buffer.getvalue()


def build(source: Path = ROOT / "functions", out: Path = ROOT / "build") -> dict[str, str]:
    """Writes <out>/<name>.zip for each function and returns name → sha256 in hex.

    A zip that is already right is left alone; a new one appears whole or not at all.
    """
    out.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for name in FUNCTIONS:
        content = zip_bytes(source, name)
        target = out / f"{name}.zip"
        if not target.is_file() or target.read_bytes() != content:
            partial = target.with_suffix(".zip.partial")
            partial.write_bytes(content)
            partial.replace(target)
        hashes[name] = hashlib.sha256(content).hexdigest()
    return hashes


def main() -> int:
    parser = argparse.ArgumentParser(description="Builds the zips of the functions.")
    parser.add_argument("--source", type=Path, default=ROOT / "functions")
    parser.add_argument("--out", type=Path, default=ROOT / "build")
    arguments = parser.parse_args()
    try:
        hashes = build(arguments.source, arguments.out)
    except (BuildError, OSError) as error:
        sys.stderr.write(f"build_functions: {error}\n")
        return 1
    for name, digest in hashes.items():
        sys.stdout.write(f"{digest}  {arguments.out / name}.zip\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
