"""Keys and tokens that must not be in a repository, by what they look like."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

LARGEST = 5_000_000  # bytes; beyond that nobody wrote it as text
PATTERNS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*(?:\\n|\n)?[A-Za-z0-9+/=\\n]{40}",
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a Google access token": r"\bya29\.[0-9A-Za-z_-]{40,}",
    "a Google refresh token": r"\b1//0[0-9A-Za-z_-]{40,}",
    "a Google OAuth secret": r"\bGOCSPX-[0-9A-Za-z_-]{28}\b",
    "a service account's key": r'"private_key_id"\s*:\s*"[0-9a-f]{40}"',
    "a GitHub token": r"\b(?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{60,})\b",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a Slack token": r"\bxox[abprs]-[0-9A-Za-z-]{20,}",
    "a PyPI token": r"\bpypi-AgEI[0-9A-Za-z_-]{40,}",
    "a Terraform Cloud token": r"\b[0-9A-Za-z]{14}\.atlasv1\.[0-9A-Za-z_-]{60,}",
    "an address with a password": r"\bhttps?://[^\s/:@\"'{}<>$]+:[^\s/:@\"'{}<>$]{6,}@[\w.-]+\.\w",
}
_ANY = re.compile("|".join(f"({pattern})" for pattern in PATTERNS.values()))


def found_in(text: str) -> list[tuple[int, str]]:
    """(line number, what it looks like) of each match."""
    names = list(PATTERNS)
    return [
        (text.count("\n", 0, match.start()) + 1, names[(match.lastindex or 1) - 1])
        for match in _ANY.finditer(text)
    ]


def scan(paths: Iterable[Path], root: Path) -> list[str]:
    """One line for each match in files; the match itself is not repeated."""
    found = []
    for path in paths:
        if path.stat().st_size > LARGEST:
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        name = path.relative_to(root)
        found += [f"{name}:{line}: looks like {what}" for line, what in found_in(text)]
    return found
