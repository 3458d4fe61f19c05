"""Uploads and records, joined in one pass over the listings.

Both listings are sorted by name, but not alike: the records of upload `a` begin with `a/`, those of
`a!` with `a!/`, which comes first; very long names are shortened. So uploads are put into the order
of their keys on the way. What is held for that are the uploads whose names begin the current one
(and, of names beyond 812 bytes, those that agree in their first 812), never the listing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from contract.identity import MAX_KEY_NAME_BYTES, Work, parse_key, shortened
from contract.task import FIELDS

Kind = Literal["manifests", "failures"]
KINDS: tuple[Kind, Kind] = ("manifests", "failures")
SUFFIX = ".json"
PAGE = 1000
# Keys of names with the same beginning of this many bytes may come in any order: a shortened name
# keeps the name's beginning, less `~`, 64 hex digits and a cut character.
ALIKE_BYTES = MAX_KEY_NAME_BYTES - 68
UPLOAD_FIELDS = f"items({','.join(FIELDS)}),nextPageToken"
RECORD_FIELDS = "items(name,timeCreated),nextPageToken"


class Upload(NamedTuple):
    """One generation of an uploaded object. resource is what a task carries of it."""

    name: str
    generation: str
    created: datetime
    resource: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{shortened(self.name)}/{self.generation}"


class Record(NamedTuple):
    """A manifest or failure record. key is that of its generation's run 0."""

    kind: Kind
    key: str
    run: int
    created: datetime
    object: str


@dataclass(slots=True)
class Generation:
    """What the listings tell of one generation. upload is None where it was not listed;
    live is set by who asks for it."""

    key: str
    upload: Upload | None = None
    manifests: dict[int, Record] = field(default_factory=dict)
    failures: dict[int, Record] = field(default_factory=dict)
    live: bool = False

    @property
    def number(self) -> str:
        """The generation itself, as Cloud Storage numbers it."""
        return self.key.rpartition("/")[2]

    def add(self, record: Record) -> None:
        (self.manifests if record.kind == "manifests" else self.failures)[record.run] = record

    @property
    def state(self) -> Literal["done", "failed", "missing"]:
        """Done if any run is; else failed if there is a record at all."""
        return "done" if self.manifests else "failed" if self.failures else "missing"

    @property
    def highest_run(self) -> int:
        """The highest recorded run; -1 when there is no record."""
        return max((*self.manifests, *self.failures), default=-1)


