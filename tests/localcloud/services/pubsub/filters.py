"""A subscription's filter: attributes compared, combined with AND, OR, NOT and parentheses.

As cloud.google.com/pubsub/docs/subscription-message-filter has it: operators in capitals, AND and
OR mixed only with parentheses, at most 256 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ...core.errors import ApiError

MAX_BYTES = 256
Test = Callable[[Mapping[str, str]], bool]
_TOKEN = re.compile(
    r'\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[A-Za-z_][\w-]*)|(?P<sign>!=|[=:.(),-]))'
)


def parse(text: str) -> Test:
    """Whether a message's attributes pass. Raises ApiError 400 for what Pub/Sub refuses."""
    if len(text.encode()) > MAX_BYTES:
        raise ApiError(400, f"The filter is longer than {MAX_BYTES} bytes.")
    parser = _Parser(text)
    test = parser.expression()
    if parser.tokens:
        raise parser.wrong()
    return test


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.tokens = text, list[str]()
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise self.wrong()
            self.tokens.append(match[0].strip())
            at = match.end()

    def wrong(self) -> ApiError:
        return ApiError(400, f"Invalid filter: {self.text}")

    def take(self, *wanted: str) -> str:
        """The next token, which is one of `wanted` where some are given."""
        if not self.tokens or (wanted and self.tokens[0] not in wanted):
            raise self.wrong()
        return self.tokens.pop(0)

    def expression(self) -> Test:
        tests, word = [self.term()], ""
        while self.tokens and self.tokens[0] in ("AND", "OR"):
            if word and self.tokens[0] != word:
                raise self.wrong()
            word = self.take()
            tests.append(self.term())
        whole = all if word == "AND" else any
        return lambda attributes: whole(test(attributes) for test in tests)

    def term(self) -> Test:
        if self.tokens and self.tokens[0] in ("NOT", "-"):
            self.take()
            inner = self.term()
            return lambda attributes: not inner(attributes)
        if self.tokens and self.tokens[0] == "(":
            self.take()
            inner = self.expression()
            self.take(")")
            return inner
        if self.take("attributes", "hasPrefix") == "hasPrefix":
            self.take("(")
            self.take("attributes")
            self.take(".")
            key = self.name()
            self.take(",")
            value = self.string()
            self.take(")")
            return lambda attributes: attributes.get(key, "").startswith(value)
        if self.take(":", ".") == ":":
            key = self.name()
            return lambda attributes: key in attributes
        key, sign, value = self.name(), self.take("=", "!="), self.string()
        return lambda attributes: (attributes.get(key) == value) == (sign == "=")

    def name(self) -> str:
        token = self.take()
        if token.startswith('"'):
            return token[1:-1]
        if not re.match(r"[A-Za-z_]", token):
            raise self.wrong()
        return token

    def string(self) -> str:
        token = self.take()
        if not token.startswith('"'):
            raise self.wrong()
        return re.sub(r"\\(.)", r"\1", token[1:-1])
