"""Trying again: failures and done objects as their next run, dead letters as run 0.

The next run is the highest recorded one + 1, so two people at once ask for the same run, whose task
has one name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from bridge.decisions import lane_of, rejection
from sweep.listing import KINDS, Generation, Kind, Listings, Record, joined, upload_of

from .clients import Clients
from .deadletters import DeadLetter, DeadLetters
from .environment import Environment
from .filters import Filter, moment
from .work import Item, Queues, in_parallel, item_of

# What became of a dead letter's work, so that it can be acknowledged.
SETTLED = frozenset({"alive", "created", "delayed", "handed_over", "late", "recorded", "restored"})
HOLD_SECONDS = 30  # how long a batch of dead letters may take: half its ack deadline


@dataclass
class Selection:
    """What would be tried again, at most `limit`, and why the rest is left out."""

    items: list[Item] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    enqueued: Counter[str] = field(default_factory=Counter)
    cut: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "selected": [
                {
                    "object": f"gs://{item.notification.work.bucket}/{item.notification.work.name}",
                    "generation": item.notification.work.generation,
                    "run": item.notification.work.run,
                    "lane": item.lane,
                }
                for item in self.items
            ],
            "reasons": dict(self.reasons),
            "leftOut": dict(self.left_out),
            "enqueued": dict(self.enqueued),
            "cut": self.cut,
        }


@dataclass(frozen=True)
class Found:
    """One generation with the content of its newest record, and what to enqueue or why not."""

    record: dict[str, Any]
    item: Item | str


class Redrive:
    def __init__(
        self,
        clients: Clients,
        environment: Environment,
        chosen: Filter,
        limit: int,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._clients, self._environment, self._chosen = clients, environment, chosen
        self._limit, self.progress = limit, progress
        self._listings = Listings(clients.storage)
        self.selection = Selection()

    # From records

    def failures(self, reasons: tuple[str, ...], permanent: bool) -> Selection:
        """Failed generations. reasons: only these; permanent: also those not worth a retry."""
        for found in in_parallel(self._look_at_failure, self._failed()):
            reason = str(found.record.get("reason"))
            if found.item == "done_since":
                self._leave_out("done_since")
            elif reasons and reason not in reasons:
                self._leave_out("other_reason")
            elif not (permanent or found.record.get("retryable")):
                self._leave_out("permanent")
            elif not self._select(found.item, reason):
                break
        return self.selection

    def done(self, all_generations: bool) -> Selection:
        """Done generations whose newest manifest is of the chosen time."""
        look = partial(self._look_at_manifest, all_generations)
        for found in in_parallel(look, self._done()):
            if not self._select(found.item, "done"):
                break
        return self.selection

    def enqueue(self, queues: Queues) -> Selection:
        for number, outcome in enumerate(queues.enqueue(self.selection.items), 1):
            self.selection.enqueued[outcome.reason] += 1
            self.progress(number)
        return self.selection

    def _failed(self) -> Iterator[Generation]:
        records = self._listings.records(self._environment.results, "failures", self._chosen.prefix)
        for generation in joined((), records):
            failed = generation.failures[generation.highest_run].created
            if self._chosen.keys(generation.key) and self._in_time(failed):
                yield generation

    def _done(self) -> Iterator[Generation]:
        records = self._listings.records(
            self._environment.results, "manifests", self._chosen.prefix
        )
        for generation in joined((), records):
            done = max(record.created for record in generation.manifests.values())
            if self._chosen.keys(generation.key) and self._in_time(done):
                yield generation

    def _in_time(self, time: datetime) -> bool:
        if taken := self._chosen.takes(time):
            return taken
        self._leave_out("other_time")
        return False

    def _look_at_failure(self, generation: Generation) -> Found:
        record = generation.failures[generation.highest_run]
        for manifest in self._records_of("manifests", generation.key):
            generation.add(manifest)
        content = self._content(record.object)
        if content is None:
            return Found({}, "record_gone")
        if generation.manifests:
            return Found(content, "done_since")
        return Found(content, self._item(generation, content))

    def _look_at_manifest(self, all_generations: bool, generation: Generation) -> Found:
        for failure in self._records_of("failures", generation.key):
            generation.add(failure)
        content = self._content(generation.manifests[max(generation.manifests)].object)
        if content is None:
            return Found({}, "record_gone")
        return Found(content, self._item(generation, content, None if all_generations else "live"))

    def _records_of(self, kind: Kind, key: str) -> list[Record]:
        # Counting requests is not safe across threads, and nobody asks for it here.
        return Listings(self._clients.storage).records_of(self._environment.results, kind, key)

    def _content(self, name: str) -> dict[str, Any] | None:
        blob = self._clients.storage.bucket(self._environment.results).get_blob(name)
        return None if blob is None else dict(json.loads(blob.download_as_bytes()))

    def _item(
        self, generation: Generation, content: dict[str, Any], only: str | None = None
    ) -> Item | str:
        source = content.get("source") or {}
        name, number = source.get("name"), generation.key.rpartition("/")[2]
        if not name or source.get("generation") != number:
            return "foreign_record"
        bucket = self._clients.storage.bucket(self._environment.uploads)
        blob = bucket.get_blob(name, generation=None if only == "live" else int(number))
        if blob is None:
            return "source_gone"
        if str(blob.generation) != number:
            return "superseded"
        upload = upload_of(self._environment.uploads, blob)
        return item_of(upload, generation.highest_run + 1, self._environment.config)

    def _select(self, item: Item | str, reason: str) -> bool:
        """False once there are enough."""
        if isinstance(item, str):
            self._leave_out(item)
            return True
        if len(self.selection.items) == self._limit:
            self.selection.cut = True
            return False
        self.selection.items.append(item)
        self.selection.reasons[reason] += 1
        self.progress(len(self.selection.items))
        return True

    def _leave_out(self, why: str) -> None:
        self.selection.left_out[why] += 1

    # From dead letters

    def dead_letters(self, queues: Queues | None) -> Selection:
        """Dead letters become tasks, and are then taken off. queues None: only look.

        What announces no upload stays where it is; so does what the filter does not choose.
        """
        letters = DeadLetters(self._clients, self._environment.dead_letters)
        kept: dict[str, DeadLetter] = {}
        slowest = min(queues.per_second.values()) if queues else 1000.0
        size = max(1, min(100, int(slowest * HOLD_SECONDS)))
        try:
            for batch in letters.batches(size):
                settled = self._dead_letters(batch, kept, queues)
                letters.acknowledge(settled)
                if self.selection.cut:
                    break
        finally:
            letters.release(list(kept.values()))
        return self.selection

    def _dead_letters(
        self, batch: list[DeadLetter], kept: dict[str, DeadLetter], queues: Queues | None
    ) -> list[DeadLetter]:
        """Those of the batch that are dealt with; all others are put into `kept`."""
        fresh = [letter for letter in batch if letter.message_id not in kept]
        kept |= {letter.message_id: letter for letter in batch}
        waiting: list[tuple[DeadLetter, Item]] = []
        settled: list[DeadLetter] = []
        for letter, item in zip(fresh, in_parallel(self._dead_item, fresh), strict=True):
            if not isinstance(item, str):
                if self._select(item, "dead_letter"):
                    waiting.append((letter, item))
            else:
                self._leave_out(item)
                if queues and item not in ("malformed", "foreign_bucket", "not_chosen"):
                    settled.append(letter)
        if queues:
            outcomes = queues.enqueue(item for _, item in waiting)
            for (letter, _), outcome in zip(waiting, outcomes, strict=True):
                self.selection.enqueued[outcome.reason] += 1
                if outcome.reason in SETTLED:
                    settled.append(letter)
        for letter in settled:
            del kept[letter.message_id]
        return settled

    def _dead_item(self, letter: DeadLetter) -> Item | str:
        """What to enqueue for a dead letter; or why not, in one word."""
        notification = letter.notification
        if notification is None:
            return "malformed"
        decision = rejection(notification, self._environment.config)
        if decision:
            return decision.reason
        resource, work = notification.resource, notification.work
        created = moment(str(resource.get("timeCreated", "1970-01-01")))
        if not self._chosen.names(work.name) or not self._chosen.takes(created):
            return "not_chosen"
        if any(self._records_of(kind, work.key) for kind in KINDS):
            return "recorded"
        return Item(notification, lane_of(notification, self._environment.config))


def names(items: list[Item]) -> Iterator[str]:
    """Of the files, for people."""
    return (
        f"gs://{i.notification.work.bucket}/{i.notification.work.name}"
        f"#{i.notification.work.generation} run {i.notification.work.run}"
        for i in items
    )
