"""A sample of the corpus; `make test-corpus` runs all of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.corpus.beside import table
from tests.corpus.files import made, pillow
from tests.corpus.run import End, run

SAMPLE = 60  # of each source


def check(paths: list[Path]) -> None:
    ends = list(run(sorted(random.Random(5).sample(paths, SAMPLE))))
    assert len(ends) == SAMPLE
    assert not [f"{one.path.name}: {one.fault}" for one in ends if one.fault]
    assert any(one.end == "done" for one in ends)


def test_files_made_here_end_in_a_manifest_or_a_named_failure(tmp_path: Path) -> None:
    """One mode of each format; all of them: make test-corpus."""
    check(made(tmp_path, modes=1))


def test_pillows_own_files_end_in_a_manifest_or_a_named_failure() -> None:
    """Every third; all of them: make test-corpus."""
    check(pillow()[::3])


def test_a_crash_and_a_hang_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.corpus.run.SECONDS", 0.0)
    file = tmp_path / "a.txt"
    file.write_text("text")
    missing = tmp_path / "gone.txt"
    (hang,) = run([file])
    assert hang.end == "hang"
    monkeypatch.setattr("tests.corpus.run.SECONDS", 60.0)
    ends: list[End] = list(run([missing, file]))
    assert [one.end for one in ends] == ["crash (1)", "done"]
    assert ends[0].fault


def test_a_table_that_was_told_wrongly_is_seen_beside_pythons_csv(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('a;b\n1;"x;\n"\n2;\n')
    columns = [{"name": "a", "nulls": 0}, {"name": "b", "nulls": 1}]
    assert table(file, {"rows": 2, "columns": columns}) == []
    assert table(file, {"rows": 3, "columns": columns}) == ["rows: 3 for 2"]
    columns[1]["nulls"] = 0
    assert table(file, {"rows": 2, "columns": columns}) == ["nulls: 0 for 1"]
