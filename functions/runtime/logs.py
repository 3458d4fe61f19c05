"""One JSON line per decision, in the form that Cloud Logging reads.

Event names and fields are stable and documented in docs/reasons.md: metrics, alerts and the
runbook's queries rest on them.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import traceback
from collections.abc import Mapping
from typing import Any

from contract.identity import Work

STDOUT = 1
_one_at_a_time = threading.Lock()


class Log:
    """Writes to stdout; about(work) gives a log whose lines carry the work's identity."""

    def __init__(
        self, project_id: str, hash_object_names: bool, bound: Mapping[str, Any] | None = None
    ) -> None:
        self._project_id = project_id
        self._hash_object_names = hash_object_names
        self._bound = dict(bound or {})

    def about(self, work: Work, **fields: Any) -> Log:
        name = work.name
        if self._hash_object_names:
            name = hashlib.sha256(name.encode()).hexdigest()[:16]
        identity = {
            "bucket": work.bucket,
            "object": name,
            "generation": work.generation,
            "run": work.run,
            "task": work.task_id,
            "trace": work.trace,
            "logging.googleapis.com/trace": f"projects/{self._project_id}/traces/{work.trace}",
        }
        bound = self._bound | identity | fields
        return Log(self._project_id, self._hash_object_names, bound)

    def write(
        self,
        severity: str,
        event: str,
        message: str,
        *,
        error: BaseException | None = None,
        **fields: Any,
    ) -> None:
        """One line; fields that are None are left out. Object names never go into the message."""
        line = {"severity": severity, "event": event, "message": message} | self._bound | fields
        if error is not None:
            line["error"] = type(error).__name__
            line["stack_trace"] = "".join(traceback.format_exception(error))
        text = json.dumps({k: v for k, v in line.items() if v is not None}, default=str)
        _put(f"{text}\n".encode())


def _put(line: bytes) -> None:
    """Writes to the descriptor, not to sys.stdout.

    Google sets LOG_EXECUTION_ID, for which functions-framework puts an object in the place of
    sys.stdout that writes a text and its line end apart: lines of parallel requests join, and
    nothing can read them (functions_framework/execution_id.py, LoggingHandlerAddExecutionId).
    """
    with _one_at_a_time:  # beyond PIPE_BUF a pipe may take a line in parts
        while line:
            line = line[os.write(STDOUT, line) :]
