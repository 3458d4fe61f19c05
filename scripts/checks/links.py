"""Links between the repository's own pages: file and heading must be there."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

LINK = re.compile(
    r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s+(\S+)", re.M
)
OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.I)


def prose(text: str) -> str:
    """A page without its code, with the lines where they were."""
    blank = re.sub(r"^(```|~~~).*?^\1", lambda m: "\n" * m[0].count("\n"), text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]+`", "``", blank)


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """What the headings of a page can be linked by, as GitHub makes it of them."""
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text("utf-8"), flags=re.M | re.S)
    seen: dict[str, int] = {}
    made = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", text, re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        times = seen[slug] = seen.get(slug, -1) + 1
        made.add(f"{slug}-{times}" if times else slug)
    return frozenset(made)


def broken(pages: Iterable[Path], root: Path) -> list[str]:
    """One line for each link of these pages that leads nowhere."""
    found = []
    for page in pages:
        text = prose(page.read_text("utf-8"))
        for match in LINK.finditer(text):
            target = match[1] or match[2]
            if OUTSIDE.match(target):
                continue
            path, _, anchor = unquote(target).partition("#")
            base = root if path.startswith("/") else page.parent
            there = (base / path.lstrip("/")).resolve() if path else page
            where = f"{page.relative_to(root)}:{text.count(chr(10), 0, match.start()) + 1}"
            if not there.exists() or not there.is_relative_to(root):
                found.append(f"{where}: {target} does not exist")
            elif anchor and there.suffix == ".md" and anchor.lower() not in anchors(there):
                found.append(f"{where}: {target}: no such heading")
    return found
