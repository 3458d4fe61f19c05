"""Finds misspelt settings inside an object, such as a lane's, which Terraform drops without a word.

Terraform refuses an argument that a module does not have. Within an object's type it takes what it
knows and leaves the rest out: a misspelt rate would be applied as the default. This reads the
environment's call as far as it is written out; what an expression makes is let be.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from docs_tables import blocks

TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
    | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<word>[A-Za-z_][\w-]*)
    | (?P<sign>==|=>|[<>!]=|.)""",
    re.S | re.X,
)


def known_settings(variables: Path) -> dict[str, tuple[int, set[str]]]:
    """Each variable that takes objects: how deep they lie (1 in a map), and what they have."""
    found = {}
    for name, attributes in blocks(variables, "variable").items():
        kind = attributes["type"]
        if kind.startswith(("object(", "map(object(")):
            depth = int(kind.startswith("map("))
            found[name] = (depth, set(re.findall(r"(\w+) = optional\(", kind)))
    return found


def written_settings(text: str) -> Iterator[tuple[int, list[str], str]]:
    """Each `name = …` of a file: its line, the names that it lies within, and its name."""
    tokens = [
        (text.count("\n", 0, match.start()) + 1, match.lastgroup, match.group().strip('"'))
        for match in TOKEN.finditer(text)
        if match.lastgroup != "skip"
    ]
    within: list[str] = []
    # What the next bracket belongs to; nothing, where an expression stands before it.
    opens = ""
    for (line, kind, value), (_, _, following) in pairwise([*tokens, (0, "", "")]):
        if kind in ("word", "string") and following == "=":
            yield line, within, value
            opens = value
        elif kind == "word" and value == "module" and not within:
            opens = value
        elif kind == "sign" and value in "{([":
            within = [*within, opens if value == "{" else ""]
            opens = ""
        elif kind == "sign" and value in "})]":
            within, opens = within[:-1], ""
        elif kind != "string" and value != "=":
            opens = ""


def misspelt(call: Path, variables: Path) -> str | None:
    """What is wrong with the first setting that the module does not have, or None."""
    known = known_settings(variables)
    for line, within, name in written_settings(call.read_text(encoding="utf-8")):
        if len(within) < 2 or within[0] != "module" or within[1] not in known:
            continue
        depth, has = known[within[1]]
        if len(within) != 2 + depth or name in has or "" in within:
            continue
        close = difflib.get_close_matches(name, sorted(has), n=1)
        meant = f"Did you mean {close[0]}?" if close else "terraform/pipeline/README.md lists all."
        return (
            f"{call.parent.name}/{call.name} line {line}: {'.'.join(within[1:])} has no setting "
            f"{name}, which Terraform would leave out without a word. {meant}"
        )
    return None
