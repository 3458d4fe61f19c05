"""One browser for a file of tests; each has a profile, and a portal, of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browser import launched
from tests.browser.portal import Fake, portal

Open = Callable[..., Page]
expect.set_options(timeout=30_000)  # of a machine with much else to do


@pytest.fixture(scope="module")  # its event loop is not left to other files
def browser() -> Iterator[Browser]:
    try:
        with launched() as browser:
            yield browser
    except LookupError as error:
        pytest.skip(f"NOT RUN, and so not proved: {error}")


@pytest.fixture
def fake() -> Iterator[Fake]:
    with portal() as fake:
        yield fake


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a page in a new profile, with its settings; no page may throw or break its policy."""
    faults: list[str] = []
    contexts = []

    def open_page(url: str, *, handles: bool = False, **settings: Any) -> Page:
        context = browser.new_context(**settings)
        context.set_default_timeout(60_000)
        contexts.append(context)
        if not handles:  # a native dialogue, which nothing here can answer
            context.add_init_script("delete window.showOpenFilePicker")
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: _note(line.text, faults))
        # Intercepted from the start: asked for later, it can come after the key that opens one.
        page.on("filechooser", lambda chooser: None)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def _note(line: str, faults: list[str]) -> None:
    if "Content Security Policy" in line or "Trusted" in line:
        faults.append(line)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """24 MiB, chosen from disk, so that it is the same file when it is chosen again."""
    path = tmp_path / "recording.bin"
    path.write_bytes(bytes(24 * 2**20))
    return path
