"""Finds misspelt settings inside an object, such as a lane's, which Terraform drops without a word,
and texts in the place of numbers, of which Terraform does not say where they are.

Terraform refuses an argument that a module does not have. Within an object's type it takes what it
knows and leaves the rest out: a misspelt rate would be applied as the default. This reads an
environment's calls as far as they are written out; what an expression makes is not checked.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
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


# The settings of an object by their names, those of all of a map's objects under ANY; a type's name
# for what has no settings, such as a number.
Settings = dict[str, Any]
ANY = "*"


def known_settings(module: Path) -> Settings:
    """The variables of a module and what lies within them, as deep as it goes."""
    return {
        name: _settings(re.findall(r'\w+|"[^"]*"|[^\s\w]', attributes["type"]))
        for file in module.glob("variables*.tf")
        for name, attributes in blocks(file, "variable").items()
    }


def _settings(type_: list[str]) -> Settings | str:
    """Takes the tokens of one type from the front of the list."""
    constructor = type_.pop(0)
    found: Settings | str = constructor
    if type_[:1] != ["("]:
        return found
    type_.pop(0)
    if constructor == "object":
        found = {}
        while type_.pop(0) != "}":  # but "{" or ","
            name, _ = type_.pop(0), type_.pop(0)
            found[name] = _settings(type_)
    elif constructor in ("map", "optional"):
        found = _settings(type_)
        if constructor == "map":
            found = {ANY: found}
    depth = 1
    while depth:  # to the end of the constructor, past an optional's default
        depth += {"(": 1, ")": -1}.get(type_.pop(0), 0)
    return found


def written_settings(text: str) -> Iterator[tuple[int, list[str], str, str]]:
    """Each `name = …` of a file: its line, the names that it lies within, its name, and its value
    where that is a text alone, with its quotes."""
    tokens = [
        (text.count("\n", 0, match.start()) + 1, match.lastgroup, match.group())
        for match in TOKEN.finditer(text)
        if match.lastgroup != "skip"
    ]
    within: list[str] = []
    # What the next bracket belongs to; nothing, where an expression stands before it.
    opens = ""
    ahead = [*tokens, *[(0, "", "")] * 3]
    for at, (line, kind, token) in enumerate(tokens):
        (_, _, following), (_, its_kind, its), (end, _, sign) = ahead[at + 1 : at + 4]
        value = token.strip('"')
        if kind in ("word", "string") and following == "=":
            alone = its_kind == "string" and (end != line or sign in "},")
            yield line, within, value, its if alone else ""
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
        for line, within, name, value in written_settings(block[0]):
            if wrong := _wrong(known, within[1:], name, value):
                line += text.count("\n", 0, block.start())
                where = f"{call.parent.name}/{call.name} line {line}"
                lists = f"terraform/{module.name}/README.md lists all."
                return f"{where}: {wrong.replace('README', lists)}"
    return None


def _wrong(known: Settings, within: list[str], name: str, value: str) -> str | None:
    """What is wrong with a setting that lies within these."""
    has: Any = known
    for outer in within:
        has = (has.get(outer) or has.get(ANY)) if isinstance(has, dict) else None
    if not within or "" in within or not isinstance(has, dict):
        return None
    if (has.get(name) or has.get(ANY)) == "number" and not _may_be_number(value):
        return f"{'.'.join([*within, name])} is {value}; it must be a number, without quotes"
    if name in has or ANY in has:
        return None
    close = difflib.get_close_matches(name, sorted(has), n=1)
    meant = f"Did you mean {close[0]}?" if close else "README"
    return (
        f"{'.'.join(within)} has no setting {name}, which Terraform would leave out without a "
        f"word. {meant}"
    )


def _may_be_number(text: str) -> bool:
    """Whether Terraform can make a number of a quoted text; of none and of a template it may."""
    if not text or "${" in text or "%{" in text:
        return True
    try:
        float(text.strip('"'))
    except ValueError:
        return False
    return True
