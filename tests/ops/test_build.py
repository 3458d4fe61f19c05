"""The functions' zips, as scripts/build_functions.py makes them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from scripts.ops import ROOT

BUILD = ROOT / "scripts/build_functions.py"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    functions = tmp_path / "functions"
    for package in ("contract", "runtime", "unused", "bridge/bridge", "processor/processor"):
        (functions / package).mkdir(parents=True)
        (functions / package / "__init__.py").write_text("")
    (functions / "bridge/bridge/__init__.py").write_text("from runtime import logs\n")
    for name in ("bridge", "processor"):
        main = f"import contract\nimport {name}\ndef handle(request): ...\n"
        (functions / name / "main.py").write_text(main)
        (functions / name / "requirements.txt").write_text("")
    return functions


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BUILD, "--source", source, "--out", out]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_zip_holds_main_and_each_package_that_it_imports(source: Path, tmp_path: Path) -> None:
    (source / "bridge/__pycache__").mkdir()
    (source / "bridge/__pycache__/main.pyc").write_bytes(b"x")
    (source / "bridge/.DS_Store").write_bytes(b"x")
    assert build(source, tmp_path / "build").returncode == 0
    with zipfile.ZipFile(tmp_path / "build/bridge.zip") as archive:
        assert archive.namelist() == [
            "bridge/__init__.py", "contract/__init__.py", "main.py", "requirements.txt",
            "runtime/__init__.py",
        ]  # fmt: skip


def test_a_folder_with_a_main_py_is_a_deployable_and_one_without_is_not(
    source: Path, tmp_path: Path
) -> None:
    (source / "third").mkdir()
    (source / "third/main.py").write_text("import processor\n")
    (source / "third/requirements.txt").write_text("")
    (source / "third/requirements-large.txt").write_text("# more\n")
    assert build(source, tmp_path / "build").returncode == 0
    made = sorted(path.name for path in (tmp_path / "build").iterdir())
    assert made == ["bridge.zip", "processor.zip", "third-large.zip", "third.zip"]
    with zipfile.ZipFile(tmp_path / "build/third-large.zip") as archive:
        assert archive.namelist() == ["main.py", "processor/__init__.py", "requirements.txt"]
        assert archive.read("requirements.txt") == b"# more\n"


def test_a_function_that_is_not_python_is_refused_by_its_line(source: Path, tmp_path: Path) -> None:
    (source / "bridge/main.py").write_text("import os\ndef\n")
    done = build(source, tmp_path / "build")
    assert done.returncode == 1
    assert "bridge/main.py line 2: invalid syntax" in done.stderr


def test_the_same_source_makes_the_same_bytes_whatever_its_dates_and_modes(
    source: Path, tmp_path: Path
) -> None:
    build(source, tmp_path / "first")
    os.utime(source / "bridge/main.py", (1, time.time() - 10**6))
    (source / "bridge/main.py").chmod(0o755)
    build(source, tmp_path / "second")
    for name in ("bridge.zip", "processor.zip"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_changed_function_changes_its_own_zip_only(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "first")
    (source / "bridge/main.py").write_text("import bridge\ndef handle(request): return 1\n")
    build(source, tmp_path / "second")
    assert (tmp_path / "first/bridge.zip").read_bytes() != (
        tmp_path / "second/bridge.zip"
    ).read_bytes()
    same = (tmp_path / "first/processor.zip").read_bytes()
    assert same == (tmp_path / "second/processor.zip").read_bytes()


def test_an_unchanged_zip_is_left_alone(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "build")
    os.utime(tmp_path / "build/bridge.zip", (1, 1))
    build(source, tmp_path / "build")
    assert (tmp_path / "build/bridge.zip").stat().st_mtime == 1


def test_a_function_without_requirements_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "processor/requirements.txt").unlink()
    done = build(source, tmp_path / "build")
    assert done.returncode == 1
    assert "requirements.txt is missing: processor cannot be built" in done.stderr
