"""Faults on request: each off until asked for, drawn from one seeded generator, counted.

Rates are probabilities. `rules` fail calls by method pattern; the others are read by the service
that they concern (Pub/Sub duplicates and reorders, Cloud Tasks duplicates, functions are killed).
"""

from __future__ import annotations

import fnmatch
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ApiError
from .identity import Principal

if TYPE_CHECKING:
    from .server import Cloud


@dataclass
class Rule:
    """Which calls fail, and how.

    Attributes:
        method: pattern over discovery ids.
        code: what they answer.
        rate: with which probability.
        times: how often at most.
        object: pattern over the object's name, for Cloud Storage.
        member: pattern over the caller.
        kill: instead of an answer, the calling function's instance dies: "before" the call takes
            effect (also True), or "after" it.
    """

    method: str = "*"
    code: int = 503
    rate: float = 1.0
    times: int | None = None
    object: str = "*"
    member: str = "*"
    kill: bool | str = False
    skip: int = 0  # calls that match and are let through first


class Faults:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
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

    def strike(self, method: str, member: str = "", name: str = "") -> Rule | None:
        """The rule that strikes this call, if any; it is used up and counted."""
        for rule in self.rules:
            if rule.times == 0 or not (
                fnmatch.fnmatchcase(method, rule.method)
                and fnmatch.fnmatchcase(member, rule.member)
                and fnmatch.fnmatchcase(name, rule.object)
            ):
                continue
            if rule.skip > 0:
                rule.skip -= 1
                continue
            if rule.rate < 1 and self.random.random() >= rule.rate:
                continue
            if rule.times is not None:
                rule.times -= 1
            self.counts[f"{method} {'kill' if rule.kill else rule.code}"] += 1
            return rule
        return None

    @asynccontextmanager
    async def around(self, method: str, caller: Principal, name: str = "") -> AsyncIterator[None]:
        """Encloses a call's effect: the fault that strikes it comes before, or after.

        Raises:
            ApiError: the fault's code.
        """
        rule = self.strike(method, caller.member, name)
        if rule and rule.kill != "after":
            if rule.kill:
                await self.cloud.run.kill_account(caller.email)
            raise ApiError(rule.code, f"Injected fault for {method}")
        yield
        if rule:
            await self.cloud.run.kill_account(caller.email)

    def iam_delay(self, resource: str) -> float:
        if self.iam_seconds:
            self.counts["iam.late"] += 1
        return self.iam_seconds
