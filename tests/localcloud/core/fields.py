"""What Google's JSON has in common across services: durations, timestamps, masks and pages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from .errors import ApiError

Json = dict[str, Any]


def seconds(text: str | None, default: float = 0.0) -> float:
    """'2.5s' → 2.5.

    Raises:
        ApiError: 400 for anything that is not a duration.
    """
    if not text:
        return default
    if not re.fullmatch(r"-?\d+(\.\d{1,9})?s", text):
        raise ApiError(400, f"Illegal duration format; duration must end with 's': {text!r}")
    return float(text[:-1])


def duration(value: float) -> str:
    """2.0 → '2s', 0.1 → '0.100s', as Google spells them."""
    return f"{value:.0f}s" if value == int(value) else f"{value:.3f}s"


def timestamp(text: str) -> float:
    """RFC 3339 → seconds since the epoch.

    Raises:
        ApiError: 400 for anything else.
    """
    try:
        # Nanoseconds are more than datetime takes.
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()
    except ValueError as error:
        raise ApiError(400, f"Illegal timestamp format: {text!r}") from error


def update(target: Json, source: Json, mask: str) -> None:
    """Copies the fields that `mask` names ("a,b.c") from `source`; what it lacks is cleared."""
    for path in filter(None, mask.split(",")):
        *parents, last = (re.sub(r"_(\w)", lambda m: m[1].upper(), p) for p in path.split("."))
        into, out = target, source
        for parent in parents:
            into, out = into.setdefault(parent, {}), out.get(parent) or {}
        if last in out:
            into[last] = out[last]
        else:
            into.pop(last, None)


def page(key: str, items: Iterable[tuple[str, Any]], params: Json, limit: int) -> Json:
    """One page of (name, item) pairs in the order of their names; the token is the last name."""
    size, after = min(int(params.get("pageSize") or limit), limit), params.get("pageToken", "")
    rest = sorted((pair for pair in items if pair[0] > after), key=lambda pair: pair[0])
    answer: Json = {key: [item for _, item in rest[:size]]} if rest else {}
    if len(rest) > size:
        answer["nextPageToken"] = rest[size - 1][0]
    return answer
