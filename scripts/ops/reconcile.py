"""Uploads against records: what has neither manifest nor failure record, enqueued as run 0."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from sweep.listing import KINDS, Listings, joined

from .clients import Clients
from .costs import LIST_OR_WRITE, Estimate, estimate
from .environment import Environment
from .filters import Filter
from .work import Item, Queues, item_of

EXAMPLES = 20


@dataclass
class Survey:
    """What one pass found. recent: too young to be missed; handed_over: by a lane without records;
    orphans: records of uploads that are not there any more."""

    uploads: int = 0
    done: int = 0
    failed: int = 0
    missing: int = 0
    recent: int = 0
    handed_over: int = 0
    orphans: int = 0
    foreign: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    lanes: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    enqueued: Counter[str] = field(default_factory=Counter)
    list_requests: int = 0
    seconds: float = 0.0
    cut: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "uploads": self.uploads,
            "done": self.done,
            "failed": self.failed,
            "missing": self.missing,
            "recent": self.recent,
            "ignored": dict(self.ignored),
            "handedOver": self.handed_over,
            "recordsWithoutUpload": self.orphans,
            "foreignObjects": self.foreign,
            "missingByLane": dict(self.lanes),
            "examples": self.examples,
            "enqueued": dict(self.enqueued),
            "cut": self.cut,
            "listing": {
                "requests": self.list_requests,
                "seconds": round(self.seconds, 3),
                "dollars": round(self.list_requests * LIST_OR_WRITE, 6),
            },
        }


class Reconciliation:
    """One pass. current: live objects only, not the generations that they replaced."""

    def __init__(
        self,
        clients: Clients,
        environment: Environment,
        chosen: Filter,
        min_age: timedelta,
        current: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._clients, self._environment, self._chosen = clients, environment, chosen
        # Clocks differ a little: no minimum means none.
        self._youngest = datetime.now(UTC) - min_age if min_age else None
        self._current, self._progress = current, progress
        self.survey = Survey()

    def missing(self) -> Generator[Item, None, None]:
        """Reads the listings to their end, counting; yields what to enqueue."""
        environment, survey, prefix = self._environment, self.survey, self._chosen.prefix
        listings = Listings(self._clients.storage)
        started = time.monotonic()
        records = [listings.records(environment.results, kind, prefix) for kind in KINDS]
        uploads = listings.uploads(environment.uploads, prefix, not self._current)
        try:
            for generation in joined(uploads, *records):
                upload = generation.upload
                if not self._chosen.keys(generation.key):
                    continue
                if upload is None:
                    survey.orphans += not self._current  # else of replaced generations, too
                    continue
                survey.uploads += 1
                if survey.uploads % 500 == 0:
                    self._progress(survey.uploads)
                item = item_of(upload, 0, environment.config)
                if generation.state == "done":
                    survey.done += 1
                elif generation.state == "failed":
                    survey.failed += 1
                elif isinstance(item, str):
                    survey.ignored[item] += 1
                elif not environment.config.lanes[item.lane].records:
                    survey.handed_over += 1
                elif self._youngest and upload.created > self._youngest:
                    survey.recent += 1
                elif self._chosen.takes(upload.created):
                    survey.missing += 1
                    survey.lanes[item.lane] += 1
                    if len(survey.examples) < EXAMPLES:
                        survey.examples.append(
                            f"gs://{environment.uploads}/{upload.name}#{upload.generation}"
                        )
                    yield item
        finally:
            survey.foreign = listings.foreign
            survey.list_requests = listings.requests
            survey.seconds = time.monotonic() - started

    def look(self) -> Survey:
        """The whole pass, changing nothing."""
        for _ in self.missing():
            pass
        return self.survey

    def enqueue(self, queues: Queues, limit: int) -> Survey:
        """Enqueues at most `limit` of what is missing, while the pass goes on."""
        missing = self.missing()
        for outcome in queues.enqueue(islice(missing, limit)):
            self.survey.enqueued[outcome.reason] += 1
        self.survey.cut = next(missing, None) is not None
        missing.close()
        return self.survey


def cost_of(survey: Survey, queues: Queues) -> Estimate:
    """Of enqueuing and processing all that is missing."""
    slowest = max(
        (count / queues.per_second[lane] for lane, count in survey.lanes.items()), default=0.0
    )
    return estimate(survey.missing, survey.missing / slowest if slowest else 1.0)
