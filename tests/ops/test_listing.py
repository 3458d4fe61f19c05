"""Uploads and records are joined exactly, whatever the names, and in constant memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.identity import Work
from sweep.listing import Generation, Kind, Record, Upload, in_key_order, joined, place

THEN = datetime(2026, 11, 21, tzinfo=UTC)


def upload(name: str, generation: int) -> Upload:
    return Upload(name, str(generation), THEN, {})


def record(kind: Kind, name: str, generation: int, run: int) -> Record:
    work = Work("uploads", name, str(generation), run)
    key = Work("uploads", name, str(generation)).key
    return Record(kind, key, run, THEN, work.manifest if kind == "manifests" else work.failure)


def as_listed(records: list[Record]) -> list[Record]:
    """In the order of the bucket's listing: by the bytes of the name."""
    return sorted(records, key=lambda record: record.object.encode())


def states(uploads: list[Upload], records: list[Record]) -> dict[tuple[str, str], str]:
    uploads = sorted(uploads, key=lambda u: (u.name.encode(), int(u.generation)))
    manifests = as_listed([r for r in records if r.kind == "manifests"])
    failures = as_listed([r for r in records if r.kind == "failures"])
    found: dict[tuple[str, str], str] = {}
    for generation in joined(uploads, manifests, failures):
        if generation.upload:
            identity = (generation.upload.name, generation.upload.generation)
            assert identity not in found, "a generation came twice"
            found[identity] = generation.state
    return found


# Characters around those that keys are built with, and the beginnings of keys as names.
names = st.one_of(
    st.text("a!-./019é~", min_size=1, max_size=8),
    st.sampled_from(["a", "a/1", "a/1-x", "a/1.j", "a/1.json", "a/10", "a!", "a/1-1.json"]),
    # Around the 880 bytes from which names are shortened, with beginnings in common.
    st.builds(
        lambda filler, count, end: filler * count + end,
        st.sampled_from(["abcd", "é~a", "~~~~"]),
        st.sampled_from([203, 204, 219, 220, 221]),
        st.text("!/a~é", max_size=4),
    ),
)
generations = st.sampled_from([1, 2, 9, 10, 11, 100, 1000])
recorded = st.lists(
    st.tuples(st.sampled_from(["manifests", "failures"]), st.sampled_from([0, 1, 2, 10])),
    max_size=3,
    unique=True,
)


@given(st.dictionaries(st.tuples(names, generations), recorded, max_size=14))
@example({("a", 1): [("manifests", 0)], ("a!", 1): [("manifests", 0)], ("a/1", 5): []})
@example({("a", 1): [("failures", 1)], ("a/1-x", 2): [("manifests", 0)], ("a", 10): []})
@example({("a", 1): [("manifests", 0)], ("a/1", 5): [], ("a/1!", 5): [("failures", 0)]})
def test_each_generation_is_found_with_exactly_its_records(world: Any) -> None:
    uploads = [upload(*identity) for identity in world]
    records = [
        record(kind, *identity, run) for identity, runs in world.items() for kind, run in runs
    ]
    expected = {
        (name, str(generation)): "done"
        if any(kind == "manifests" for kind, _ in runs)
        else "failed"
        if runs
        else "missing"
        for (name, generation), runs in world.items()
    }
    assert states(uploads, records) == expected


@given(st.sets(st.tuples(names, generations), max_size=14))
@example({("a", 1), ("a/1", 5), ("a/1!", 5)})
def test_uploads_come_in_the_order_of_their_records(world: Any) -> None:
    uploads = [upload(*identity) for identity in world]
    uploads.sort(key=lambda u: (u.name.encode(), int(u.generation)))
    places = [place(u.key) for u in in_key_order(uploads)]
    assert places == sorted(places)
    assert len(places) == len(uploads)


def test_records_without_an_upload_are_told_apart() -> None:
    found = list(joined([], [record("manifests", "gone", 7, 0), record("manifests", "gone", 8, 0)]))
    assert [(g.key, g.upload, g.state) for g in found] == [
        ("gone/7", None, "done"),
        ("gone/8", None, "done"),
    ]


@pytest.mark.parametrize(
    ("manifests", "failures", "state", "highest"),
    [
        ([], [], "missing", -1),
        ([], [0], "failed", 0),
        ([], [0, 1], "failed", 1),
        ([0], [], "done", 0),
        ([0], [0], "done", 0),
        ([0], [1], "done", 1),
    ],
)
def test_a_generation_is_done_if_any_run_is_else_failed(
    manifests: list[int], failures: list[int], state: str, highest: int
) -> None:
    generation = Generation("a/1")
    for run in manifests:
        generation.add(record("manifests", "a", 1, run))
    for run in failures:
        generation.add(record("failures", "a", 1, run))
    assert (generation.state, generation.highest_run) == (state, highest)


def world_of(count: int) -> tuple[Iterator[Upload], Iterator[Record]]:
    """`count` uploads of which each tenth lacks its manifest, in order, never all at once."""
    uploads = (
        Upload(f"{n:07}.jpg", "1795257455056968", THEN + timedelta(seconds=n), {"size": "1"})
        for n in range(count)
    )
    manifests = (record("manifests", f"{n:07}.jpg", 1795257455056968, 0)
                 for n in range(count) if n % 10)  # fmt: skip
    return uploads, manifests


def peak_of(count: int) -> int:
    """Bytes held at the worst moment of joining `count` uploads."""
    uploads, manifests = world_of(count)
    tracemalloc.start()
    try:
        missing = sum(1 for g in joined(uploads, manifests) if g.state == "missing")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert missing == count // 10
    return peak


def test_memory_does_not_grow_with_the_listing() -> None:
    peak_of(10)  # imports and caches
    assert peak_of(20_000) < peak_of(200) + 20_000
