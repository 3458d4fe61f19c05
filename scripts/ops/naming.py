"""What a person may name a file by: gs://UPLOADS/NAME, a file_id of the portal, or a task."""

from __future__ import annotations

import json
import re
from typing import Any

from google.api_core import exceptions as api

from contract.identity import parse_key

from .clients import Clients
from .environment import Environment
from .problems import Problem

FILE_ID = re.compile(r"([a-z0-9][a-z0-9-]*)-([0-9a-f]{32})")
TASK = re.compile(r"(?:projects/.+/tasks/)?([0-9a-f]{64})")


def glob_of(file_id: str) -> str | None:
    """The names that a file_id stands for, as matchGlob has them: <folder>/<owner>/<id>/<name>."""
    match = FILE_ID.fullmatch(file_id)
    return f"{match[1]}/*/{match[2]}/*" if match else None


def name_of(clients: Clients, environment: Environment, target: str) -> str:
    """The name of the object. Raises Problem where there is none, or it cannot be told."""
    if match := TASK.fullmatch(target):
        return _of_task(clients, environment, match[1])
    glob = glob_of(target)
    if glob is None:
        return environment.object_name(target)
    for blob in clients.storage.list_blobs(environment.uploads, match_glob=glob, versions=True):
        return str(blob.name)
    for kind in ("manifests", "failures"):
        for blob in clients.storage.list_blobs(environment.results, match_glob=f"{kind}/{glob}/*"):
            if key := parse_key(blob.name[len(kind) + 1 :].removesuffix(".json")):
                return key.name
    raise Problem(f"no file {target}: it was never uploaded, or is erased")


def _of_task(clients: Clients, environment: Environment, task_id: str) -> str:
    """From the body of a task that waits."""
    for queue in environment.queues:
        request = {"name": f"{queue}/tasks/{task_id}", "response_view": "FULL"}
        try:
            task: Any = clients.tasks.get_task(request=request)
        except api.NotFound:
            continue
        return str(json.loads(task.http_request.body)["object"]["name"])
    raise Problem(f"no queue holds the task {task_id}. What became of it: make logs TASK={task_id}")
