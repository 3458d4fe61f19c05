"""The examples in the READMEs plan as they stand, and their tables are those of the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import MakeRoot
from .plans import ROOT

READMES = sorted(path.relative_to(ROOT) for path in (ROOT / "terraform").rglob("README.md"))
EXAMPLES = [
    pytest.param(readme, text, id=f"{readme.parent.name}-{number}")
    for readme in READMES
    for number, text in enumerate(
        re.findall(r"```hcl\n(.*?)```", (ROOT / readme).read_text("utf-8"), re.S), start=1
    )
]


def test_every_module_has_an_example() -> None:
    modules = {path.parent.relative_to(ROOT) for path in (ROOT / "terraform").rglob("variables.tf")}
    shown = {
        parameter.values[0].parent
        for parameter in EXAMPLES
        if isinstance(parameter.values[0], Path)
    }
    assert shown == modules


RELEASED = re.compile(r"git::https://[^/]+/[^/]+/[^/]+//")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """This code in a git repository, tagged as a release, as Terraform fetches it."""
    folder = tmp_path_factory.mktemp("repository")
    ignore = shutil.ignore_patterns(".terraform*", "*.tfvars.json")
    shutil.copytree(ROOT / "terraform", folder / "terraform", ignore=ignore)
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "A release"],
        ["tag", "v1.0.0"],
    ):
        subprocess.run(["git", "-C", folder, *words], check=True)
    return f"git::file://{folder}//"


@pytest.mark.parametrize(("readme", "example"), EXAMPLES)
def test_an_example_plans_as_it_stands(
    root: MakeRoot, repository: str, readme: Path, example: str
) -> None:
    made = root("example", example=RELEASED.sub(repository, example))
    if RELEASED.search(example):
        shutil.copytree(made.folder.parent / "build", made.folder / "zips")
    plan = made.plan()
    assert any(address.startswith("module.") for address in plan.resources)


def test_tables_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/docs_tables.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_a_stale_table_is_noticed(tmp_path: Path) -> None:
    for name in ("scripts/docs_tables.py", "terraform/README.md", "terraform/outputs.tf"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_text((ROOT / name).read_text("utf-8"), "utf-8")
    variables = (ROOT / "terraform/variables.tf").read_text("utf-8")
    (tmp_path / "terraform/variables.tf").write_text(
        variables.replace('"us-central1"', '"europe-west1"')
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "scripts/docs_tables.py", "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "stale: terraform/README.md" in done.stdout
