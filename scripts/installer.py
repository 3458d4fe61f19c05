"""Installs Python packages: by uv, in a tenth of pip's time, or by pip where uv cannot.

    installer.py ENVIRONMENT --require-hashes -r requirements.txt

pip's own configuration (index, links, certificates, proxy) holds for both.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# docs.astral.sh/uv/reference/environment beside pip.pypa.io/en/stable/topics/configuration
PIP_AS_UV = {
    "cert": "SSL_CERT_FILE",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_DEFAULT_INDEX",
    "no-index": "UV_NO_INDEX",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
}
COMMAS = ("UV_FIND_LINKS",)  # between several values; spaces elsewhere


def install(target: Path, *wanted: str) -> subprocess.CompletedProcess[str]:
    """Installs into a virtual environment, and returns what pip said, if it was asked.

    Args:
        target: folder of the environment.
        wanted: options and requirements, as both have them.
    """
    python, pip = str(target / "bin/python"), _pip(target)
    for environment in (target, ROOT / ".venv"):
        if (uv := environment / "bin/uv").is_file():
            command = [str(uv), "pip", "install", "--quiet", "--compile-bytecode", *wanted]
            done = _run(
                *command, "--python", python, environ=as_uv(_run(*pip, "config", "list").stdout)
            )
            if done.returncode == 0:
                return done
            break  # pip says why, in words that are known
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "2")
    return _run(*pip, "install", *quiet, *wanted)


def _pip(target: Path) -> list[str]:
    """The environment's own pip, or that of the Python that runs this, for that environment."""
    if (target / "bin/pip").is_file():
        return [str(target / "bin/python"), "-m", "pip"]
    return [sys.executable, "-m", "pip", "--python", str(target / "bin/python")]


def _run(*command: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=dict(os.environ) | (environ or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def as_uv(listed: str) -> dict[str, str]:
    """What `pip config list` printed, as uv's environment variables."""
    # As pip does: the best version of all indexes. Each is held to its hash.
    found = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    values = re.findall(r"^(?:global|install|:env:)\.([\w-]+)=(['\"].*['\"])$", listed, re.M)
    for key, value in values:
        if name := PIP_AS_UV.get(key):
            found[name] = ("," if name in COMMAS else " ").join(ast.literal_eval(value).split())
    return found


if __name__ == "__main__":
    ended = install(Path(sys.argv[1]), *sys.argv[2:])
    sys.stdout.write(ended.stdout + ended.stderr)
    sys.exit(ended.returncode)
