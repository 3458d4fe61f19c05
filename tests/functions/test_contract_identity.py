from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.identity import MAX_NAME_BYTES, Key, Work, parse_key, shortened

TOM = Work("uploads", "cats/tom.jpg", "1732")


def test_trace_is_one_for_all_runs_and_anyone_can_compute_it() -> None:
    expected = hashlib.sha256(b"uploads/cats/tom.jpg#1732").hexdigest()[:32]
    assert TOM.trace == expected == Work("uploads", "cats/tom.jpg", "1732", 4).trace


def test_task_id_hashes_the_whole_identity() -> None:
    assert TOM.task_id == hashlib.sha256(b"uploads/cats/tom.jpg#1732/0").hexdigest()
    assert TOM.task_id != Work("uploads", "cats/tom.jpg", "1732", 1).task_id


def test_names_of_results_follow_from_the_key() -> None:
    assert TOM.key == "cats/tom.jpg/1732"
    assert TOM.manifest == "manifests/cats/tom.jpg/1732.json"
    assert TOM.failure == "failures/cats/tom.jpg/1732.json"
    assert TOM.attempt(2) == "attempts/cats/tom.jpg/1732/2"
    assert TOM.output("thumbnail.jpg", 1) == "files/cats/tom.jpg/1732/thumbnail.jpg"
    assert TOM.output("thumbnail.jpg", 2) == "files/cats/tom.jpg/1732/2/thumbnail.jpg"
    assert Work("uploads", "cats/tom.jpg", "1732", 3).key == "cats/tom.jpg/1732-3"


@pytest.mark.parametrize(
    ("bucket", "name", "generation", "run"),
    [
        ("", "a", "1", 0),
        ("b", "", "1", 0),
        ("b", "a", "0", 0),
        ("b", "a", "01", 0),
        ("b", "a", "1\n", 0),
        ("b", "a", "", 0),
        ("b", "a", str(2**63), 0),
        ("b", "a\nb", "1", 0),
        ("b", "a\r", "1", 0),
        ("b", "a", 1, 0),
        ("b", "a", "1", -1),
        ("b", "a", "1", True),
        ("b", "a", "1", 1_000_000),
        ("b", "a" * 1025, "1", 0),
        ("b", "\ud800", "1", 0),
    ],
)
def test_impossible_identities_are_refused(
    bucket: str, name: str, generation: str, run: int
) -> None:
    with pytest.raises(ValueError, match=r"bucket|name|generation|run"):
        Work(bucket, name, generation, run)


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"),
    min_size=1,
    max_size=MAX_NAME_BYTES,
).filter(lambda name: len(name.encode()) <= MAX_NAME_BYTES)


@given(NAMES, st.integers(1, 2**63 - 1), st.integers(0, 999_999), st.integers(1, 99))
def test_every_result_name_fits_and_every_key_can_be_taken_apart(
    name: str, generation: int, run: int, attempt: int
) -> None:
    work = Work("uploads", name, str(generation), run)
    results = (work.manifest, work.failure, work.attempt(attempt), work.output("x" * 64, attempt))
    assert all(len(result.encode()) <= MAX_NAME_BYTES for result in results)
    assert parse_key(work.key) == Key(shortened(name), str(generation), run)


def test_long_names_that_differ_only_at_the_end_keep_different_keys() -> None:
    one, two = "é" * 500 + "1", "é" * 500 + "2"
    assert shortened(one) != shortened(two)
    assert shortened(one).startswith("é" * 400)


@pytest.mark.parametrize("text", ["", "a", "/1", "a/", "a/x", "a/1-0", "a/01"])
def test_text_that_is_no_key_is_told_apart(text: str) -> None:
    assert parse_key(text) is None
