"""Access and identity tokens of whoever is logged in, without a library."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from known import Refused

LOGIN = "Log in with: gcloud auth login, or set GOOGLE_OAUTH_ACCESS_TOKEN"


class NoLogin(Refused):
    """gcloud gives no token: why, and how to log in."""


def access_token() -> str:
    """GOOGLE_OAUTH_ACCESS_TOKEN, which Terraform uses too, else that of gcloud. Raises NoLogin."""
    return os.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN") or printed("access")


def printed(kind: str) -> str:
    """What gcloud prints: an access or an identity token. Raises NoLogin."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise NoLogin(f"gcloud is not on PATH. {LOGIN}")
    command = [gcloud, "auth", f"print-{kind}-token"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode or not done.stdout.strip():
        said = re.sub(r"^ERROR: \(\S+\) ", "", done.stderr.strip()).partition("\n")[0]
        raise NoLogin(f"{said.rstrip('.') or 'gcloud prints no token'}. {LOGIN}")
    return done.stdout.strip()
