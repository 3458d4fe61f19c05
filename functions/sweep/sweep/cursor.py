"""Where a sweep goes on: an object for each call, written once, gone after a week."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from runtime.storage import unless_there

FOLDER = "sweeps/"
FORM = "%Y-%m-%dT%H:%M:%SZ"  # sorts as time does
RECENT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last upload that was looked at; no name: a pass begins.

    began: when this pass did; before: when the one before it did; both RFC 3339, or empty.
    """

    name: str = ""
    generation: str = ""
    began: str = ""
    before: str = ""

    def passed(self, name: str, generation: str) -> bool:
        return name == self.name and int(generation) <= int(self.generation)


class Cursors:
    """client: Cloud Storage's."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def newest(self, now: datetime) -> Cursor:
        """That of the last call; a new one where there was none for a week."""
        for start in (f"{FOLDER}{now - RECENT:{FORM}}", FOLDER):
            blobs = list(self._client.list_blobs(self._bucket, prefix=FOLDER, start_offset=start))
            if blobs:
                content = json.loads(blobs[-1].download_as_bytes())
                return Cursor(**content["cursor"])
        return Cursor()

    def write(self, now: datetime, cursor: Cursor, told: dict[str, Any]) -> None:
        """Whoever is first for a time has written it: others found the same."""
        blob = self._client.bucket(self._bucket).blob(f"{FOLDER}{now:{FORM}}.json")
        content = json.dumps({"cursor": asdict(cursor), **told}, ensure_ascii=False, indent=1)
        with unless_there():
            blob.upload_from_string(content, "application/json", if_generation_match=0)
