"""What bootstrap was applied with: what a later run of it does not name stays as it is."""

from __future__ import annotations

import json
import os
from typing import Any

from runner import Environment, terraform


def recall(environment: Environment) -> None:
    """Sets what is not named to what is applied, and says so."""
    outputs = json.loads(terraform(environment, "output", "-json", quiet=True))
    applied: dict[str, Any] = outputs.get("settings", {}).get("value", {})
    kept = []
    for name, value in applied.items():
        variable = f"TF_VAR_{name}"
        if variable in os.environ:
            continue
        os.environ[variable] = value if isinstance(value, str) else json.dumps(value)
        parts = value.values() if isinstance(value, dict) else value
        if said := value if isinstance(value, str) else " ".join(filter(None, parts)):
            kept.append(f"{name} {said}")
    if kept:
        print(
            f"deploy: as it was applied before: {'; '.join(kept)}. What is named instead replaces "
            "it; CAPABILITIES= and APPROVERS= take all of them away"
        )
