"""The bridge's settings, set by Terraform."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.settings import ConfigError, read, table

DEFAULT_LANE = "default"


@dataclass(frozen=True, slots=True)
class Lane:
    """A queue and the target behind it. records = False: the target keeps no records.

    later: the queue of what is due later, where there is one: delay_seconds after its upload, or,
    where it delays, when the object says, up to max_delay_seconds after its upload.
    """

    queue: str
    url: str
    audience: str
    dispatch_deadline_seconds: int
    prefixes: Sequence[str] = ()
    content_types: Sequence[str] = ()
    records: bool = True
    later: str = ""
    delay_seconds: int = 0
    delays: bool = False
    max_delay_seconds: int = 0

    @property
    def queues(self) -> tuple[str, ...]:
        return (self.queue, self.later) if self.later else (self.queue,)


@dataclass(frozen=True, slots=True)
class Config:
    project_id: str
    environment: str
    uploads_bucket: str
    results_bucket: str
    tasks_invoker: str
    include_prefixes: tuple[str, ...]
    exclude_prefixes: tuple[str, ...]
    hash_object_names: bool
    lanes: Mapping[str, Lane] = table(Lane)

    @classmethod
    def from_env(cls, variables: Mapping[str, str] = os.environ) -> Config:
        """Raises ConfigError that names every variable that is missing or wrong."""
        config = read(cls, variables)
        if DEFAULT_LANE not in config.lanes:
            raise ConfigError(f"environment variables: LANES has no lane {DEFAULT_LANE!r}")
        return config
