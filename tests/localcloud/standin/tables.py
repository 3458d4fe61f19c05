"""Reads the tables of resource types (tables/*.txt; their notation is in tables/README.md)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

GROUPS = ("exactly_one", "at_least_one", "conflicts")
LABELS = """
labels           map optional api=-
terraform_labels map computed api=-
effective_labels map computed api=labels"""
IAM = r"""
condition        block optional new max=1
  description    string optional new
  expression     string required new
  title          string required new
etag             string computed
member           string required new ~case /^(?!deleted)(.+:.+|project[ORW]\w+|all\w*Users)/
role             string required new"""
SHORT = {
    "project": "project string optional computed new api=-",
    "deletion_policy": "deletion_policy string optional computed api=-",
    "labels": LABELS,
    "iam": IAM,
}


@dataclass
class Field:
    """One attribute or block; `block` is its content, and None for an attribute."""

    name: str
    type: str  # string, bool, int, number, map, list, set, block, setblock
    element: str = "string"  # of list, set and map
    block: Block | None = None
    flags: frozenset[str] = frozenset()
    options: dict[str, str] = field(default_factory=dict)  # max, min, keeps, length
    default: Any = None
    enum: tuple[str, ...] = ()
    pattern: str = ""
    limits: tuple[int, int] | None = None
    same: str = ""  # link, duration, case, json
    api: tuple[str, ...] = ()  # path in REST; empty: not there

    def __getattr__(self, name: str) -> bool:
        """The flags by name: required, optional, computed, new, sensitive, always, …"""
        if name.startswith("__"):
            raise AttributeError(name)
        return name in self.flags

    @property
    def single(self) -> bool:
        """A block that stands at most once is an object in REST, not a list."""
        return self.options.get("max") == "1"


@dataclass
class Block:
    fields: dict[str, Field] = field(default_factory=dict)
    groups: list[tuple[str, list[str]]] = field(default_factory=list)


@dataclass
class Table:
    """One resource type or data source (or the provider's own configuration)."""

    kind: str  # resource, data, provider, block
    name: str
    block: Block = field(default_factory=Block)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def service(self) -> str:
        return self.settings["path"].split()[0]

    @property
    def path(self) -> str:
        return self.settings["path"].split()[1]

    @property
    def id(self) -> str:
        return self.settings.get("id", self.path)


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _field(line: str, blocks: dict[str, Block]) -> Field:
    name, kind, *words = re.findall(r'="(?:\\.|[^"])*"|\S+', line)
    match = re.fullmatch(r"(\w+)\((\w+)\)", kind)
    kind, element = match.groups() if match else (kind, "string")
    made = Field(name, kind, element, api=(camel(name),))
    flags = set()
    for word in words:
        key, _, value = word.partition("=")
        if word.startswith("="):
            made.default = json.loads(value)
        elif word.startswith("{"):
            made.enum = tuple(word[1:-1].split("|"))
        elif word.startswith("/"):
            made.pattern = word[1:-1]
        elif word.startswith("<"):
            made.block = blocks[word[1:-1]]
        elif word.startswith("~"):
            made.same = word[1:]
        elif re.fullmatch(r"\d+\.\.\d+", word):
            low, high = word.split("..")
            made.limits = int(low), int(high)
        elif key == "api":
            made.api = () if value == "-" else tuple(value.split("."))
        elif value:
            made.options[key] = value
        else:
            flags.add(word)
    made.flags = frozenset(flags)
    if kind in ("block", "setblock") and made.block is None:
        made.block = Block()
    return made


def _parse(text: str, blocks: dict[str, Block]) -> list[Table]:
    tables: list[Table] = []
    stack: list[tuple[int, Block]] = []
    lines = [line for line in text.splitlines() if line.strip()]
    while lines:
        line = lines.pop(0)
        depth, words = len(line) - len(line.lstrip()), line.split()
        if depth == 0:
            tables.append(Table(words[0], words[1]))
            stack = [(0, tables[-1].block)]
            continue
        if words[0] in SHORT and len(words) == 1:
            lines = [" " * depth + more for more in SHORT[words[0]].strip().splitlines()] + lines
            if words[0] == "iam":
                tables[-1].settings |= {"handler": "iam", "late": "project"}
            continue
        while stack[-1][0] >= depth:
            stack.pop()
        key, colon, value = line.strip().partition(": ")
        if colon and key in GROUPS:
            stack[-1][1].groups.append((key, value.split()))
        elif colon:
            tables[-1].settings[key] = value.strip()
        else:
            made = _field(line, blocks)
            stack[-1][1].fields[made.name] = made
            if made.block is not None:
                stack.append((depth, made.block))
    for table in tables:
        if table.kind == "block":
            blocks[table.name] = table.block
        elif table.kind != "provider" and "id" not in table.block.fields:
            table.block.fields["id"] = _field("id string optional computed api=-", {})
    return [table for table in tables if table.kind != "block"]


@cache
def load() -> dict[tuple[str, str], Table]:
    """All tables by (kind, name), kind being "resource", "data" or "provider"."""
    files = sorted((Path(__file__).parent / "tables").glob("*.txt"))
    # A file's own blocks come before their use, but `_parse` reads a file in one go: the blocks
    # of a file are parsed first.
    found: dict[tuple[str, str], Table] = {}
    for file in files:
        blocks: dict[str, Block] = {}
        parts = re.split(r"\n(?=\w)", file.read_text())
        for part in sorted(parts, key=lambda part: not part.startswith("block ")):
            for table in _parse(part, blocks):
                found[table.kind, table.name] = table
    return found
