"""The worker's settings, set by Terraform."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.settings import read

OWN_BYTES = 192 << 20  # of the worker, and of the server that its tasks are forked off


@dataclass(frozen=True, slots=True)
class Config:
    """subscription, dead_letters: full names of Pub/Sub. topics: by priority. lanes: by name, the
    settings of their processors. at_once: tasks that are done at the same time. limit_seconds: of
    one task. timeout_seconds: of an execution. instance_bytes: of memory."""

    project_id: str
    tasks_bucket: str
    uploads_bucket: str
    subscription: str
    dead_letters: str
    at_once: int
    limit_seconds: int
    timeout_seconds: int
    instance_bytes: int
    hash_object_names: bool
    lanes: Mapping[str, Mapping[str, str]] = dataclasses.field(metadata={"parse": json.loads})
    topics: Mapping[str, str] = dataclasses.field(metadata={"parse": json.loads})

    @property
    def task_bytes(self) -> int:
        """What one task's process may take, beside what the worker itself needs."""
        return (self.instance_bytes - OWN_BYTES) // self.at_once

    @property
    def file_bytes(self) -> int:
        """What a file of a task may have: it lies in memory."""
        return self.task_bytes // 4

    @classmethod
    def from_env(cls, variables: Mapping[str, str] = os.environ) -> Config:
        """Raises ConfigError that names every variable that is missing or wrong."""
        return read(cls, variables)