class Listings:
    """Reads listings page by page; counts requests, and objects that do not belong there."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.requests = 0
        self.foreign = 0  # objects among the records that are none

    def blobs(self, bucket: str, **options: Any) -> Iterator[Any]:
        for page in self._client.list_blobs(bucket, **options).pages:
            self.requests += 1
            yield from page

    def uploads(self, bucket: str, prefix: str, versions: bool) -> Iterator[Upload]:
        for blob in self.blobs(bucket, prefix=prefix, versions=versions, fields=UPLOAD_FIELDS):
            yield upload_of(bucket, blob)

    def records(self, bucket: str, kind: Kind, prefix: str) -> Iterator[Record]:
        """The records of uploads whose names begin with prefix, in the order of the listing."""
        for blob in self.blobs(bucket, prefix=f"{kind}/{prefix}", fields=RECORD_FIELDS):
            record = record_of(kind, blob)
            if record is None:
                self.foreign += 1
            elif record.key.rpartition("/")[0].startswith(prefix):
                yield record

    def records_of(self, bucket: str, kind: Kind, key: str) -> list[Record]:
        """The records of one generation, whose run-0 key is given: one request."""
        # Between these lie <key>-<run>.json and <key>.json, and little else.
        bounds = {"start_offset": f"{kind}/{key}-", "end_offset": f"{kind}/{key}.jsoo"}
        records = (
            record_of(kind, blob)
            for blob in self.blobs(bucket, prefix=f"{kind}/{key}", fields=RECORD_FIELDS, **bounds)
        )
        return [record for record in records if record and record.key == key]

    def recorded(self, bucket: str, work: Work) -> bool:
        """Whether a run, or a later one of its generation, has a record."""
        key = replace(work, run=0).key
        return any(
            record.run >= work.run
            for kind in KINDS
            for record in self.records_of(bucket, kind, key)
        )

    def with_records(self, bucket: str, uploads: Iterable[Upload]) -> list[Generation]:
        """Some uploads, each with all its records.

        Reads pages of the records from each key that is not accounted for yet: a page or two where
        the uploads are neighbours, at most one for each upload and kind where records of what
        expired lie between them.
        """
        found = {upload.key: Generation(upload.key, upload) for upload in uploads}
        keys = sorted(found, key=place)
        for kind in KINDS:
            at, start = 0, ""
            while at < len(keys):
                start = max(start, f"{kind}/{place(keys[at])}")
                names, last = self._page(bucket, kind, start, found)
                if last:
                    break
                start = names[-1]
                while at < len(keys) and f"{kind}/{keys[at]}{SUFFIX}" <= start:
                    at += 1
        return list(found.values())

    def _page(
        self, bucket: str, kind: Kind, start: str, found: Mapping[str, Generation]
    ) -> tuple[list[str], bool]:
        """Adds the records of a page to what is found: its names, and whether it is the last."""
        listed = self._client.list_blobs(
            bucket, prefix=f"{kind}/", start_offset=start, fields=RECORD_FIELDS, page_size=PAGE
        )
        names: list[str] = []
        for page in listed.pages:
            self.requests += 1
            for blob in page:
                names.append(blob.name)
                record = record_of(kind, blob)
                if record and record.key in found:
                    found[record.key].add(record)
            if len(names) > 1:
                break
        return names, not listed.next_page_token


def upload_of(bucket: str, blob: Any) -> Upload:
    sent = blob._properties | {"bucket": bucket}
    kept = {field: sent[field] for field in FIELDS if field in sent}
    return Upload(blob.name, str(blob.generation), blob.time_created, kept)


def record_of(kind: Kind, blob: Any) -> Record | None:
    """The record that a results object is; None for a foreign object."""
    name: str = blob.name
    if not name.endswith(SUFFIX):
        return None
    key = parse_key(name[len(kind) + 1 : -len(SUFFIX)])
    if key is None:
        return None
    return Record(kind, f"{key.name}/{key.generation}", key.run, blob.time_created, name)


def in_key_order(uploads: Iterable[Upload]) -> Iterator[Upload]:
    """Sorted by (name, generation) → sorted by place(key)."""
    held: list[tuple[str, int, Upload]] = []
    name = ""
    for number, upload in enumerate(uploads):
        if upload.name != name:
            name = upload.name
            # No later key is smaller than the beginning of this name.
            least = name.encode()[:ALIKE_BYTES].decode(errors="ignore")
            while held and held[0][0] <= least:
                yield heapq.heappop(held)[2]
        heapq.heappush(held, (place(upload.key), number, upload))
    while held:
        yield heapq.heappop(held)[2]


def place(key: str) -> str:
    """Sorts before every record of the key: before <key>-<run>.json and <key>.json."""
    return f"{key}-"


def joined(uploads: Iterable[Upload], *records: Iterable[Record]) -> Iterator[Generation]:
    """Each generation that is listed as an upload or by a record, once, with all its records.

    uploads: sorted by name and generation; each of records: sorted by the name of the object.
    Yields in the order in which generations are complete.
    """
    streams: list[Iterator[tuple[str, Upload | Record]]] = [
        ((place(upload.key), upload) for upload in in_key_order(uploads)),
        *(_placed(stream) for stream in records),
    ]
    # Records of other keys may lie between those of one (`a/1-x/2.json` between `a/1-1.json` and
    # `a/1.json`); the keys that are open at one time all begin each other.
    opened: dict[str, Generation] = {}
    for position, item in heapq.merge(*streams, key=lambda pair: pair[0]):
        while opened and next(reversed(opened)) + SUFFIX < position:
            yield opened.popitem()[1]
        generation = opened.setdefault(item.key, Generation(item.key))
        if isinstance(item, Upload):
            generation.upload = item
        else:
            generation.add(item)
    while opened:
        yield opened.popitem()[1]


def _placed(records: Iterable[Record]) -> Iterator[tuple[str, Upload | Record]]:
    for record in records:
        yield record.object[len(record.kind) + 1 :], record
