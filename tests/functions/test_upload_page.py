"""The page's words, beside what the functions may say."""

from __future__ import annotations

import re
from pathlib import Path

from contract.reasons import REASONS

STATIC = Path(__file__).parents[2] / "functions/upload/upload/static"


def test_the_page_has_a_sentence_for_each_reason() -> None:
    text = (STATIC / "reasons.js").read_text()
    table = re.search(r"export const REASONS = \{(.*?)\n\};", text, re.DOTALL)
    assert table
    told = re.findall(r"^  (\w+): \[", table[1], re.MULTILINE)
    assert set(REASONS) - set(told) == set()
