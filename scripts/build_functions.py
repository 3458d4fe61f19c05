"""Builds the zip of each deployable into build/, byte-identical on any machine and day.

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

from deployables import (
    DOCKERFILE,
    FUNCTIONS,
    MAIN,
    ROOT,
    Deployable,
    deployables,
    imported,
    packages,
)

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


def zip_bytes(deployable: Deployable, functions: Path = FUNCTIONS) -> bytes:
    """The zip of a deployable, as deployables.py describes it.

    Raises BuildError where a file that the build on Google needs is missing.
    """
    main = deployable.folder / MAIN
    for needed in (main, deployable.requirements):
        if not needed.is_file():
            raise BuildError(f"{needed} is missing: {deployable.name} cannot be built")
    entries = {MAIN: main, "requirements.txt": deployable.requirements}
    if (dockerfile := deployable.folder / DOCKERFILE).is_file():
        entries[DOCKERFILE] = dockerfile
    known = packages(functions)
    try:
        names = imported(main, known)
    except SyntaxError as error:
        raise BuildError(f"{error.filename} line {error.lineno}: {error.msg}") from None
    for name in names:
        for path in files_under(known[name]):
            entries[f"{name}/{path.relative_to(known[name]).as_posix()}"] = path
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_STORED) as archive:
        for entry in sorted(entries):
            info = zipfile.ZipInfo(entry, date_time=EARLIEST_ZIP_DATE)
            info.create_system = UNIX
            info.external_attr = REGULAR_FILE_0644
            archive.writestr(info, entries[entry].read_bytes())
    return buffer.getvalue()


def build(source: Path = FUNCTIONS, out: Path = ROOT / "build") -> dict[str, str]:
    """Writes <out>/<name>.zip for each deployable and returns name → sha256 in hex.

    A zip that is already right is left alone; a new one appears whole or not at all.
    """
    out.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for deployable in deployables(source):
        content = zip_bytes(deployable, source)
        target = out / f"{deployable.name}.zip"
        if not target.is_file() or target.read_bytes() != content:
            partial = target.with_suffix(".zip.partial")
            partial.write_bytes(content)
            partial.replace(target)
        hashes[deployable.name] = hashlib.sha256(content).hexdigest()
    return hashes


def main() -> int:
    parser = argparse.ArgumentParser(description="Builds the zips of the functions.")
    parser.add_argument("--source", type=Path, default=FUNCTIONS)
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
