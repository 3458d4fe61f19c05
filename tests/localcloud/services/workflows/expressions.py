"""Expressions of Workflows: `${…}` over variables, operators and functions.

https://docs.cloud.google.com/workflows/docs/reference/syntax/expressions
"""

from __future__ import annotations

import operator
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Tree = tuple[Any, ...]
Call = Callable[[str, list[Any]], Awaitable[Any]]
TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<name>[A-Za-z_]\w*)|(?P<mark>==|!=|<=|>=|//|[-+*/%<>().,\[\]]))"""
)
WORDS = {"true": True, "false": False, "null": None}
# Operators by precedence, loosest first; `and`, `or`, `not` are above these.
COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge, "in": lambda a, b: a in b,
}  # fmt: skip
ADDED: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "-": operator.sub}
MULTIPLIED: dict[str, Callable[[Any, Any], Any]] = {
    "*": operator.mul, "/": operator.truediv, "//": operator.floordiv, "%": operator.mod,
}  # fmt: skip


class Raised(Exception):
    """An error of a workflow: its value is what `except` gets."""

    def __init__(self, value: Any) -> None:
        super().__init__(str(value))
        self.value = value


def error(tag: str, message: str, **more: Any) -> Raised:
    return Raised({"tags": [tag], "message": message} | more)


class Malformed(Exception):
    """Not an expression of Workflows, or one of a kind that is not served."""


class Expression:
    """One expression, to be evaluated. Raises Malformed."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens = text, list[str]()
        place = 0
        while text[place:].strip():
            match = TOKEN.match(text, place)
            if match is None:
                raise Malformed(f"not implemented: the expression {text!r}")
            self._tokens.append(match[match.lastgroup or 0])
            place = match.end()
        self._tree = self._either()
        if self._tokens:
            raise Malformed(f"not implemented: the expression {text!r}")

    @classmethod
    def of(cls, tree: Tree) -> Expression:
        """A part of another one."""
        made = cls("null")
        made._tree = tree
        return made

    @property
    def target(self) -> tuple[Expression, Expression] | None:
        """What it is a member of, and by which key; None for anything else."""
        kind, *parts = self._tree
        return (self.of(parts[0]), self.of(parts[1])) if kind == "get" else None

    async def value(self, variables: Mapping[str, Any], call: Call) -> Any:
        """Raises Raised: KeyError, TypeError and their like, as workflows have them."""
        try:
            return await _evaluate(self._tree, variables, call)
        except (TypeError, ValueError, ZeroDivisionError, AttributeError) as wrong:
            tag = type(wrong).__name__.replace("AttributeError", "TypeError")
            raise error(tag, f"{wrong} in expression {self._text!r}") from None

    # A tree: ("value", v), ("name", n), ("get", tree, tree), ("call", name, trees), ("op", f, …),
    # ("and", a, b), ("or", a, b), ("not", a), ("list", trees)

    def _peek(self, *wanted: str) -> bool:
        return bool(self._tokens) and self._tokens[0] in wanted

    def _take(self, *wanted: str) -> str:
        if not self._tokens or (wanted and self._tokens[0] not in wanted):
            raise Malformed(f"not implemented: the expression {self._text!r}")
        return self._tokens.pop(0)

    def _either(self) -> Tree:
        tree = self._both()
        while self._peek("or"):
            self._take()
            tree = ("or", tree, self._both())
        return tree

    def _both(self) -> Tree:
        tree = self._negated()
        while self._peek("and"):
            self._take()
            tree = ("and", tree, self._negated())
        return tree

    def _negated(self) -> Tree:
        if self._peek("not"):
            self._take()
            return ("not", self._negated())
        tree = self._chain(ADDED, lambda: self._chain(MULTIPLIED, self._signed))
        if self._peek(*COMPARED):
            compare = COMPARED[self._take()]
            right = self._chain(ADDED, lambda: self._chain(MULTIPLIED, self._signed))
            return ("op", compare, tree, right)
        return tree

    def _chain(self, table: dict[str, Any], inner: Callable[[], tuple[Any, ...]]) -> Tree:
        tree = inner()
        while self._peek(*table):
            tree = ("op", table[self._take()], tree, inner())
        return tree

    def _signed(self) -> Tree:
        if self._peek("-"):
            self._take()
            return ("op", operator.sub, ("value", 0), self._signed())
        return self._path()

    def _path(self) -> Tree:
        token = self._take()
        if token == "(":
            tree = self._either()
            self._take(")")
        elif token == "[":
            tree = ("list", self._several("]"))
        elif token[0] in "\"'":
            tree = ("value", re.sub(r"\\(.)", _escaped, token[1:-1]))
        elif token[0].isdigit():
            tree = ("value", float(token) if "." in token else int(token))
        elif token in WORDS:
            tree = ("value", WORDS[token])
        elif re.fullmatch(r"[A-Za-z_]\w*", token):
            return self._named(token)
        else:
            raise Malformed(f"not implemented: the expression {self._text!r}")
        return self._parts(tree)

    def _named(self, name: str) -> Tree:
        """A variable with its parts, or a call of a function, whose name may have dots."""
        names = [name]
        while self._peek(".") and len(self._tokens) > 1 and self._tokens[1][0].isalpha():
            self._take()
            names.append(self._take())
        if self._peek("("):
            self._take()
            given = self._several(")")
            return self._parts(("call", ".".join(names), given))
        tree: Tree = ("name", names[0])
        for part in names[1:]:
            tree = ("get", tree, ("value", part))
        return self._parts(tree)

    def _several(self, end: str) -> list[Tree]:
        found = []
        while not self._peek(end):
            found.append(self._either())
            if not self._peek(end):
                self._take(",")
        self._take(end)
        return found

    def _parts(self, tree: Tree) -> Tree:
        while self._peek(".", "["):
            if self._take() == ".":
                tree = ("get", tree, ("value", self._take()))
            else:
                tree = ("get", tree, self._either())
                self._take("]")
        return tree


def _escaped(match: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t", "r": "\r"}.get(match[1], match[1])


async def _evaluate(tree: Tree, variables: Mapping[str, Any], call: Call) -> Any:
    kind, *rest = tree
    if kind == "value":
        return rest[0]
    if kind == "name":
        if rest[0] not in variables:
            raise error("NameError", f"variable {rest[0]!r} is not set")
        return variables[rest[0]]
    if kind in ("and", "or"):
        left = await _evaluate(rest[0], variables, call)
        if bool(left) == (kind == "or"):
            return left
        return await _evaluate(rest[1], variables, call)
    if kind == "list":
        return [await _evaluate(one, variables, call) for one in rest[0]]
    if kind == "not":
        return not await _evaluate(rest[0], variables, call)
    if kind == "call":
        return await call(rest[0], [await _evaluate(one, variables, call) for one in rest[1]])
    if kind == "get":
        return get(*[await _evaluate(one, variables, call) for one in rest])
    left, right = [await _evaluate(one, variables, call) for one in rest[1:]]
    return rest[0](left, right)


def get(value: Any, key: Any) -> Any:
    """A member of a map or list. Raises Raised."""
    if isinstance(value, dict):
        if key not in value:
            raise error("KeyError", f"key not found: {key}")
        return value[key]
    if isinstance(value, list) and isinstance(key, int):
        if not 0 <= key < len(value):
            raise error("IndexError", f"index out of range: {key}")
        return value[key]
    raise error("TypeError", f"{type(value).__name__} has no member {key!r}")
