"""The upload service's settings, set by Terraform."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass

from bridge.settings import Config as Rules
from runtime.settings import ConfigError, read, table
from web.access import Access


@dataclass(frozen=True, slots=True)
class Folder:
    """types: content types that it takes (image/png, image/*, or */*). max_bytes: of one file."""

    types: tuple[str, ...]
    max_bytes: int

    def takes(self, content_type: str) -> bool:
        kind = content_type.partition(";")[0].strip().lower()
        return bool({kind, kind.partition("/")[0] + "/*", "*/*"} & set(self.types))


def _folder(types: list[str], max_bytes: int) -> Folder:
    return Folder(tuple(types), max_bytes)


@dataclass(frozen=True, slots=True)
class Config:
    """origins: of pages that may call beside the one served here. status_url: of status."""

    project_id: str
    uploads_bucket: str
    results_bucket: str
    status_url: str
    origins: tuple[str, ...]
    hash_object_names: bool
    access: Access = dataclasses.field(metadata={"parse": Access.parse})
    folders: Mapping[str, Folder] = table(_folder)

    @classmethod
    def from_env(cls, variables: Mapping[str, str] = os.environ) -> Config:
        """Raises ConfigError that names every variable that is missing or wrong."""
        config = read(cls, variables)
        if not config.folders:
            raise ConfigError("environment variables: FOLDERS has no folder")
        return config


def rules(variables: Mapping[str, str] = os.environ) -> Rules:
    """What the bridge decides by: nothing is accepted here that it would leave alone."""
    return Rules.from_env(variables)
