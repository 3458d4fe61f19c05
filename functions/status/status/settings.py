"""The status service's settings, set by Terraform."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.settings import read
from web.access import Access


@dataclass(frozen=True, slots=True)
class Config:
    """signer: the account that this function runs as. max_streams: at once in an instance.
    published_bucket: where files are published, "" (written -) where what is done is shown."""

    project_id: str
    results_bucket: str
    hash_object_names: bool
    max_streams: int
    signer: str
    stream_seconds: int
    published_bucket: str = dataclasses.field(metadata={"parse": lambda name: name.lstrip("-")})
    access: Access = dataclasses.field(metadata={"parse": Access.parse})

    @classmethod
    def from_env(cls, variables: Mapping[str, str] = os.environ) -> Config:
        """Raises ConfigError that names every variable that is missing or wrong."""
        return read(cls, variables)
