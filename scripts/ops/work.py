"""Putting work into the queues: slower than they are emptied, and never twice.

A task's name follows from the identity of the work, so enqueuing again, or from two places at once,
makes one task; sweep.restore tells a task that waits from a name that is only blocked.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from bridge.decisions import lane_of, rejection
from bridge.notification import Notification
from bridge.settings import Config
from contract.identity import Work
from sweep.listing import Listings, Upload
from sweep.restore import Restorer

from .clients import Clients
from .problems import Problem, denied, explained

SHARE_OF_RATE = 0.8  # of what the queue dispatches in a second: uploads keep their room
WORKERS = 8
RETRIES = (1.0, 2.0, 4.0, 8.0)  # seconds, while Cloud Tasks asks to slow down or is away
FINALIZE = "OBJECT_FINALIZE"
T = TypeVar("T")
R = TypeVar("R")


class Item(NamedTuple):
    """One run to enqueue, as the notification that the bridge would have seen, and its lane."""

    notification: Notification
    lane: str


class Outcome(NamedTuple):
    """reason: the bridge's word for it (created, handed_over, queue_…), or sweep.restore's."""

    item: Item
    reason: str
    error: Exception | None


def item_of(upload: Upload, run: int, config: Config) -> Item | str:
    """What to enqueue for an upload; or, in one word, why the bridge would leave it alone."""
    work = Work(config.uploads_bucket, upload.name, upload.generation, run)
    notification = Notification(FINALIZE, work, upload.resource)
    decision = rejection(notification, config)
    return decision.reason if decision else Item(notification, lane_of(notification, config))


@dataclass
class Pace:
    """Lets at most `per_second` pass; the first at once."""

    per_second: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _next: float = 0.0

    def wait(self) -> None:
        now = self.clock()
        if self._next > now:
            self.sleep(self._next - now)
        self._next = max(now, self._next) + 1 / self.per_second


class Queues:
    """The lanes' live queues: how fast to go, and whether they run."""

    def __init__(self, clients: Clients, config: Config, wanted: float | None = None) -> None:
        """wanted: tasks a second for each lane. Raises Problem where that is too fast."""
        self._clients, self._config = clients, config
        self.per_second: dict[str, float] = {}
        self.paused: list[str] = []
        for name, lane in config.lanes.items():
            try:
                queue = clients.tasks.get_queue(name=lane.queue)
            except Exception as error:
                raise explained(error, lane.queue) or error from None
            most = queue.rate_limits.max_dispatches_per_second
            if wanted is not None and wanted >= most:
                raise Problem(f"--rate {wanted:g} is not below the {most:g}/s of lane {name}")
            self.per_second[name] = wanted if wanted is not None else most * SHARE_OF_RATE
            if queue.state.name != "RUNNING":
                self.paused.append(name)

    def enqueue(self, items: Iterable[Item]) -> Iterator[Outcome]:
        """Makes a task of each item, at the lanes' pace; yields in the order of the items.

        Raises Problem as soon as one is refused for good, such as for a missing role.
        """
        paces = {lane: Pace(rate) for lane, rate in self.per_second.items()}
        results = self._config.results_bucket
        restorer = Restorer(
            self._clients.tasks,
            self._config,
            # A listing counts its requests, which several threads must not share.
            lambda work: Listings(self._clients.storage).recorded(results, work),
            replace=True,
        )
        return in_parallel(partial(self._enqueue, restorer), self._paced(items, paces))

    def _paced(self, items: Iterable[Item], paces: dict[str, Pace]) -> Iterator[Item]:
        for item in items:
            paces[item.lane].wait()
            yield item

    def _enqueue(self, restorer: Restorer, item: Item) -> Outcome:
        for pause in (*RETRIES, None):
            reason, error = restorer.enqueue(item.notification, item.lane)
            if pause is None or reason not in ("queue_throttled", "queue_unavailable"):
                break
            time.sleep(pause)
        if reason == "queue_refused" and error is not None:
            raise _refused(error, self._config.lanes[item.lane].queue)
        return Outcome(item, reason, error)


def in_parallel(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """function(item) in the order of the items; a few at once, and never far ahead."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            while waiting and (len(waiting) >= WORKERS or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _refused(error: Exception, queue: str) -> Exception:
    """The REST client's errors carry Google's answer; explain those like all others."""
    known = explained(error, queue)
    if known:
        return known
    response: Any = getattr(error, "response", None)
    text = " ".join(str(getattr(response, "text", error)).split())
    return denied(text) if getattr(response, "status_code", 0) == 403 else error
