"""The sweep's settings, set by Terraform. What the bridge decides by is set beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.settings import read


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call does at most, and what it leaves alone.

    call_seconds: no further thousand uploads is begun after that.
    min_age_seconds: younger uploads are on their way.
    redrive_after_seconds: how long a failure rests before it is tried once more.
    tasks_per_call, uploads_per_call: the thousand that passes them is the last.
    """

    call_seconds: int
    min_age_seconds: int
    redrive_after_seconds: int
    sweeps_bucket: str
    tasks_per_call: int
    uploads_per_call: int

    @classmethod
    def from_env(cls, variables: Mapping[str, str] = os.environ) -> Limits:
        """Raises ConfigError that names every variable that is missing or wrong."""
        return read(cls, variables)
