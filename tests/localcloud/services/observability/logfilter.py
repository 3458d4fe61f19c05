"""Logging's query language, as far as metrics, gcloud and the runbook need it.

matches('severity>=ERROR AND jsonPayload.event=("done" OR "failed")', entry) -> bool
"""

from __future__ import annotations

import functools
import operator as operators
import re
from collections.abc import Callable
from typing import Any

Entry = dict[str, Any]
Test = Callable[[Entry], bool]

SEVERITIES = (
    "DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY",
)  # fmt: skip
_TOKEN = re.compile(
    r'\s*(?:--[^\n]*\n\s*)*(?P<token>"(?:[^"\\]|\\.)*"|!=|>=|<=|=~|!~|[()=<>:]'
    r"|[A-Za-z0-9_./@%+-]+(?:\.\"[^\"]*\"[A-Za-z0-9_.]*)*)"
)


_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    ">": operators.gt,
    ">=": operators.ge,
    "<": operators.lt,
    "<=": operators.le,
}


class FilterError(ValueError):
    """The filter is not one, or uses what is not served here."""


def matches(filter_: str, entry: Entry) -> bool:
    """Raises FilterError."""
    return compiled(filter_)(entry)


@functools.cache
def compiled(filter_: str) -> Test:
    tokens, at = [], 0
    while filter_[at:].strip():
        match = _TOKEN.match(filter_, at)
        if match is None:
            raise FilterError(f"cannot read: {filter_[at:].strip()}")
        tokens.append(match["token"])
        at = match.end()
    parser = _Parser(tokens)
    test = parser.any_of() if tokens else lambda entry: True
    if parser.tokens:
        raise FilterError(f"cannot read: {' '.join(parser.tokens)}")
    return test


class _Parser:
    """OR binds more closely than AND, as Logging has it; comparisons side by side mean AND."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def _next(self, *wanted: str) -> str | None:
        if self.tokens and (not wanted or self.tokens[0] in wanted):
            return self.tokens.pop(0)
        return None

    def any_of(self) -> Test:
        tests = [self._ors()]
        while self.tokens and self.tokens[0] != ")":
            self._next("AND")
            tests.append(self._ors())
        return lambda entry: all(test(entry) for test in tests)

    def _ors(self) -> Test:
        tests = [self._one()]
        while self._next("OR"):
            tests.append(self._one())
        return lambda entry: any(test(entry) for test in tests)

    def _one(self) -> Test:
        if self._next("NOT", "-"):
            negated = self._one()
            return lambda entry: not negated(entry)
        if self._next("("):
            inner = self.any_of()
            if not self._next(")"):
                raise FilterError("a parenthesis is not closed")
            return inner
        field = self._next() or ""
        operator = self._next("=", "!=", ">", ">=", "<", "<=", ":", "=~", "!~")
        if operator is None:
            raise FilterError(f"{field} is compared with nothing: not served here")
        if self._next("("):
            values = [self._value()]
            while self._next("OR"):
                values.append(self._value())
            if not self._next(")"):
                raise FilterError("a parenthesis is not closed")
        else:
            values = [self._value()]
        return lambda entry: any(_compare(_read(entry, field), operator, v) for v in values)

    def _value(self) -> str:
        token = self._next()
        if token is None:
            raise FilterError("a value is missing")
        return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


def _read(entry: Entry, field: str) -> Any:
    """The value of a path such as resource.labels.service_name or labels."a.b/c"."""
    value: Any = entry
    for quoted, plain in re.findall(r'"([^"]*)"|([^."]+)', field):
        value = value.get(quoted or plain) if isinstance(value, dict) else None
    return value


def _compare(held: Any, operator: str, wanted: str) -> bool:
    """What is not there equals nothing."""
    if held is None:
        return operator == "!="
    text = str(held).lower() if isinstance(held, bool) else str(held)
    if operator in ("=~", "!~"):
        return (re.search(wanted, text) is not None) == (operator == "=~")
    if operator == ":":
        return wanted == "*" or wanted.lower() in text.lower()
    left, right = _order(held, text, wanted)
    if operator in ("=", "!="):
        return bool((left == right) == (operator == "="))
    if type(left) is not type(right):
        return False
    return bool(_ORDER[operator](left, right))


def _order(held: Any, text: str, wanted: str) -> tuple[Any, Any]:
    """Both as numbers, severities or texts without case."""
    if text in SEVERITIES and wanted.upper() in SEVERITIES:
        return SEVERITIES.index(text), SEVERITIES.index(wanted.upper())
    try:
        return (float(held), float(wanted)) if not isinstance(held, bool) else (text, wanted)
    except (TypeError, ValueError):
        return text.lower(), wanted.lower()
