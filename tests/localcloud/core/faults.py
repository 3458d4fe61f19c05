"""Faults on request: each off until asked for, drawn from one seed, counted.

Rates are probabilities. `rules` fail calls by method pattern; the others are read by the service
that they concern. All that there are: pubsub.duplicate, pubsub.reorder, pubsub.lost_ack,
storage.duplicate_notification, storage.create_only_403, tasks.duplicate, tasks.lost_answer,
run.kill, identity.expire; functions.own_source (a function names what was deployed, not Google's
copy), functions.any_generation (of a source, where the one that is asked for is not there).

A draw is a hash of the seed, the fault, what it is about, and how often that was asked before: no
draw depends on what other requests do at the same time. So the same seed strikes the same calls
about the same objects again; where a fault knows no object, it strikes the same ordinals.
"""

from __future__ import annotations

import asyncio
import fnmatch
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ApiError, Reset
from .identity import Principal

if TYPE_CHECKING:
    from .server import Cloud


@dataclass
class Rule:
    """Which calls fail, and how.

    Attributes:
        method: pattern over discovery ids.
        code: what they answer; 0: as usual, which only makes sense with a delay.
        rate: with which probability.
        times: how often at most.
        object: pattern over the object's name, for Cloud Storage.
        member: pattern over the caller.
        skip: how many calls that match are let through first.
        kill: instead of an answer, the instances of the calling function die.
        after: the call takes effect before it fails: its answer is lost.
        delay: real seconds that it takes before its effect, since functions measure real time.
        reset: instead of an answer, the connection breaks off.
        bytes: strikes only after so many bytes of an object's content: a resumable upload then
            answers `code`, a download breaks off.
    """

    method: str = "*"
    code: int = 503
    rate: float = 1.0
    times: int | None = None
    object: str = "*"
    member: str = "*"
    skip: int = 0
    kill: bool = False
    after: bool = False
    delay: float = 0.0
    reset: bool = False
    bytes: int | None = None

    @property
    def kind(self) -> str:
        what = "kill" if self.kill else "reset" if self.reset else str(self.code or "delay")
        return f"{what} after" if self.after else what


class Faults:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.reset()

    def reset(self) -> None:
        self.seed = 0
        self.rules: list[Rule] = []
        # Rates by name; a service asks `chance("pubsub.duplicate")`.
        self.rates: dict[str, float] = {}
        self.iam_seconds = self.metric_seconds = 0.0
        self.run_quota: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        self._drawn: Counter[str] = Counter()

    def configure(self, settings: dict[str, Any]) -> None:
        """Sets any of: seed, rules [fields of Rule], rates {name: probability}, iam_seconds,
        metric_seconds (until Cloud Monitoring knows a new log metric), run_quota {cpu: thousandths
        of a vCPU, memory: bytes} of Cloud Run in each region.
        """
        if "seed" in settings:
            self.seed = settings["seed"]
            self._drawn.clear()
        if "rules" in settings:
            self.rules = [Rule(**rule) for rule in settings["rules"]]
        self.rates |= settings.get("rates", {})
        for name in ("iam_seconds", "metric_seconds", "run_quota"):
            setattr(self, name, settings.get(name, getattr(self, name)))

    def draw(self, name: str, about: str = "") -> float:
        """The next number from 0 to 1 of the fault `name` about that object."""
        what = f"{name} {about}"
        self._drawn[what] += 1
        digest = hashlib.blake2b(f"{self.seed} {what} {self._drawn[what]}".encode(), digest_size=7)
        return int.from_bytes(digest.digest()) / 2**56

    def chance(self, name: str, about: str = "") -> bool:
        """Draws whether the fault `name` strikes now."""
        rate = self.rates.get(name, 0.0)
        if rate and self.draw(name, about) < rate:
            self.counts[name] += 1
            return True
        return False

    def strike(
        self, method: str, member: str = "", name: str = "", sent: int | None = None
    ) -> Rule | None:
        """The rule that strikes this call, if any; it is used up and counted.

        Args:
            sent: how much of a content is, or is about to be, transferred; None asks for the rules
                that do not wait for any.
        """
        for number, rule in enumerate(self.rules):
            if (rule.bytes is None) != (sent is None) or (sent or 0) < (rule.bytes or 0):
                continue
            if rule.times == 0 or not (
                fnmatch.fnmatchcase(method, rule.method)
                and fnmatch.fnmatchcase(member, rule.member)
                and fnmatch.fnmatchcase(name, rule.object)
            ):
                continue
            if rule.skip > 0:
                rule.skip -= 1
                continue
            if rule.rate < 1 and self.draw(f"rule {number} {method} {member}", name) >= rule.rate:
                continue
            if rule.times is not None:
                rule.times -= 1
            self.counts[f"{method} {rule.kind}"] += 1
            return rule
        return None

    @asynccontextmanager
    async def around(self, method: str, caller: Principal, name: str = "") -> AsyncIterator[None]:
        """Encloses a call's effect: the fault that strikes it comes before, or after.

        Raises:
            ApiError: the fault's code.
        """
        rule = self.strike(method, caller.member, name)
        if rule and rule.delay:
            await asyncio.sleep(rule.delay)
        if rule and not rule.after:
            await self._fail(rule, method, caller)
        yield
        if rule and rule.after:
            await self._fail(rule, method, caller)

    async def _fail(self, rule: Rule, method: str, caller: Principal) -> None:
        if rule.kill:
            await self.cloud.run.kill_account(caller.email)
        if rule.reset:
            raise Reset(f"Injected reset for {method}")
        if rule.kill or rule.code:
            raise ApiError(rule.code or 503, f"Injected fault for {method}")

    def iam_delay(self, resource: str) -> float:
        if self.iam_seconds:
            self.counts["iam.late"] += 1
        return self.iam_seconds
