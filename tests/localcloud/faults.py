"""Faults on request: each off until asked for, drawn from one seeded generator, counted.

Rates are probabilities. `rules` fail calls by method pattern; the others are read by the service
that they concern (Pub/Sub duplicates and reorders, Cloud Tasks duplicates, functions are killed).
"""

from __future__ import annotations

import fnmatch
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from .errors import ApiError


@dataclass
class Rule:
    """Calls of methods that match `method` answer `code`, with probability `rate`, `times` at most."""

    method: str
    code: int = 503
    rate: float = 1.0
    times: int | None = None


class Faults:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        self.seed = 0
        self.random = random.Random(0)
        self.rules: list[Rule] = []
        # Rates and delays by name; a service asks `chance("pubsub.duplicate")`.
        self.rates: dict[str, float] = {}
        self.iam_seconds = 0.0

    def configure(self, settings: dict[str, Any]) -> None:
        """Sets any of: seed, rules [{method, code, rate, times}], rates {name: p}, iam_seconds."""
        if "seed" in settings:
            self.seed = settings["seed"]
            self.random = random.Random(self.seed)
        if "rules" in settings:
            self.rules = [Rule(**rule) for rule in settings["rules"]]
        self.rates |= settings.get("rates", {})
        self.iam_seconds = settings.get("iam_seconds", self.iam_seconds)

    def chance(self, name: str) -> bool:
        """Draws whether the fault `name` strikes now."""
        rate = self.rates.get(name, 0.0)
        if rate and self.random.random() < rate:
            self.counts[name] += 1
            return True
        return False

    async def before(self, method: str) -> None:
        """Raises the fault that strikes this call, if any."""
        for rule in self.rules:
            if not fnmatch.fnmatchcase(method, rule.method) or rule.times == 0:
                continue
            if rule.rate < 1 and self.random.random() >= rule.rate:
                continue
            if rule.times is not None:
                rule.times -= 1
            self.counts[f"{method} {rule.code}"] += 1
            raise ApiError(rule.code, f"Injected fault for {method}")

    def iam_delay(self, resource: str) -> float:
        if self.iam_seconds:
            self.counts["iam.late"] += 1
        return self.iam_seconds
