"""An apply that goes on where Google needs minutes to know what it was told a moment before."""

from __future__ import annotations

import time

from known import Early, Refused
from runner import SavedPlan, terraform

LOOKS_EVERY, LOOKS_FOR = 20.0, 600.0  # seconds
REPLACED = {("create", "delete"), ("delete", "create")}
Changes = dict[str, tuple[str, ...]]


def apply(plan: SavedPlan, *options: str) -> None:
    """Applies a saved plan, made with `options`.

    What is left because it came too early is planned and tried again, never more than was planned.

    Raises:
        Early: it is still too early after LOOKS_FOR.
        Refused, Failed: as terraform() does; also where something else is to be changed by now.
    """
    environment, approved = plan.environment, Changes()
    until = time.monotonic() + LOOKS_FOR
    while True:
        try:
            terraform(environment, "apply", "-input=false", str(plan.path))
            return
        except Early as early:
            approved = approved or changes(plan)
            if time.monotonic() > until:
                raise
            print(
                f"deploy: {early}: looking every {LOOKS_EVERY:.0f} s, for {LOOKS_FOR / 60:.0f} min"
            )
        time.sleep(LOOKS_EVERY)
        terraform(environment, "plan", "-input=false", f"-out={plan.path}", *options, quiet=True)
        plan = SavedPlan(environment, plan.path)
        if more := beyond(approved, changes(plan)):
            raise Refused(
                f"while this waited for Google, {', '.join(more)} changed, which the plan did not "
                f"say. Plan again: {environment.command('plan')}"
            )


def changes(plan: SavedPlan) -> Changes:
    """Address → actions of what a saved plan changes."""
    told = plan.shown.get("resource_changes", [])
    found = {one["address"]: tuple(one["change"]["actions"]) for one in told}
    return {address: done for address, done in found.items() if done not in (("no-op",), ("read",))}


def beyond(approved: Changes, now: Changes) -> list[str]:
    """What is to be done now that was not planned; half-made, a new resource is made again."""
    return sorted(
        address
        for address, actions in now.items()
        if actions != approved.get(address)
        and not (approved.get(address) == ("create",) and actions in REPLACED)
    )
