"""An environment of an earlier layout is taken over: whatever held state then is there still.

The list is what the commit e93e14b of 21 November 2026 had applied as dev.
"""

from __future__ import annotations

import re

import pytest

from .conftest import MakeRoot
from .plans import ROOT

EARLIER = (ROOT / "tests/terraform/applied_2026_11_21.txt").read_text("utf-8").split()


def moved() -> dict[str, str]:
    """Of every `moved` block: where it was, and where it is, as seen within its module."""
    blocks = re.compile(r"^moved \{\n +from += (\S+)\n +to += +(\S+)\n\}", re.M)
    texts = (path.read_text("utf-8") for path in (ROOT / "terraform").rglob("*.tf"))
    return {before: now for text in texts for before, now in blocks.findall(text)}


@pytest.fixture(scope="module")
def planned(root: MakeRoot) -> set[str]:
    return set(root("environments/dev", project_id="demo-project").plan().resources)


@pytest.mark.parametrize("address", EARLIER)
def test_what_an_earlier_layout_made_is_kept(planned: set[str], address: str) -> None:
    of_its_module = re.sub(r'module\.\w+(\["\w+"\])?\.', "", address)
    moves = moved()
    assert address.removesuffix(of_its_module) + moves.get(of_its_module, of_its_module) in planned
    assert (address in planned) != (of_its_module in moves)
