"""What workflows may call: the part of the standard library that is served.

Functions that need the cloud (http, events, sys.sleep) are in interpreter.py.
https://docs.cloud.google.com/workflows/docs/reference/stdlib/overview
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from .expressions import error

Json = dict[str, Any]


def plain(value: Any) -> Any:
    """As JSON has it; bytes do not travel."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _decoded(data: Any) -> Any:
    try:
        return json.loads(_bytes(data))
    except ValueError as wrong:
        raise error("ValueError", f"not JSON: {wrong}") from None


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | str):
        return str(value)
    raise error("TypeError", "string() takes a number, boolean or string")


def _integer(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise error("ValueError", f"int() takes a number: {value!r}") from None


def _parsed(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise error("ValueError", f"not a time in ISO 8601: {text!r}") from None


def _map_get(value: Any, keys: Any) -> Any:
    for key in keys if isinstance(keys, list) else [keys]:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _formatted(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _type(value: Any) -> str:
    kinds = {bool: "boolean", bytes: "bytes", dict: "map", float: "double", int: "integer",
             list: "list", str: "string", type(None): "null"}  # fmt: skip
    return kinds[type(value)]


def _checksum(data: Any, algorithm: str) -> bytes:
    if algorithm not in ("SHA256", "SHA384", "SHA512"):
        raise error("ValueError", f"not implemented: hash {algorithm}")
    return hashlib.new(algorithm, _bytes(data)).digest()


# Name → function; arguments by position, or by these names in a step `call`.
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "base64.decode": (lambda data: base64.b64decode(data), ("data",)),
    "base64.encode": (lambda data: base64.b64encode(_bytes(data)).decode(), ("data",)),
    "default": (lambda value, other: other if value is None else value, ("value", "default")),
    "double": (lambda value: float(value), ("value",)),
    "get_type": (_type, ("value",)),
    "hash.compute_checksum": (_checksum, ("data", "algorithm")),
    "int": (_integer, ("value",)),
    "json.decode": (_decoded, ("data",)),
    "json.encode": (lambda data: json.dumps(data).encode(), ("data",)),
    "json.encode_to_string": (lambda data: json.dumps(data), ("data",)),
    "keys": (lambda value: list(value), ("map",)),
    "len": (lambda value: len(value), ("value",)),
    "list.concat": (lambda items, item: [*items, item], ("objs", "val")),
    "map.delete": (lambda m, key: {k: v for k, v in m.items() if k != key}, ("map", "key")),
    "map.get": (_map_get, ("map", "keys")),
    "map.merge": (lambda first, second: first | second, ("first", "second")),
    "string": (_string, ("value",)),
    "text.match_regex": (lambda s, r: re.search(r, s) is not None, ("source", "regexp")),
    "text.replace_all": (lambda s, a, b: s.replace(a, b), ("source", "substr", "repl")),
    "text.replace_all_regex": (lambda s, r, b: re.sub(r, b, s), ("source", "regexp", "repl")),
    "text.split": (lambda s, by: s.split(by), ("source", "separator")),
    "text.substring": (lambda s, start, end: s[start:end], ("source", "start", "end")),
    "text.to_lower": (lambda s: s.lower(), ("source",)),
    "text.to_upper": (lambda s: s.upper(), ("source",)),
    "text.url_encode": (lambda s: quote(s, safe=""), ("source",)),
    "text.url_encode_plus": (lambda s: quote(s, safe="").replace("%20", "+"), ("source",)),
    "time.format": (_formatted, ("seconds",)),
    "time.parse": (_parsed, ("value",)),
    "uuid.generate": (lambda: str(uuid.uuid4()), ()),
}


def perform(name: str, given: list[Any] | Json) -> Any:
    """One call of a function of FUNCTIONS. Raises Raised."""
    function, names = FUNCTIONS[name]
    if isinstance(given, dict):
        given = [given[key] for key in names if key in given]
    try:
        return function(*given)
    except (TypeError, ValueError, AttributeError) as wrong:
        raise error("TypeError", f"{name}: {wrong}") from None


def retried(predicate: str, value: Any) -> bool:
    """Whether one of the library's own predicates wants another attempt."""
    tags = value.get("tags", []) if isinstance(value, dict) else []
    code = value.get("code") if isinstance(value, dict) else None
    if predicate.endswith("non_idempotent"):
        return code in (429, 503)
    return code in (429, 502, 503, 504) or bool({"ConnectionError", "TimeoutError"} & set(tags))
