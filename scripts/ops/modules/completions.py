"""Completions: what webhooks never took."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..look import Checks, Finding, Look
from ..subscribers import Subscribers

COUNTED = 1000  # dead letters, at most


def undelivered(role: str) -> Callable[[Look], Iterator[Finding]]:
    def check(look: Look) -> Iterator[Finding]:
        name = f"dead letters of {role}"
        if not (look.environment.outputs.get(role) or {}).get("dead_letter_subscription"):
            yield Finding("ok", name, "there are no webhooks")
            return
        count = Subscribers(look.clients, look.environment, role).waiting(COUNTED)
        if count:
            many = f"{count} or more" if count >= COUNTED else str(count)
            what = f"taken by no webhook: {many}, which wait for at most 31 days"
            fix = look.ops(f"redrive --subscribers {role} --apply")
            yield Finding("error", name, what, fix)
        else:
            yield Finding("ok", name, "none wait")

    return check


CHECKS: Checks = {"dead letters of completions": undelivered("completions")}
