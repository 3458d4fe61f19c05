"""What Terraform has put into the environment, as its state tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import ROOT
from .environment import terraform
from .problems import Problem

TERRAFORM, BLOCKS = ROOT / "terraform", "modules"


@dataclass(frozen=True)
class Resource:
    """values: its attributes; blocks are lists of maps."""

    address: str
    kind: str
    values: dict[str, Any]

    @property
    def module(self) -> str:
        """The folder of terraform/ whose module holds it; "" for what is the user's own."""
        outer = re.match(r"module\.([\w-]+)", self.address)
        name = outer[1] if outer else ""
        return name if name != BLOCKS and (TERRAFORM / name / "main.tf").is_file() else ""


class State:
    def __init__(self, name: str, resources: list[Resource]) -> None:
        self.name, self.resources = name, resources

    @property
    def modules(self) -> list[str]:
        """The folders of terraform/ that it has resources of."""
        return sorted({resource.module for resource in self.resources} - {""})

    @classmethod
    def read(cls, name: str, project: str = "") -> State:
        """Raises Problem, also where nothing is applied."""
        text = terraform(name, "state", "pull", project=project)
        state = json.loads(text) if text.strip() else {}
        resources = [
            Resource(_address(entry, instance), entry["type"], instance["attributes"])
            for entry in state.get("resources", [])
            if entry["mode"] == "managed"
            for instance in entry["instances"]
        ]
        if not resources:
            raise Problem(f"{name} is not applied: make apply ENV={name} PROJECT={project or '…'}")
        return cls(name, resources)

    def of(self, kind: str) -> Iterator[Resource]:
        """The resources of a type that modules of terraform/ made."""
        for resource in self.resources:
            if resource.kind == kind and resource.module:
                yield resource


def _address(entry: dict[str, Any], instance: dict[str, Any]) -> str:
    parts = [entry["module"]] if "module" in entry else []
    key = f"[{json.dumps(instance['index_key'])}]" if "index_key" in instance else ""
    return ".".join([*parts, entry["type"], entry["name"]]) + key


def block(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """The only block at a path; {} where there is none."""
    for name in names:
        values = (values.get(name) or [{}])[0] or {}
    return values
