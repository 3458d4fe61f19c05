"""Delivery from pull requests: plan, comment, compare, apply, drift.

`python3 -m scripts.ci --help` from the repository's root.

Standard library only, so that a runner needs nothing but Python and Terraform. What touches Google
or GitHub is in store.py and github.py; every text is a pure function in texts.py. How the pieces
make a delivery is told in docs/delivery.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# deploy.py and its neighbours import each other as programs do.
if str(ROOT / "scripts") not in sys.path:
    sys.path.append(str(ROOT / "scripts"))
