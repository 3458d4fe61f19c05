"""Dockerfiles of the one shape that is built here: Python, its requirements, its files, a command.

    FROM python:3.13-slim      WORKDIR, COPY, ENV, USER      RUN pip install -r FILE
    CMD and ENTRYPOINT as JSON lists

Anything else is refused by name. There is no container: files go into a folder that stands for the
image's root, packages into an environment of their own.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

# Switches of pip that do not change what is installed from a file of hashes.
HARMLESS = {"--no-cache-dir", "--require-hashes", "--no-deps", "--no-compile", "--no-input",
            "--disable-pip-version-check", "--quiet", "-q"}  # fmt: skip


class Refused(Exception):
    """The Dockerfile asks for what is not built here, or cannot be built. A line for a person."""


@dataclass
class Recipe:
    """What a Dockerfile says.

    Attributes:
        python: such as "python313".
        requirements: the file that pip installs, in the image; "" for none.
        variables: of ENV; entrypoint, command: as JSON lists have them.
    """

    python: str = ""
    workdir: str = "/"
    requirements: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def build(context: Path, root: Path) -> Recipe:
    """Reads the Dockerfile of `context` and copies what it copies into `root`.

    Raises:
        Refused: naming the line.
    """
    file = context / "Dockerfile"
    if not file.is_file():
        raise Refused("unable to read Dockerfile: no such file or directory")
    if (context / ".dockerignore").exists():
        raise Refused("not implemented: .dockerignore")
    recipe = Recipe()
    for line in _lines(file.read_text()):
        word, _, rest = line.partition(" ")
        do = _INSTRUCTIONS.get(word.upper())
        if do is None or (not recipe.python and do is not _from):
            raise Refused(f"not implemented: {line}")
        do(recipe, rest.strip(), context, root)
    if not recipe.command and not recipe.entrypoint:
        raise Refused("not implemented: an image without CMD or ENTRYPOINT")
    return recipe


def _lines(text: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", " ", text)
    return [x.strip() for x in joined.splitlines() if x.strip() and not x.strip().startswith("#")]


def _from(recipe: Recipe, rest: str, context: Path, root: Path) -> None:
    match = re.fullmatch(r"(?:docker\.io/library/)?python:(3)\.(\d+)[\w.-]*(@sha256:\w+)?", rest)
    if not match or recipe.python:
        raise Refused(f"not implemented: FROM {rest}")
    recipe.python = f"python{match[1]}{match[2]}"


def _inside(recipe: Recipe, path: str) -> str:
    """An absolute path in the image."""
    whole = PurePosixPath(recipe.workdir) / path
    if ".." in whole.parts:
        raise Refused(f"not implemented: a path with ..: {path}")
    return str(whole)


def _workdir(recipe: Recipe, rest: str, context: Path, root: Path) -> None:
    recipe.workdir = _inside(recipe, rest)
    (root / recipe.workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)


def _copy(recipe: Recipe, rest: str, context: Path, root: Path) -> None:
    words = [w for w in shlex.split(rest) if not w.startswith("--chown=")]
    if any(w.startswith("--") for w in words) or rest.startswith("[") or len(words) < 2:
        raise Refused(f"not implemented: COPY {rest}")
    *sources, target = words
    place = root / _inside(recipe, target).lstrip("/")
    folder = target.endswith(("/", ".")) or len(sources) > 1 or place.is_dir()
    for source in sources:
        path = (context / source.lstrip("/")).resolve()
        if not path.is_relative_to(context.resolve()) or not path.exists():
            raise Refused(f"COPY failed: file not found in build context: {source}")
        if path.is_dir():
            shutil.copytree(path, place, dirs_exist_ok=True)
        else:
            (place if folder else place.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)


def _run(recipe: Recipe, rest: str, context: Path, root: Path) -> None:
    words = shlex.split(rest)
    if words[:3] == ["python", "-m", "pip"]:
        words = words[2:]
    left = [w for w in words if w not in HARMLESS]
    if left[:2] != ["pip", "install"] or left[2:3] not in (["-r"], ["--requirement"]):
        raise Refused(f"not implemented: RUN {rest}")
    if len(left) != 4 or recipe.requirements:
        raise Refused(f"not implemented: RUN {rest}")
    recipe.requirements = _inside(recipe, left[3])
    if not (root / recipe.requirements.lstrip("/")).is_file():
        raise Refused(f"Could not open requirements file: {left[3]}")


def _env(recipe: Recipe, rest: str, context: Path, root: Path) -> None:
    pairs = [word.partition("=") for word in shlex.split(rest)]
    if not all(equals for _, equals, _ in pairs):
        raise Refused(f"not implemented: ENV {rest}")
    recipe.variables |= {name: value for name, _, value in pairs}


def _user(recipe: Recipe, rest: str, context: Path, root: Path) -> None:
    """Kept by nobody: processes here run as the cloud itself."""


def _list(kind: str, rest: str) -> list[str]:
    try:
        words = json.loads(rest)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
        raise Refused(f"not implemented: {kind} that is not a JSON list: {rest}")
    return words


def _command(recipe: Recipe, rest: str, context: Path, root: Path) -> None:
    recipe.command = _list("CMD", rest)


def _entrypoint(recipe: Recipe, rest: str, context: Path, root: Path) -> None:
    recipe.entrypoint, recipe.command = _list("ENTRYPOINT", rest), []


_INSTRUCTIONS = {
    "FROM": _from,
    "WORKDIR": _workdir,
    "COPY": _copy,
    "RUN": _run,
    "ENV": _env,
    "USER": _user,
    "CMD": _command,
    "ENTRYPOINT": _entrypoint,
}
