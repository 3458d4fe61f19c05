"""What webhooks never took: their dead letters, published again for the webhook alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from .clients import Clients
from .deadletters import DeadLetter, DeadLetters
from .environment import Environment
from .problems import Problem

ROLES = (
    "approvals",
    "completions",
    "observers",
)  # the modules, and their outputs, that have subscribers
PUBSUB = "https://pubsub.googleapis.com/v1"
SOURCE = "CloudPubSubDeadLetterSourceSubscription"
SUFFIX = "dead-letters"


class Subscribers:
    def __init__(self, clients: Clients, environment: Environment, role: str) -> None:
        """Raises Problem where the environment has none."""
        there: dict[str, Any] = environment.outputs.get(role) or {}
        self._clients, self._role = clients, role
        self._subscription = str(there.get("dead_letter_subscription", ""))
        self._topic = str(there.get("topic", ""))
        if not self._subscription:
            raise Problem(
                f"{environment.name} has no webhooks in its output {role}: see terraform/{role}"
            )

    def waiting(self, limit: int) -> int:
        """How many dead letters there are, at most `limit`."""
        return len(DeadLetters(self._clients, self._subscription).peek(limit))

    def redrive(
        self, limit: int, apply: bool, progress: Callable[[int], None] = lambda _: None
    ) -> Counter[str]:
        """Messages by webhook, at most `limit`; published again and taken off with apply."""
        counts: Counter[str] = Counter()
        letters = DeadLetters(self._clients, self._subscription)
        held: dict[str, DeadLetter] = {}
        try:
            for batch in letters.batches(min(100, limit)):
                fresh = [one for one in batch if one.message_id not in held]
                fresh = fresh[: limit - counts.total()]
                held |= {one.message_id: one for one in batch}
                if apply and fresh:
                    self._publish(fresh)
                    letters.acknowledge(fresh)
                    held = {k: one for k, one in held.items() if one not in fresh}
                counts.update(self._subscriber(one) for one in fresh)
                progress(counts.total())
                if counts.total() >= limit or not fresh:
                    break
        finally:
            letters.release(list(held.values()))
        return counts

    def _subscriber(self, letter: DeadLetter) -> str:
        """files-dev-completions-crm → crm."""
        prefix = self._subscription.rpartition("/")[2].removesuffix(SUFFIX)
        return str(letter.attributes.get(SOURCE, "")).removeprefix(prefix)

    def _publish(self, letters: list[DeadLetter]) -> None:
        messages = []
        for letter in letters:
            kept = {k: v for k, v in letter.attributes.items() if not k.startswith("CloudPubSub")}
            kept["subscriber"] = self._subscriber(letter)
            if self._role == "observers":
                kept["eventType"] = "REDRIVEN"  # the bridge, on the same topic, passes it over
            messages.append({"data": letter.data, "attributes": kept})
        self._clients.rest("POST", f"{PUBSUB}/{self._topic}:publish", {"messages": messages})
