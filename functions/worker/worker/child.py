"""The process of one task, from its first breath to its outcome.

A type of task is a module in handlers/ with `handle(task, request) -> outcome`, named after it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from batch.records import FAILED
from batch.tasks import TYPES, TaskId
from processor.fence.confine import die_with
from worker.handlers import Failed, Unavailable
from worker.settings import Config

OUTCOME = "outcome.json"
# Its exit codes: for a MemoryError, and where Google was not reached.
OUT_OF_MEMORY, TRY_AGAIN = 77, 75


def run(folder: str, config: Config, task_id: str, request: dict[str, Any]) -> None:
    """Ends with 0 and the outcome in the folder, or with a code of its own."""
    confine(config.task_bytes)
    tempfile.tempdir = folder
    # In the names that the processor has for them.
    os.environ["MEMORY_BYTES"] = str(config.task_bytes)
    os.environ["WORK_SECONDS"] = str(config.limit_seconds)
    outcome = outcome_of(TaskId.parse(task_id), request)
    Path(folder, OUTCOME).write_text(json.dumps(outcome))


def confine(memory: int) -> None:
    """A group of its own, no life beyond its parent's, and so much memory.

    No file may be larger, either: where a worker runs, the disk is memory.
    """
    os.setsid()
    die_with(os.getppid())
    # Private memory that can be written; not what libraries map to read, which costs nothing.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def outcome_of(task: TaskId, request: dict[str, Any]) -> dict[str, Any]:
    name = request["task_type"]
    if name not in TYPES:
        return {"status": FAILED, "reason": "invalid_request", "detail": f"{name} is not known."}
    try:
        handler = importlib.import_module(f"worker.handlers.{name}")
        return dict(handler.handle(task, request))
    except Failed as failed:
        return {"status": FAILED, "reason": failed.reason, "detail": failed.detail}
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except (Unavailable, GoogleAPIError, GoogleAuthError, ConnectionError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(TRY_AGAIN)
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"[:300]
        return {"status": FAILED, "reason": "handler_failed", "detail": detail}
