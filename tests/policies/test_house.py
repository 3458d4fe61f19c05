"""What the folders promise: who may know of whom, and how large a piece may be."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ROOT / "functions"
sys.path.insert(0, str(ROOT / "scripts"))

from deployables import folders, imported, packages  # noqa: E402

# What every deployment has, and what its packages may import of this repository.
PIPELINE = {
    "contract": {"contract"},
    "runtime": {"contract", "runtime"},
    "bridge": {"bridge", "contract", "runtime"},
    "processor": {"contract", "processor", "runtime"},
}
CAPABILITIES = sorted(
    path.parent.name for path in (ROOT / "terraform").glob("*/main.tf")
    if path.parent.name != "pipeline"
)  # fmt: skip
MAX_LINES, MAX_FUNCTION_LINES = 500, 60


def pieces(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def sources(*roots: str, ending: str = ".py") -> list[Path]:
    return [path for root in roots for path in sorted((ROOT / root).rglob(f"*{ending}"))
            if ".terraform" not in path.parts]  # fmt: skip


def test_there_are_capabilities_to_know_nothing_of() -> None:
    assert {"completions", "portal"} <= {*CAPABILITIES}


@pytest.mark.parametrize(
    "folder", ["terraform/pipeline", *(f"functions/{name}" for name in PIPELINE)]
)
def test_nothing_of_the_pipeline_names_a_capability(folder: str) -> None:
    named = re.compile(rf"\b({'|'.join(CAPABILITIES)})\b", re.I)
    texts = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".tf", ".json")]
    assert texts
    found = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in texts
        if ".terraform" not in path.parts
        for match in named.finditer(path.read_text())
    }
    assert found == set()


@pytest.mark.parametrize("name", PIPELINE)
def test_the_pipelines_packages_import_each_other_in_one_direction(name: str) -> None:
    known = packages()
    used = {found for path in known[name].rglob("*.py") for found in imported(path, known)}
    assert used <= PIPELINE[name]


def test_a_default_deployment_is_two_functions() -> None:
    text = "".join(path.read_text() for path in sources("terraform/pipeline", ending=".tf"))
    assert len(re.findall(r'source\s*=\s*"\.\./modules/function"', text)) == 2


def test_a_deployable_imports_no_other_deployable_s_package_but_the_pipelines() -> None:
    known, deployable = packages(), {folder.name for folder in folders()}
    for folder in folders():
        used = {*imported(folder / "main.py", known)} & deployable
        assert used <= {folder.name, "bridge", "processor"}, folder.name


@pytest.mark.parametrize("root", ["functions", "scripts", "terraform", "environments"])
def test_no_file_is_longer_than_500_lines(root: str) -> None:
    files = [*sources(root), *sources(root, ending=".tf")]
    long = {
        str(path.relative_to(ROOT)): count
        for path in files
        if (count := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


@pytest.mark.parametrize("root", ["functions", "scripts"])
def test_no_function_is_longer_than_60_lines(root: str) -> None:
    long = {
        f"{path.relative_to(ROOT)}:{name}": lines
        for path in sources(root)
        for name, lines in pieces(path)
        if lines > MAX_FUNCTION_LINES
    }
    assert long == {}


def test_images_install_what_their_hashes_say() -> None:
    dockerfiles = list((ROOT / "functions").glob("*/Dockerfile"))
    lines = [line for path in dockerfiles for line in path.read_text().splitlines()]
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) == len(dockerfiles) >= 1
    assert all("--require-hashes -r requirements.txt" in line for line in installs)


def test_a_function_has_one_version_of_a_package_whatever_its_python() -> None:
    """Or the tests, whose Python may be older, would prove another one than is deployed."""
    pinned = re.compile(r"^([\w.-]+)==", re.M)
    for path in (ROOT / "functions").glob("*/requirements*.txt"):
        names = pinned.findall(path.read_text())
        assert len(names) == len(set(names)), path
