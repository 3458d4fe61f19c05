"""Cloud Storage's listings and Cloud Tasks, as far as the sweep sees them."""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from google.api_core.exceptions import AlreadyExists, NotFound, PreconditionFailed

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


class Blob:
    def __init__(self, bucket: Bucket, name: str, generation: int, created: datetime) -> None:
        self._bucket, self.name, self.generation = bucket, name, generation
        self.time_created, self.data = created, b""
        self._properties = {
            "name": name, "generation": str(generation), "size": "9",
            "timeCreated": created.isoformat(),
        }  # fmt: skip

    def download_as_bytes(self) -> bytes:
        return self.data

    def upload_from_string(self, data: str, *_: Any, if_generation_match: int) -> None:
        assert if_generation_match == 0
        if self._bucket.has(self.name):
            raise PreconditionFailed("there already")
        self.data = data.encode()
        self._bucket.add(self)


class Bucket:
    def __init__(self) -> None:
        self.keys: list[tuple[bytes, int]] = []
        self.blobs: dict[tuple[bytes, int], Blob] = {}

    def add(self, blob: Blob) -> None:
        key = (blob.name.encode(), blob.generation)
        insort(self.keys, key)
        self.blobs[key] = blob

    def has(self, name: str) -> bool:
        return any(key == name.encode() for key, _ in self.keys)

    def blob(self, name: str) -> Blob:
        at = bisect_left(self.keys, (name.encode(), 0))
        if at < len(self.keys) and self.keys[at][0] == name.encode():
            return self.blobs[self.keys[at]]
        return Blob(self, name, 1, NOW)


class Listing:
    def __init__(self, storage: Storage, bucket: Bucket, start: str, size: int) -> None:
        self._storage, self._bucket, self._size = storage, bucket, size
        self._at = bisect_left(bucket.keys, (start.encode(), 0))
        self._end = len(bucket.keys)
        self.next_page_token: str | None = None

    def until(self, end: bytes) -> Listing:
        self._end = min(self._end, bisect_left(self._bucket.keys, (end, 0)))
        return self

    @property
    def pages(self) -> Any:
        while True:
            self._storage.requests += 1
            assert self._storage.requests < 10_000, "it asks for the same again and again"
            keys = self._bucket.keys[self._at : min(self._at + self._size, self._end)]
            self._at += len(keys)
            self.next_page_token = "more" if self._at < self._end else None
            yield [self._bucket.blobs[key] for key in keys]
            if not self.next_page_token:
                return

    def __iter__(self) -> Any:
        return (blob for page in self.pages for blob in page)


class Storage:
    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.requests = 0

    def bucket(self, name: str) -> Bucket:
        return self.buckets.setdefault(name, Bucket())

    def list_blobs(
        self, bucket: str, prefix: str = "", start_offset: str = "", page_size: int = 1000,
        end_offset: str = "", **_: Any,
    ) -> Listing:  # fmt: skip
        start = max(prefix, start_offset)
        listing = Listing(self, self.bucket(bucket), start, page_size)
        if end_offset:
            listing.until(end_offset.encode())
        return listing.until(prefix.encode() + b"\xff" * 4) if prefix else listing

    def put(
        self, bucket: str, name: str, generation: int = 1, age: float = 3600, content: Any = None
    ) -> Blob:
        where = self.bucket(bucket)
        blob = Blob(where, name, generation, NOW - timedelta(seconds=age))
        blob.data = json.dumps(content).encode()
        where.add(blob)
        return blob


class Tasks:
    """Names of what is alive, and of what is gone and blocked."""

    def __init__(self) -> None:
        self.alive: dict[str, Any] = {}
        self.blocked: set[str] = set()
        self.calls = 0
        self.error: Exception | None = None
        self.most = 10**6  # tasks in a page of the listing

    def create_task(self, request: dict[str, Any], timeout: float) -> None:
        self.calls += 1
        if self.error:
            raise self.error
        task = request["task"]
        if task["name"] in self.alive or task["name"] in self.blocked:
            raise AlreadyExists("there")
        url = task["http_request"]["url"]
        self.alive[task["name"]] = SimpleNamespace(
            name=task["name"], http_request=SimpleNamespace(url=url), body=task["http_request"],
            schedule_time=NOW,
        )  # fmt: skip

    def get_task(self, request: dict[str, Any], timeout: float) -> Any:
        self.calls += 1
        if request["name"] not in self.alive:
            raise NotFound("gone")
        return self.alive[request["name"]]

    def delete_task(self, request: dict[str, Any], timeout: float) -> None:
        self.lose(request["name"])

    def list_tasks(self, request: dict[str, Any], timeout: float) -> Any:
        tasks, size = list(self.alive.values()), request["page_size"]
        cut = len(tasks) > self.most
        parts = [tasks[at : at + size] for at in range(0, min(len(tasks), self.most), size)] or [[]]
        tokens = ["more"] * (len(parts) - 1) + ["more" if cut else ""]
        pages = zip(parts, tokens, strict=True)
        return SimpleNamespace(
            pages=(SimpleNamespace(tasks=part, next_page_token=token) for part, token in pages)
        )

    def lose(self, name: str) -> None:
        del self.alive[name]
        self.blocked.add(name)
