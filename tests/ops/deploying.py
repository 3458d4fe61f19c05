"""The deployment script, run as a person does, with a Terraform that only pretends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts.ops import ROOT

DEPLOY = ROOT / "scripts/deploy.py"
DEV = ("--environment", "dev", "--project", "demo-project")
# Answers like Terraform, as far as it is asked here.
TERRAFORM = """#!/bin/sh
case "$*" in
  version*) echo 'Terraform v1.11.4' ;;
  *) cat >&2 "$ANSWER"; exit 1 ;;
esac
"""


# Saves plans, and cannot apply.
PLANNING = """#!/bin/sh
case "$*" in
  version*) echo 'Terraform v1.11.4' ;;
  *apply*) echo 'applied a stale plan' >&2; exit 1 ;;
  *show*) echo '{}' ;;
  *-out=*) for word; do case "$word" in -out=*) echo plan > "${word#-out=}" ;; esac; done; exit 2 ;;
esac
"""


def deploy(environ: dict[str, str], *words: str, script: Path = DEPLOY) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, script, *words],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr.strip()
