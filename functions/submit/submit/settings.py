"""The submit service's settings, set by Terraform."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.settings import ConfigError, read, table
from web.access import Access


@dataclass(frozen=True, slots=True)
class Priority:
    """topic, job: full names. The first priority is the default."""

    topic: str
    job: str


@dataclass(frozen=True, slots=True)
class Config:
    """start_queue: full name. starter: the account whose calls start a job. window_seconds: the
    starts of a job within a window are one."""

    project_id: str
    tasks_bucket: str
    start_queue: str
    starter: str
    window_seconds: int
    threads: int
    hash_object_names: bool
    access: Access = dataclasses.field(metadata={"parse": Access.parse})
    priorities: Mapping[str, Priority] = table(Priority)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the priorities: normal first, where there is one."""
        return tuple(sorted(self.priorities, key=lambda name: (name != "normal", name)))

    @classmethod
    def from_env(cls, variables: Mapping[str, str] = os.environ) -> Config:
        """Raises ConfigError that names every variable that is missing or wrong."""
        config = read(cls, variables)
        if not config.priorities:
            raise ConfigError("environment variables: PRIORITIES has no priority")
        return config
