"""Workload identity federation: a token from outside, exchanged under a provider's conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import not_implemented

if TYPE_CHECKING:
    from .server import Cloud


def exchange(cloud: Cloud, fields: dict[str, Any]) -> dict[str, Any]:
    """An STS token exchange request → its answer."""
    raise not_implemented("sts.v1.token")
