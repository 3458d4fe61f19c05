"""Pulls what waits, does up to `at_once` tasks at a time, and ends once nothing more comes.

A message is acknowledged once its task's outcome is confirmed, so that it comes again to somebody
otherwise; the outcome that is written first counts. What is held is given back on SIGTERM.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from batch.records import FAILED, Records
from runtime.logs import Log
from worker.fence import Stopped, perform
from worker.settings import Config
from worker.subscription import LEASE_SECONDS, PULL_SECONDS, Message, Subscription

HELD = 10  # messages at most, done or waiting for their turn
EMPTY_PULLS = 3  # before a worker that found nothing ends; one that did something ends at the first
RENEW_SECONDS = LEASE_SECONDS / 5


class Worker:
    def __init__(
        self, config: Config, records: Records, subscription: Subscription, log: Log
    ) -> None:
        self._config, self._records, self._log = config, records, log
        self._subscription = subscription
        self._held: dict[str, Message] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._until = time.monotonic() + config.timeout_seconds

    def stop(self) -> None:
        """Nothing more is begun, what is under way is broken off, and its messages go back."""
        self._stopping.set()

    def run(self, dead_letters: Subscription) -> int:
        """The exit code: 0, whatever became of the tasks."""
        burying = threading.Thread(target=self._bury, args=(dead_letters,))
        burying.start()
        threading.Thread(target=self._renew, daemon=True).start()
        with ThreadPoolExecutor(self._config.at_once) as pool:
            left = EMPTY_PULLS
            while left and (room := self._room()) > 0 and not self._stopping.is_set():
                messages = self._pull(room)
                left = 1 if messages or self._held else left - 1
                with self._changed:
                    self._held |= {message.ack_id: message for message in messages}
                for message in messages:
                    pool.submit(self._one, message)
                with self._changed:
                    while self._held and self._room() <= 0 and not self._stopping.is_set():
                        self._changed.wait(1.0)
        self._let_go(list(self._held.values()))
        burying.join()
        return 0

    def _room(self) -> int:
        """How many more messages it may hold, each of them sure of its time in this execution."""
        turns = int((self._until - time.monotonic()) / self._config.limit_seconds)
        return min(HELD, turns * self._config.at_once) - len(self._held)

    def _pull(self, most: int) -> list[Message]:
        """Empty after PULL_SECONDS: Pub/Sub may say so earlier, and need not be right."""
        until = time.monotonic() + PULL_SECONDS
        messages = self._subscription.pull(most)
        if not messages:
            self._stopping.wait(max(0.0, until - time.monotonic()))
        return messages

    def _one(self, message: Message) -> None:
        """Ends with the message acknowledged, or given back for somebody to try again."""
        try:
            if self._stopping.is_set():
                return
            self._conclude(message)
            self._subscription.acknowledge([message])
        except Stopped:
            return  # given back at the end
        except Exception as error:  # Google was not reached: nothing is known, so it comes again
            self._tell("WARNING", "task_retry", "to be tried again", message, error=error)
            # Later each time, or an outage of two minutes would spend all its deliveries.
            self._let_go([message], min(LEASE_SECONDS, 10 * 4**message.attempt))
        self._drop(message)

    def _conclude(self, message: Message) -> None:
        task = message.task
        request = self._records.request(task) if task else None
        if task is None or request is None:
            self._tell("ERROR", "task_unknown", "a message that names no task", message)
            return
        if self._records.outcome(task) is not None:
            self._tell("INFO", "task_duplicate", "ended before", message)
            return
        began = time.monotonic()
        outcome = perform(self._config, task, request, self._stopping)
        outcome |= {"seconds": round(time.monotonic() - began, 3), "ended": _now()}
        first = self._records.conclude(task, outcome)
        event = f"task_{outcome['status']}" if first else "task_duplicate"
        severity = "WARNING" if outcome["status"] == FAILED else "INFO"
        self._tell(
            severity, event, "outcome written" if first else "ended before", message,
            task_type=request["task_type"], reason=outcome.get("reason"),
            detail=outcome.get("detail"), seconds=outcome["seconds"],
        )  # fmt: skip

    def _bury(self, dead_letters: Subscription) -> None:
        """What Pub/Sub has set aside ends in an outcome."""
        try:
            while messages := dead_letters.pull(HELD):
                for message in messages:
                    self._set_aside(message)
                dead_letters.acknowledge(messages)
        except Exception as error:  # the next execution finds them
            self._log.write("WARNING", "dead_letters_left", "to be tried again", error=error)

    def _set_aside(self, message: Message) -> None:
        task, reason = message.task, "deliveries_exhausted"
        if task is None or self._records.request(task) is None:
            return
        if self._records.conclude(task, {"status": FAILED, "reason": reason, "ended": _now()}):
            self._tell("ERROR", "task_failed", "set aside", message, reason=reason)

    def _renew(self) -> None:
        while not self._stopping.wait(RENEW_SECONDS):
            if held := list(self._held.values()):
                try:
                    self._subscription.extend(held)
                except Exception as error:  # the next turn comes long before the lease is over
                    self._log.write("WARNING", "lease_failed", "leases not renewed", error=error)

    def _let_go(self, messages: list[Message], seconds: int = 0) -> None:
        """They come again to somebody, at once or after so long."""
        if not messages:
            return
        try:
            self._subscription.extend(messages, seconds)
        except Exception as error:  # they come back when their lease is over
            self._log.write("WARNING", "lease_failed", "messages not given back", error=error)

    def _drop(self, message: Message) -> None:
        with self._changed:
            self._held.pop(message.ack_id, None)
            self._changed.notify_all()

    def _tell(self, severity: str, event: str, text: str, message: Message, **fields: Any) -> None:
        task = str(message.task) if message.task else None
        self._log.write(severity, event, text, task_id=task, delivery=message.attempt, **fields)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
