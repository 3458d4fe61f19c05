"""What a person does on the page, and sees there."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect


def file(name: str, data: bytes, kind: str = "image/jpeg") -> Any:
    return {"name": name, "mimeType": kind, "buffer": data}


def choose(page: Page, *files: Any) -> None:
    page.set_input_files("#input", list(files))


def row(page: Page, name: str) -> Locator:
    return page.locator("li").filter(has=page.get_by_text(name, exact=True))


def has_state(page: Page, name: str, state: str, seconds: float = 45) -> None:
    expect(row(page, name)).to_have_attribute("data-state", state, timeout=seconds * 1000)
