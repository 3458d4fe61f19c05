"""Identity of a piece of work, and every name that follows from it.

The identity is bucket, object name, generation and run: never a message id, so that duplicated
events and redelivered tasks all mean the same work. Run 0 is the upload's own; a redrive or a
re-render is run 1, 2 …
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import NamedTuple

MAX_NAME_BYTES = 1024  # Cloud Storage's limit for an object name, in UTF-8
# The longest thing put around a name is files/<name>/<generation>-<run>/<attempt>/<output>.
MAX_KEY_NAME_BYTES = 880
PERCENT_STEP = 5
_GENERATION = re.compile(r"[1-9][0-9]{0,19}")
_KEY = re.compile(r"(?P<name>.+)/(?P<generation>[1-9][0-9]{0,19})(?:-(?P<run>[1-9][0-9]*))?", re.S)


class Key(NamedTuple):
    """A key taken apart. The name is the shortened one where the full name was too long."""

    name: str
    generation: str
    run: int


@dataclass(frozen=True, slots=True)
class Work:
    """One run over one generation of one object. Raises ValueError when that cannot exist.

    generation is the decimal string that Cloud Storage sends. What Cloud Storage itself would call
    invalid is refused here: its 400 would look like an outage, and be tried again for days.
    """

    bucket: str
    name: str
    generation: str
    run: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.bucket, str) and self.bucket):
            raise ValueError("bucket is missing")
        if not (isinstance(self.name, str) and self.name):
            raise ValueError("object name is missing")
        try:
            length = len(f"{self.bucket}/{self.name}".encode()) - len(self.bucket) - 1
        except UnicodeEncodeError:
            raise ValueError("bucket or object name is not valid Unicode") from None
        if length > MAX_NAME_BYTES:
            raise ValueError(f"object name is longer than {MAX_NAME_BYTES} bytes")
        if "\n" in self.name or "\r" in self.name:
            raise ValueError("object name has a line break")
        number = self.generation if isinstance(self.generation, str) else ""
        if not (_GENERATION.fullmatch(number) and int(number) < 2**63):
            raise ValueError("generation is not a positive decimal number of 63 bits")
        if type(self.run) is not int or not 0 <= self.run < 1_000_000:
            raise ValueError("run is not a number from 0 to 999999")

    @property
    def trace(self) -> str:
        """32 hex digits that anyone can compute; one for all runs of a generation."""
        return _sha256(f"{self.bucket}/{self.name}#{self.generation}")[:32]

    @property
    def task_id(self) -> str:
        """64 hex digits: evenly spread, and within what Cloud Tasks accepts as a task's name."""
        return _sha256(f"{self.bucket}/{self.name}#{self.generation}/{self.run}")

    @property
    def key(self) -> str:
        suffix = f"-{self.run}" if self.run else ""
        return f"{shortened(self.name)}/{self.generation}{suffix}"

    @property
    def manifest(self) -> str:
        return f"manifests/{self.key}.json"

    @property
    def failure(self) -> str:
        return f"failures/{self.key}.json"

    def attempt(self, number: int) -> str:
        return f"attempts/{self.key}/{number}"

    def percent(self, number: int, percent: int) -> str:
        """Says how much of what the attempt makes is made: each PERCENT_STEP, in their order."""
        return f"{self.attempt(number)}/{percent}"

    def output(self, file: str, attempt: int) -> str:
        """Each attempt has names of its own, so a manifest describes what its attempt wrote."""
        folder = self.key if attempt == 1 else f"{self.key}/{attempt}"
        return f"files/{folder}/{file}"


def shortened(name: str) -> str:
    """The name, or, where results would pass 1,024 bytes, its beginning, `~` and its sha256."""
    raw = name.encode()
    if len(raw) <= MAX_KEY_NAME_BYTES:
        return name
    digest = hashlib.sha256(raw).hexdigest()
    beginning = raw[: MAX_KEY_NAME_BYTES - len(digest) - 1].decode(errors="ignore")
    return f"{beginning}~{digest}"


def parse_key(key: str) -> Key | None:
    """The parts of a key, or None when it is not one."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    return Key(match["name"], match["generation"], int(match["run"] or 0))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
