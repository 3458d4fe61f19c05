"""The processor's settings, set by Terraform."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from processor.formats import ENCODED, VIDEOS
from runtime.settings import read, table


@dataclass(frozen=True, slots=True)
class Rendition:
    """A picture to make. inside: all of it within the box; cover: the box filled, edges cut."""

    width: int
    height: int
    fit: str = "inside"
    format: str = "jpeg"
    quality: int = 85

    def __post_init__(self) -> None:
        if self.fit not in ("inside", "cover") or self.format not in ENCODED | VIDEOS:
            raise ValueError("fit is inside or cover, format " + ", ".join(ENCODED | VIDEOS))
        if not (1 <= self.width <= 8192 and 1 <= self.height <= 8192 and 1 <= self.quality <= 100):
            raise ValueError("width and height are 1 to 8192, quality 1 to 100")


@dataclass(frozen=True, slots=True)
class Config:
    project_id: str
    environment: str
    lane: str
    kind: str
    uploads_bucket: str
    results_bucket: str
    source_version: str
    max_attempts: int
    max_file_bytes: int
    max_pixels: int
    work_seconds: int
    task_seconds: int
    memory_bytes: int
    concurrency: int
    hash_object_names: bool
    renditions: Mapping[str, Rendition] = table(Rendition)

    @property
    def pictures(self) -> Mapping[str, Rendition]:
        """Of the renditions those that are pictures."""
        return {name: one for name, one in self.renditions.items() if one.format in ENCODED}

    @property
    def videos(self) -> Mapping[str, Rendition]:
        return {name: one for name, one in self.renditions.items() if one.format in VIDEOS}

    @classmethod
    def from_env(cls, variables: Mapping[str, str] = os.environ) -> Config:
        """Raises ConfigError that names every variable that is missing or wrong."""
        return read(cls, variables)
