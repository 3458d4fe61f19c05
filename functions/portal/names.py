"""How an upload is named: `<folder>/<owner>/<id>/<name>`, and its file_id `<folder>-<id>`."""

from __future__ import annotations

import re
import secrets
import unicodedata
import uuid
from dataclasses import dataclass

from web.access import digest
from web.problems import Problem, bad

MAX_NAME_BYTES = 200
_FILE_ID = re.compile(r"([a-z0-9][a-z0-9-]{0,62})-([0-9a-f]{32})")
# What ends a line or turns what follows around: nothing that a person typed into a name.
_CONTROL = {"Cc", "Zl", "Zp", "Cs"}


@dataclass(frozen=True, slots=True)
class File:
    """A file as its owner knows it. id: 32 hex digits."""

    folder: str
    owner: str
    id: str

    @property
    def file_id(self) -> str:
        return f"{self.folder}-{self.id}"

    @property
    def prefix(self) -> str:
        """What the names of its upload, and its results' keys, begin with."""
        return f"{self.folder}/{self.owner}/{self.id}/"

    @classmethod
    def parse(cls, file_id: str, owner: str) -> File:
        """Raises Problem 404 for what cannot be a file_id."""
        match = _FILE_ID.fullmatch(file_id)
        if match is None:
            detail = "A file_id is what POST /files answered: a folder, a hyphen, 32 hex digits."
            raise Problem(404, "no_such_file", detail)
        return cls(match[1], owner, match[2])


def new_id(key: str | None, owner: str, *fields: object) -> str:
    """Random, or, with an Idempotency-Key, the same for the same owner, key and fields.

    Raises Problem 400 for a key that could be guessed: it has to be a random UUID.
    """
    if key is None:
        return secrets.token_hex(16)
    try:
        parsed = uuid.UUID(key)
    except ValueError:
        parsed = None
    if parsed is None or parsed.version != 4 or str(parsed) != key.lower():
        detail = (
            "Idempotency-Key must be a random UUID (version 4), such as crypto.randomUUID() gives."
        )
        raise Problem(400, "bad_idempotency_key", detail)
    return digest(owner, str(parsed), *fields)


def checked_name(name: object, field: str = "name") -> str:
    """A file's name as people see it. Raises Problem 400."""
    if not isinstance(name, str) or not name:
        raise bad(field, "must be the file's name")
    if any(unicodedata.category(char) in _CONTROL for char in name):
        raise bad(field, "must have no control characters and no line breaks")
    if "/" in name or name in (".", ".."):
        raise bad(field, "must be a name without a path: no slash, not . or ..")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise bad(field, f"must have at most {MAX_NAME_BYTES} bytes in UTF-8")
    return name
