"""Cloud Storage, Cloud Tasks and a REST client in memory, as the operator's tool sees them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from google.api_core.exceptions import NotFound

UPLOADS, RESULTS, PUBLISHED = "up", "down", "published"
GENERATION = "1795262349442183"


class Stored:
    """Clients of a project; buckets: name → its blobs, every version of them."""

    project = "my-project"

    def __init__(self) -> None:
        self.buckets: dict[str, list[Any]] = {}
        self.vanishing: set[str] = set()  # names whose deletion finds that somebody was faster
        self.waiting: list[Any] = []
        self.storage = SimpleNamespace(list_blobs=self._listed, bucket=self._bucket)
        self.tasks = SimpleNamespace(list_tasks=lambda parent: self.waiting, delete_task=self._took)

    def put(
        self, bucket: str, name: str, content: Any = None, minutes: float = 60,
        generation: str = GENERATION, live: bool = True,
    ) -> None:  # fmt: skip
        """Made so many minutes ago; not live: an earlier version."""
        blob = SimpleNamespace(
            name=name, generation=generation, live=live, content=json.dumps(content).encode(),
            time_created=datetime.now(UTC) - timedelta(minutes=minutes),
            bucket=self._bucket(bucket),
        )  # fmt: skip
        self.buckets.setdefault(bucket, []).append(blob)

    def names(self, bucket: str) -> list[str]:
        return [blob.name for blob in self.buckets.get(bucket, [])]

    def _listed(
        self, bucket: str, prefix: str = "", match_glob: str = "", versions: bool = False
    ) -> list[Any]:
        glob = re.escape(match_glob).replace(r"\*\*", ".*").replace(r"\*", "[^/]*") or ".*"
        blobs = self.buckets.get(bucket, [])
        found = [b for b in blobs if b.name.startswith(prefix) and re.fullmatch(glob, b.name)]
        return [blob for blob in found if versions or blob.live]

    def _bucket(self, bucket: str) -> Any:
        def blob(name: str, generation: str = "") -> Any:
            def there() -> Any:
                for one in self.buckets.get(bucket, []):
                    if one.name == name and generation in ("", one.generation):
                        return one
                raise NotFound(name)

            def delete() -> None:
                assert generation, "a version is deleted, not whatever is live"
                self.buckets[bucket].remove(there())
                if name in self.vanishing:
                    raise NotFound(name)

            def write(text: str, *_: Any, if_generation_match: int) -> None:
                assert (if_generation_match, name in self.names(bucket)) == (0, False)
                self.put(bucket, name, json.loads(text))

            return SimpleNamespace(
                delete=delete, download_as_bytes=lambda: there().content, upload_from_string=write,
            )  # fmt: skip

        return SimpleNamespace(blob=blob)

    def _took(self, name: str) -> None:
        self.waiting = [task for task in self.waiting if task.name != name]
