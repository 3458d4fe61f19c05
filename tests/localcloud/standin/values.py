"""Terraform's values on the wire (msgpack), as plain Python values.

null is None, an object or block a dict, lists and sets are lists, and UNKNOWN stands for
"known after apply".
"""

from __future__ import annotations

import json
from typing import Any

import msgpack

from .tables import Block, Field


class _Unknown:
    def __repr__(self) -> str:
        return "(known after apply)"

    def __deepcopy__(self, memo: dict[int, Any]) -> _Unknown:
        return self


UNKNOWN = _Unknown()
EMPTY: tuple[Any, ...] = (None, "", 0, False, [], {})


def is_empty(value: Any) -> bool:
    """Terraform's older provider kit, and so the provider, cannot tell these from null."""
    return value is not UNKNOWN and value in EMPTY


def _number(value: Any) -> Any:
    """Numbers that a float cannot hold exactly travel as decimal strings."""
    if not isinstance(value, str):
        return value
    return int(value) if value.lstrip("-").isdigit() else float(value)


def _decode(field: Field, value: Any) -> Any:
    if value is None or value is UNKNOWN:
        return value
    if field.block is not None:
        return [_block(field.block, item) for item in value]
    kind = field.element if field.type in ("list", "set", "map") else field.type
    if kind not in ("int", "number"):
        return value
    return [_number(item) for item in value] if field.type in ("list", "set") else _number(value)


def _block(block: Block, value: Any) -> Any:
    if value is None or value is UNKNOWN:
        return value
    return {name: _decode(field, value.get(name)) for name, field in block.fields.items()}


def decode(block: Block, data: bytes) -> Any:
    """A block's value from msgpack: a dict with every attribute, None or UNKNOWN."""
    return _block(block, msgpack.unpackb(data, ext_hook=lambda *_: UNKNOWN, raw=False))


def from_json(block: Block, data: bytes) -> Any:
    """A block's value from a state file: what the table does not have is dropped."""
    return _block(block, json.loads(data))


def encode(value: Any) -> bytes:
    def plain(value: Any) -> Any:
        if value is UNKNOWN:
            return msgpack.ExtType(0, b"\x00")
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        if isinstance(value, float):
            return int(value) if value.is_integer() else repr(value)
        return value

    return bytes(msgpack.packb(plain(value)))


def known(value: Any) -> Any:
    """The value with every UNKNOWN as null (blocks: none)."""
    if value is UNKNOWN:
        return None
    if isinstance(value, dict):
        return {key: known(item) for key, item in value.items()}
    return [known(item) for item in value] if isinstance(value, list) else value


def canonical(value: Any) -> str:
    """Equal for equal values, whatever the order of object keys."""
    return json.dumps(value, sort_keys=True, default=repr)


def equal(field: Field, one: Any, other: Any) -> bool:
    """Whether two values of a field are the same to Terraform (sets have no order)."""
    if field.type in ("set", "setblock") and isinstance(one, list) and isinstance(other, list):
        return sorted(map(canonical, one)) == sorted(map(canonical, other))
    return canonical(one) == canonical(other)
