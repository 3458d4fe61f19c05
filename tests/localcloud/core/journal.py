"""What happened: one JSON line per call, delivery, attempt, invocation and log line.

Tests and the operator's commands read it; nothing in the cloud's behaviour depends on it.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from .clock import Clock
from .identity import Principal


class Journal:
    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1 << 16)
        self._clock = clock
        self.counts: Counter[str] = Counter()

    def write(self, kind: str, **fields: Any) -> None:
        self.counts[kind] += 1
        line = {"time": self._clock.timestamp(), "kind": kind} | fields
        self._file.write(json.dumps(line, separators=(",", ":"), default=str) + "\n")

    def api(
        self,
        principal: Principal | None,
        method: str,
        params: dict[str, Any],
        code: int,
        error: str,
    ) -> None:
        self.counts[f"{method} {code}"] += 1
        who = principal.member if principal else None
        fields = {"principal": who, "method": method, "code": code, "params": params}
        self.write("api", **fields, **({"error": error} if error else {}))

    def flush(self) -> None:
        self._file.flush()
