"""Why a file is not done.

Fault
├── PermanentError      trying again cannot help: a failure record, and the task is over
├── AttemptsExhausted   the budget is spent: the same, but a redrive may help
└── TransientError      5xx, so that the queue tries again; a failure record on the last attempt

`reason` is one of contract.reasons; `detail` is one sentence for a person and names no object.
"""

from __future__ import annotations

from contract.reasons import PERMANENT, RETRYABLE


class Fault(Exception):
    final = True  # a record is written whatever the attempt's number
    retryable = True

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in (RETRYABLE if self.retryable else PERMANENT), reason
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class PermanentError(Fault):
    retryable = False


class AttemptsExhausted(Fault):
    pass


class TransientError(Fault):
    final = False
