"""The process of one task: reads its order from stdin, writes its outcome to stdout.

A type of task is a module in handlers/ with `handle(task, request) -> outcome`, named after it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from batch.records import FAILED
from batch.tasks import TYPES, TaskId
from worker.fence import OUT_OF_MEMORY, TRY_AGAIN
from worker.handlers import Failed, Unavailable


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


def main() -> None:
    order = json.load(sys.stdin)
    # Whatever a library prints goes to the log, never into the outcome.
    answer = os.dup(1)
    os.dup2(2, 1)
    outcome = outcome_of(TaskId.parse(order["task_id"]), order["request"])
    os.write(answer, json.dumps(outcome).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
