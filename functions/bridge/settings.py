"""The bridge's settings, set by Terraform."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from common.config import ConfigError, Environment
from common.tasks import Lane

DEFAULT_LANE = "default"


@dataclass(frozen=True, slots=True)
class Config:
    project_id: str
    environment: str
    uploads_bucket: str
    results_bucket: str
    tasks_invoker: str
    lanes: Mapping[str, Lane]
    include_prefixes: tuple[str, ...]
    exclude_prefixes: tuple[str, ...]
    hash_object_names: bool

    @classmethod
    def from_env(cls, variables: Mapping[str, str] = os.environ) -> Config:
        """Raises ConfigError that names every variable that is missing or wrong."""
        env = Environment(variables)
        config = cls(
            project_id=env.text("PROJECT_ID"),
            environment=env.text("ENVIRONMENT"),
            uploads_bucket=env.text("UPLOADS_BUCKET"),
            results_bucket=env.text("RESULTS_BUCKET"),
            tasks_invoker=env.text("TASKS_INVOKER"),
            lanes=env.table("LANES", Lane.from_json),
            include_prefixes=env.names("INCLUDE_PREFIXES"),
            exclude_prefixes=env.names("EXCLUDE_PREFIXES"),
            hash_object_names=env.flag("HASH_OBJECT_NAMES"),
        )
        env.check()
        if DEFAULT_LANE not in config.lanes:
            raise ConfigError(f"environment variables: LANES has no lane {DEFAULT_LANE!r}")
        return config
