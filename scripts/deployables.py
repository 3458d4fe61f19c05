"""What can be deployed, as the folders under functions/ tell: a deployable is one with a main.py.

Each has a zip for each of its requirements files: bridge/requirements.txt makes bridge.zip,
processor/requirements-media.txt would make processor-media.zip. A zip holds main.py and
requirements.txt at its root, and each package under functions/ that main.py imports, directly or
not: those in functions/ itself, and those in the folder of a deployable. A folder with a Dockerfile
is an image, whose source that zip is.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = ROOT / "functions"
MAIN, REQUIREMENTS, DOCKERFILE = "main.py", "requirements", "Dockerfile"


@dataclass(frozen=True, order=True)
class Deployable:
    """name: of its zip. folder: where main.py is. requirements: its pinned requirements."""

    name: str
    folder: Path
    requirements: Path


def folders(functions: Path = FUNCTIONS) -> list[Path]:
    """The folder of each deployable, by name."""
    return sorted(path.parent for path in functions.glob(f"*/{MAIN}"))


def deployables(functions: Path = FUNCTIONS) -> list[Deployable]:
    """All of them, by name; one without requirements.txt is among them, for its build to refuse."""
    found = []
    for folder in folders(functions):
        pinned = {folder / f"{REQUIREMENTS}.txt", *folder.glob(f"{REQUIREMENTS}-*.txt")}
        for path in pinned:
            name = folder.name + path.stem.removeprefix(REQUIREMENTS)
            found.append(Deployable(name, folder, path))
    return sorted(found)


def packages(functions: Path = FUNCTIONS) -> dict[str, Path]:
    """Name → folder of every package under functions/."""
    found = [*functions.glob("*/__init__.py"), *functions.glob("*/*/__init__.py")]
    return {path.parent.name: path.parent for path in found}


def imported(main: Path, known: dict[str, Path]) -> list[str]:
    """The names of the known packages that main.py needs, in order."""
    needed: set[str] = set()
    waiting = [main]
    while waiting:
        path = waiting.pop()
        for name in _imports(path, path.read_bytes()) & known.keys() - needed:
            needed.add(name)
            waiting += known[name].rglob("*.py")
    return sorted(needed)


@functools.cache
def _imports(path: Path, source: bytes) -> frozenset[str]:
    """The first parts of the names that a module imports, wherever in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module or "")
    return frozenset(name.partition(".")[0] for name in names)
