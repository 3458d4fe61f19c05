"""The operator's tool: where files stand, what to try again, what is missing, what is wrong.

`python -m scripts.ops --help` from the repository's root; docs/operations.md tells the rest. Names
of tasks and records, and the rules that decide about an object, are the functions' own code.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Their packages are named apart, so the order of the folders says nothing.
for _folder in (
    ROOT / "functions",
    ROOT / "functions" / "bridge",
    ROOT / "functions" / "sweep",
    ROOT / "scripts",
):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))
