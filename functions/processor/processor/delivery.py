"""One delivery of a task: read its beginning, wait for room, claim an attempt, work, record.

Nothing is spent before the claim, so that an outage costs no attempt. The answer is 2xx only once
a record is confirmed.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from contract.identity import PERCENT_STEP
from contract.records import Failure, Manifest, Timings
from contract.records import Output as OutputRecord
from contract.task import Task
from processor.errors import AttemptsExhausted, Fault, PermanentError, TransientError
from processor.kinds import Job, Outcome, Output, canonical, kind_of, module_of, sniff, written
from processor.memory import Gate, Room
from processor.settings import Config
from processor.storage import Bytes, Content, Storage, crc32c, too_large
from runtime.logs import Log

Answer = tuple[Mapping[str, Any], int]  # a record and 200, or why there is none and 5xx
JSON = "application/json"
CACHE_CONTROL = "private, max-age=31536000, immutable"  # an output is written once
_OVERLOADED = frozenset({"no_room", "storage_unavailable"})
# What spends an attempt wherever it strikes, or it would go on for days: no outage ends it.
_SPENDING = frozenset({"internal_error", "source_unreadable"})
_INVALID_TIME = "Its process-after is not a time such as 2026-12-01T18:00:00Z, or is too far ahead."
_LAST_SHARE = 0.9  # of the time that the queue goes on trying: what fails after it is recorded


class Runner(Protocol):
    """A Fence, as far as a delivery knows it."""

    def start(self) -> object: ...

    def run(self, job: Job, seconds: float) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Worker:
    config: Config
    storage: Storage
    gate: Gate
    log: Log
    fence: Runner


class Delivery:
    """What one delivery knows of itself, and its one public method."""

    def __init__(self, worker: Worker, task: Task) -> None:
        self._config, self._storage, self._gate = worker.config, worker.storage, worker.gate
        self._fence = worker.fence
        self._task, self._work = task, task.work
        self._log = worker.log.about(task.work)
        self._attempt = self._percent = 0
        self._marking: threading.Thread | None = None
        self._started = time.monotonic()
        self._queued = _age(task.since)
        # The queue counts from the first dispatch, which a task that is due later waits for.
        ages = [age for age in (_age(task.enqueued), _age(task.due)) if age is not None]
        self._is_last_chance = min(ages, default=0.0) > _LAST_SHARE * self._config.task_seconds

    def run(self) -> Answer:
        """The record and 200; or the reason why there is none yet, and 5xx."""
        try:
            try:
                return self._process(), 200
            except Fault as fault:
                return self._conclude(self._spent(fault), None)
            except Exception as error:
                own = TransientError("internal_error", f"An unexpected {type(error).__name__}.")
                return self._conclude(self._spent(own), error)
        except TransientError as fault:  # not even the record could be written
            return self._retry(fault, None)

    def _spent(self, fault: Fault) -> Fault:
        """The fault, with an attempt claimed where it must spend one; or why there is none."""
        try:
            if fault.reason in _SPENDING and not self._attempt:
                self._claim()
        except Fault as other:
            return other
        return fault

    def _process(self) -> Manifest:
        task = self._task
        if task.fault == "process_after_invalid":
            raise PermanentError(task.fault, _INVALID_TIME)
        self._fence.start()  # meanwhile it loads what decoding takes
        with closing(self._storage.open(self._work, task.source["size"])) as content:
            return self._process_content(content)

    def _process_content(self, content: Content) -> Manifest:
        task, config = self._task, self._config
        content_type = sniff(content.head) or written(content.head, task.declared, config)
        kind, limit = kind_of(content_type, config), config.max_file_bytes
        size = content.size if content.size is not None and not content.is_gzip else limit
        if size > limit:
            raise too_large(limit)  # at once: neither room nor an attempt is needed for that
        with self._gate.room(kind.need(content.head, size, config)) as room:
            room.wait(self._remaining() / 2)
            self._claim(room)
            job = Job(content, size, content_type, task.declared, config, room, self._told)
            try:
                if kind.is_fenced:
                    outcome = self._fence.run(job, self._remaining())
                else:
                    outcome = module_of(content_type, config).process(job)
            finally:  # a refusal, too, rests on the right bytes only
                content.verify(task.source["crc32c"])
            worked = time.monotonic()
            outputs = self._upload(outcome.outputs)
            timings = Timings(
                queued=self._queued,
                download=round(content.seconds, 3),
                process=round(worked - self._started - content.seconds, 3),
                upload=round(time.monotonic() - worked, 3),
            )
            return self._record_done(outcome, outputs, timings)

    def _claim(self, room: Room | None = None) -> None:
        """Takes the lowest attempt that nobody has. Raises AttemptsExhausted.

        An earlier attempt that left no record may have taken its instance with it, and with that
        one attempt of each neighbour. From the second on a file is alone: it costs them no more.
        """
        body = json.dumps({"trace": self._work.trace, "version": self._config.source_version})
        for number in range(1, self._config.max_attempts + 1):
            if room and number == 2:
                room.alone(self._remaining() / 2)
            if self._storage.create(self._work.attempt(number), body.encode(), JSON):
                self._attempt = number
                self._log.write("INFO", "started", "attempt claimed", attempt=number)
                return
        self._attempt = self._config.max_attempts
        raise AttemptsExhausted(
            "attempts_exhausted", f"{self._attempt} attempts were started and left no record."
        )

    def _told(self, percent: int) -> None:
        """Nothing waits for its mark, and nothing comes of one that cannot be written."""
        is_marking = self._marking is not None and self._marking.is_alive()
        if percent >= self._percent + PERCENT_STEP and not is_marking:
            self._marking = threading.Thread(target=self._mark, args=(percent,), daemon=True)
            self._marking.start()

    def _mark(self, percent: int) -> None:
        """Each step up to there, none left out: readers look for the next one by its name."""
        with contextlib.suppress(Fault):
            while (step := self._percent + PERCENT_STEP) <= min(percent, 99):
                self._storage.create(self._work.percent(self._attempt, step), b"{}", JSON)
                self._percent = step

    def _upload(self, outputs: tuple[Output, ...]) -> list[OutputRecord]:
        """All at once; what they are called in the manifest."""
        if len(outputs) < 2:
            return [self._upload_one(output) for output in outputs]
        with ThreadPoolExecutor(len(outputs)) as pool:
            return list(pool.map(self._upload_one, outputs))

    def _upload_one(self, output: Output) -> OutputRecord:
        name = self._work.output(output.file, self._attempt)
        identity = {
            "source-bucket": self._work.bucket,
            "source-object": self._work.name,
            "source-generation": self._work.generation,
            "run": str(self._work.run),
        }
        self._write(
            name, output.data, output.content_type, metadata=identity, cache_control=CACHE_CONTROL
        )
        made = OutputRecord(
            name=output.name,
            object=name,
            contentType=output.content_type,
            size=len(output.data),
            crc32c=crc32c(output.data),
        )
        if output.width and output.height:
            made |= {"width": output.width, "height": output.height}
        return made

    def _record_done(
        self, outcome: Outcome, outputs: list[OutputRecord], timings: Timings
    ) -> Manifest:
        declared = canonical(self._task.declared)
        matches = None if declared is None else outcome.matches(declared)
        record: Manifest = {
            "schema": 1,
            "status": "done",
            "source": self._task.source,
            "run": self._work.run,
            "attempt": self._attempt,
            "version": self._config.source_version,
            "detected": {"contentType": outcome.content_type, "matchesDeclared": matches},
            **outcome.facts,
            "outputs": outputs,
            "timings": timings,
        }
        first = self._write(self._work.manifest, _json(record), JSON)
        event, message = ("done", "manifest written") if first else ("duplicate", "done before")
        size = self._task.source["size"]
        self._tell("INFO", event, message, bytes=size, content_type=outcome.content_type)
        return record

    def _conclude(self, fault: Fault, error: Exception | None) -> Answer:
        """A failure record where the fault is final, the budget spent or the task about to end.

        Raises TransientError.
        """
        is_last = self._is_last_chance or self._attempt >= self._config.max_attempts
        if not fault.final and not is_last:
            return self._retry(fault, error)
        record: Failure = {
            "schema": 1,
            "status": "failed",
            "source": self._task.source,
            "run": self._work.run,
            "attempt": self._attempt,
            "version": self._config.source_version,
            "reason": fault.reason,
            "detail": fault.detail,
            "retryable": fault.retryable,
            "trace": self._work.trace,
        }
        first = self._storage.create(self._work.failure, _json(record), JSON)
        event, message = ("failed", "failure recorded") if first else ("duplicate", "failed before")
        self._tell(
            "ERROR" if fault.retryable else "WARNING", event, message, error=error,
            reason=fault.reason, retryable=fault.retryable, detail=fault.detail,
        )  # fmt: skip
        return record, 200

    def _retry(self, fault: Fault, error: Exception | None) -> Answer:
        self._tell(
            "WARNING", "retry", "to be tried again", error=error,
            reason=fault.reason, detail=fault.detail,
        )  # fmt: skip
        body = {"status": "retry", "reason": fault.reason, "detail": fault.detail}
        return body, 503 if fault.reason in _OVERLOADED else 500

    def _write(self, name: str, data: Bytes, content_type: str, **fields: Any) -> bool:
        """Only while there is time: a later attempt may have begun after that."""
        if self._remaining() <= 0:
            raise TransientError("deadline_exceeded", "The work did not end in its time.")
        return self._storage.create(name, data, content_type, **fields)

    def _tell(self, severity: str, event: str, message: str, **fields: Any) -> None:
        """A line about how the delivery ended."""
        self._log.write(
            severity, event, message, attempt=self._attempt,
            seconds=round(time.monotonic() - self._started, 3),
            age_seconds=_age(self._task.since), **fields,
        )  # fmt: skip

    def _remaining(self) -> float:
        return self._config.work_seconds - (time.monotonic() - self._started)


def _json(record: Manifest | Failure) -> bytes:
    """As UTF-8: half a surrogate pair, which JSON lets a task hold, becomes a question mark."""
    return json.dumps(record, ensure_ascii=False, indent=1).encode(errors="replace")


def _age(created: str | None) -> float | None:
    """Seconds since then; None when that is unknown."""
    try:
        then = datetime.fromisoformat(created or "")
        return round((datetime.now(UTC) - then).total_seconds(), 3)
    except (ValueError, TypeError):
        return None
