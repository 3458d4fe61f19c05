"""PromQL, as far as this repository's alerts and dashboard use it; anything else raises QueryError.

evaluate(query, series, time) -> {labels: value}. Counters are increments with their times, as Cloud
Monitoring keeps them, so increase() is a sum and the first increment counts.
"""

from __future__ import annotations

import math
import operator
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
NONE: Labels = frozenset()


class QueryError(ValueError):
    """The query is not one, or uses what is not known here."""


@dataclass
class Counter:
    """Increments in the order of their times (seconds)."""

    times: list[float] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0])

    def add(self, time: float, amount: float = 1.0) -> None:
        self.times.append(time)
        self.sums.append(self.sums[-1] + amount)

    def increase(self, start: float, end: float) -> float:
        """What was added after `start`, up to `end`."""
        return self.sums[bisect_right(self.times, end)] - self.sums[bisect_right(self.times, start)]


@dataclass
class Gauge:
    """A value at any time, and the times at which it changes its course."""

    at: Callable[[float], float]
    changes: list[float]

    def least(self, start: float, end: float) -> float:
        inside = [t for t in self.changes if start < t <= end]
        return min(self.at(t) for t in [start, *inside, end])


Series = Mapping[str, Mapping[Labels, Counter | Gauge]]


class Selector(NamedTuple):
    """A metric with its matchers: (label, operator, value)."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]


_TOKEN = re.compile(
    r'\s*("(?:[^"\\]|\\.)*"|\d+(?:\.\d+)?(?![\w.])|\[\d+[smhd]\]|[A-Za-z_][\w:]*|=~|!~|!=|>=|<='
    r"|==|[(){}=,><*/+-])"
)
_WORDS = {"and", "or", "unless", "by"}
_COMPARE = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "==": operator.eq,
}  # fmt: skip
_ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
# From loose to close.
_LEVELS = (("or",), ("and", "unless"), tuple(_COMPARE), ("+", "-"), ("*", "/"))
_REDUCE = {"sum": sum, "max": max, "min": min}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
Node = tuple[Any, ...]


def parse(query: str) -> Node:
    tokens, at = [], 0
    while query[at:].strip():
        match = _TOKEN.match(query, at)
        if match is None:
            raise QueryError(f"cannot read {query[at:]!r}")
        tokens.append(match[1])
        at = match.end()
    parser = _Parser(tokens)
    node = parser.level(0)
    if parser.tokens:
        raise QueryError(f"cannot read {' '.join(parser.tokens)!r}")
    return node


def selectors(query: str) -> Iterator[Selector]:
    """Every metric that the query names, with its matchers."""

    def walk(node: Node) -> Iterator[Selector]:
        for part in node:
            if isinstance(part, Selector):
                yield part
            elif isinstance(part, tuple):
                yield from walk(part)

    yield from walk(parse(query))


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def _take(self, *wanted: str) -> str:
        if not self.tokens or (wanted and self.tokens[0] not in wanted):
            raise QueryError(f"expected {wanted or 'more'} before {' '.join(self.tokens[:5])!r}")
        return self.tokens.pop(0)

    def _peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def level(self, number: int) -> Node:
        if number == len(_LEVELS):
            return self._unit()
        left = self.level(number + 1)
        while self._peek() in _LEVELS[number]:
            left = (self._take(), left, self.level(number + 1))
        return left

    def _unit(self) -> Node:
        token = self._take()
        if token == "(":
            inner = self.level(0)
            self._take(")")
            return inner
        if token[0].isdigit():
            return ("number", float(token))
        if token in _REDUCE:
            return self._reduction(token)
        if token in ("increase", "min_over_time"):
            self._take("(")
            name = Selector(*self._selector(self._take()))
            window = self._take()
            if not window.startswith("["):
                raise QueryError(f"{token} needs a window, such as [5m]")
            self._take(")")
            return (token, name, int(window[1:-2]) * _SECONDS[window[-2]])
        if token in ("histogram_quantile", "vector"):
            self._take("(")
            arguments = [self.level(0)]
            while self._peek() == ",":
                self._take()
                arguments.append(self.level(0))
            self._take(")")
            return (token, *arguments)
        if token in _WORDS or self._peek() == "(" or not re.match(r"[A-Za-z_]", token):
            raise QueryError(f"{token!r} is not known here")
        return ("instant", Selector(*self._selector(token)))

    def _reduction(self, name: str) -> Node:
        by: list[str] = []
        if self._peek() == "by":
            self._take()
            self._take("(")
            while self._peek() != ")":
                by.append(self._take())
                if self._peek() == ",":
                    self._take()
            self._take(")")
        self._take("(")
        inner = self.level(0)
        self._take(")")
        return (name, ("by", *by), inner)

    def _selector(self, name: str) -> tuple[str, tuple[tuple[str, str, str], ...]]:
        matchers = []
        if self._peek() == "{":
            self._take()
            while self._peek() != "}":
                label, how = self._take(), self._take("=", "!=", "=~", "!~")
                value = self._take()
                matchers.append((label, how, re.sub(r"\\(.)", r"\1", value[1:-1])))
                if self._peek() == ",":
                    self._take()
            self._take("}")
        return name, tuple(matchers)


def evaluate(query: str | Node, series: Series, time: float) -> Vector:
    """The value of each set of labels; a number has none. Raises QueryError."""
    node = parse(query) if isinstance(query, str) else query
    kind = node[0]
    if kind == "number":
        return {NONE: node[1]}
    if kind == "vector":
        return evaluate(node[1], series, time)
    if kind in ("instant", "increase", "min_over_time"):
        window = node[2] if len(node) > 2 else 0
        held = chosen(node[1], series)
        return {labels: _read(kind, one, time, window) for labels, one in held.items()}
    if kind in _REDUCE:
        groups: dict[Labels, list[float]] = defaultdict(list)
        for labels, value in evaluate(node[2], series, time).items():
            groups[frozenset(p for p in labels if p[0] in node[1][1:])].append(value)
        return {labels: float(_REDUCE[kind](values)) for labels, values in groups.items()}
    if kind == "histogram_quantile":
        (share,) = evaluate(node[1], series, time).values()
        return _quantiles(share, evaluate(node[2], series, time))
    left, right = evaluate(node[1], series, time), evaluate(node[2], series, time)
    if kind == "or":
        return right | left
    if kind in ("and", "unless"):
        return {labels: v for labels, v in left.items() if (labels in right) == (kind == "and")}
    pairs = _pairs(node, left, right)
    if kind in _COMPARE:
        return {labels: a for labels, a, b in pairs if _COMPARE[kind](a, b)}
    return {labels: _ARITHMETIC[kind](a, b) for labels, a, b in pairs if kind != "/" or b}


def _pairs(node: Node, left: Vector, right: Vector) -> list[tuple[Labels, float, float]]:
    """Values that belong together: by equal labels, or each with a plain number."""
    if node[1][0] == "number":
        (number,) = left.values()
        return [(labels, number, value) for labels, value in right.items()]
    if node[2][0] == "number":
        (number,) = right.values()
        return [(labels, value, number) for labels, value in left.items()]
    return [(labels, left[labels], right[labels]) for labels in left if labels in right]


def chosen(selector: Selector, series: Series) -> Mapping[Labels, Counter | Gauge]:
    """The series that a selector takes."""
    found = {}
    for labels, one in series.get(selector.name, {}).items():
        held = dict(labels)
        for label, how, value in selector.matchers:
            same = (
                re.fullmatch(value, held.get(label, "")) is not None
                if how.endswith("~")
                else held.get(label, "") == value
            )
            if same != (not how.startswith("!")):
                break
        else:
            found[labels] = one
    return found


def _read(kind: str, one: Counter | Gauge, time: float, window: float) -> float:
    if isinstance(one, Counter):
        if kind != "increase":
            raise QueryError(f"{kind} of a counter")
        return one.increase(time - window, time)
    if kind == "increase":
        raise QueryError("increase of a gauge")
    return one.at(time) if kind == "instant" else one.least(time - window, time)


def _quantiles(share: float, buckets: Vector) -> Vector:
    """As Prometheus does it: straight within a bucket, the last finite bound beyond it."""
    groups: dict[Labels, list[tuple[float, float]]] = defaultdict(list)
    for labels, count in buckets.items():
        bound = next(float(value) for key, value in labels if key == "le")
        groups[frozenset(p for p in labels if p[0] != "le")].append((bound, count))
    found = {}
    for labels, group in groups.items():
        group.sort()
        rank, before, low = share * group[-1][1], 0.0, 0.0
        if not group[-1][1]:
            continue
        for bound, count in group:
            if count >= rank:
                inside = (rank - before) / (count - before) if count > before else 1.0
                found[labels] = low if math.isinf(bound) else low + (bound - low) * inside
                break
            before, low = count, bound
    return found
