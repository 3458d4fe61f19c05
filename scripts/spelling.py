"""Finds misspelt settings inside an object, such as a lane's, which Terraform drops without a word.

Terraform refuses an argument that a module does not have. Within an object's type it takes what it
knows and leaves the rest out: a misspelt rate would be applied as the default. This reads an
environment's calls as far as they are written out; what an expression makes is not checked.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from docs_tables import blocks

TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
    | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<word>[A-Za-z_][\w-]*)
    | (?P<sign>==|=>|[<>!]=|.)""",
    re.S | re.X,
)


# The settings of an object by their names, those of all of a map's objects under ANY; None for what
# has no settings, such as a number.
Settings = dict[str, Any]
ANY = "*"


def known_settings(module: Path) -> Settings:
    """The variables of a module and what lies within them, as deep as it goes."""
    return {
        name: _settings(re.findall(r'\w+|"[^"]*"|[^\s\w]', attributes["type"]))
        for file in module.glob("variables*.tf")
        for name, attributes in blocks(file, "variable").items()
    }


def _settings(type_: list[str]) -> Settings | None:
    """Takes the tokens of one type from the front of the list."""
    constructor = type_.pop(0)
    found: Settings | None = None
    if type_[:1] != ["("]:
        return None
    type_.pop(0)
    if constructor == "object":
        found = {}
        while type_.pop(0) != "}":  # but "{" or ","
            name, _ = type_.pop(0), type_.pop(0)
            found[name] = _settings(type_)
    elif constructor in ("map", "optional"):
        found = _settings(type_)
        if found and constructor == "map":
            found = {ANY: found}
    depth = 1
    while depth:  # to the end of the constructor, past an optional's default
        depth += {"(": 1, ")": -1}.get(type_.pop(0), 0)
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


def misspelt(call: Path) -> str | None:
    """What is wrong with the first setting that its module does not have, or None."""
    text = call.read_text(encoding="utf-8")
    for block in re.finditer(r'^module "\w+" \{\n.*?^\}', text, re.M | re.S):
        source = re.search(r'^ *source *= *"(\.[^"]*)"', block[0], re.M)
        if not source:
            continue
        module = (call.parent / source[1]).resolve()
        known = known_settings(module)
        for line, within, name in written_settings(block[0]):
            if wrong := _wrong(known, within[1:], name):
                line += text.count("\n", 0, block.start())
                where = f"{call.parent.name}/{call.name} line {line}"
                lists = f"terraform/{module.name}/README.md lists all."
                return f"{where}: {wrong.replace('README', lists)}"
    return None


def _wrong(known: Settings, within: list[str], name: str) -> str | None:
    """What is wrong with a setting that lies within these."""
    has: Settings | None = known
    for outer in within:
        has = (has or {}).get(outer) or (has or {}).get(ANY)
    if not within or "" in within or not has or name in has or ANY in has:
        return None
    close = difflib.get_close_matches(name, sorted(has), n=1)
    meant = f"Did you mean {close[0]}?" if close else "README"
    return (
        f"{'.'.join(within)} has no setting {name}, which Terraform would leave out without a "
        f"word. {meant}"
    )
