"""The examples in the READMEs plan as they stand, and a stale table is noticed.

That none is stale is a gate: make gates GATES=tables.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.docs_permissions import BLOCKS, check_example, example

from .conftest import MakeRoot
from .plans import ROOT, Plan

PIPELINE = "terraform/pipeline"
READMES = sorted(path.relative_to(ROOT) for path in (ROOT / "terraform").rglob("README.md"))
EXAMPLES = {
    f"{readme.parent.name}-{number}": (readme.parent, text)
    for readme in READMES
    for number, text in enumerate(
        re.findall(r"```hcl\n(.*?)```", (ROOT / readme).read_text("utf-8"), re.S), start=1
    )
}

# What is written into an environment's call.
CALL = """module "pipeline" {{
  source        = "../terraform/pipeline"
  project_id    = "demo-project"
  environment   = "dev"
  zips          = "../build"
{}}}
"""
SETTINGS = {
    f"{name}-settings-{number}": CALL.format(settings)
    for name, page in (("front", "README.md"), ("environments", "environments/README.md"))
    for number, settings in enumerate(
        re.findall(r"```hcl\n(  .*?)```", (ROOT / page).read_text("utf-8"), re.S), start=1
    )
}


def test_every_module_has_an_example() -> None:
    modules = {path.parent.relative_to(ROOT) for path in (ROOT / "terraform").rglob("variables.tf")}
    assert {folder for folder, _ in EXAMPLES.values()} == modules


RELEASED = re.compile(r"git::https://[^/]+/[^/]+/[^/]+//")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """This code in a git repository, tagged as a release, as Terraform fetches it."""
    folder = tmp_path_factory.mktemp("repository")
    ignore = shutil.ignore_patterns(".terraform*", "*.tfvars.json", "__pycache__")
    for part in ("terraform", "functions"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignore)
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "A release"],
        ["tag", "v1.0.0"],
    ):
        subprocess.run(["git", "-C", folder, *words], check=True)
    return f"git::file://{folder}//"


@pytest.fixture(scope="module")
def planned(root: MakeRoot, repository: str) -> Plan:
    """All examples, each a module of one configuration."""
    files = {
        f"../{name}/main.tf": RELEASED.sub(repository, text) for name, (_, text) in EXAMPLES.items()
    }
    files |= {f"../{name}/main.tf": text for name, text in SETTINGS.items()}
    calls = (f'module "{name}" {{\n  source = "../{name}"\n}}\n' for name in EXAMPLES | SETTINGS)
    told = {}
    for block in BLOCKS:
        files[f"../{block}-1/main.tf"] = example(block)
        told[f"{block}.tf"] = f'output "{block}" {{\n  value = module.{block}-1.grants\n}}\n'
    made = root("examples", files={"main.tf": "".join(calls)} | files | told)
    shutil.copytree(made.folder.parent / "build", made.folder / "zips")
    return made.plan()


def test_both_pages_show_settings() -> None:
    assert list(SETTINGS) == ["front-settings-1", "front-settings-2", "environments-settings-1"]


@pytest.mark.parametrize("name", EXAMPLES | SETTINGS)
def test_an_example_plans_as_it_stands(planned: Plan, name: str) -> None:
    # modules/access makes no resource.
    made = any(address.startswith(f"module.{name}.module.") for address in planned.resources)
    assert made != (name == "access-1")


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_s_page_has_the_table_of_what_its_example_grants(planned: Plan, block: str) -> None:
    check_example(block, planned.outputs[block])


def test_a_stale_table_is_noticed(tmp_path: Path) -> None:
    for name in (
        "scripts/docs_tables.py",
        "terraform/pipeline/README.md",
        "terraform/pipeline/outputs.tf",
    ):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((ROOT / name).read_text("utf-8"), "utf-8")
    variables = (ROOT / f"{PIPELINE}/variables.tf").read_text("utf-8")
    (tmp_path / f"{PIPELINE}/variables.tf").write_text(
        variables.replace('"us-central1"', '"europe-west1"')
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "scripts/docs_tables.py", "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "stale: terraform/pipeline/README.md" in done.stdout


def test_the_tests_that_the_tutorials_page_names_are_there() -> None:
    page = (ROOT / "docs/from-the-tutorial.md").read_text("utf-8")
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", page)
    assert len(named) >= 9
    gone = [f"{path}::{name}" for path, name in named
            if f"def {name}(" not in (ROOT / path).read_text("utf-8")]  # fmt: skip
    assert gone == []
