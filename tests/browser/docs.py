"""What docs/portal.md shows of uploader.js, served as an application of another origin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.browser.portal import Fake, served
from tests.system.pipeline import jpeg

DOCS = Path(__file__).parents[2] / "docs/portal.md"
PAGE = '<!doctype html><title>An application</title><body>%s<script type="module" src="app.js"></script>'  # noqa: E501


def block(heading: str) -> str:
    """The code under a heading of the page."""
    section = DOCS.read_text().partition(f"# {heading}\n")[2]
    code = re.search(r"```jsx?\n(.*?)```", section, re.DOTALL)
    assert code, heading
    return code[1]


@contextmanager
def application(token_now: Callable[[], str | None], script: str, body: str) -> Iterator[str]:
    """An application whose server hands out tokens for the portal."""

    async def page(request: Any) -> Response:
        return HTMLResponse(PAGE % body)

    async def app(request: Any) -> Response:
        return PlainTextResponse(script, media_type="text/javascript")

    async def token(request: Any) -> Response:
        return PlainTextResponse(token_now() or "")

    routes = [Route("/", page), Route("/app.js", app), Route("/token", token)]
    with served(Starlette(routes=routes)) as url:
        yield url


def sends_with_tokens_that_expire(
    fake: Fake, page: Page, shown: str, choose: Callable[[str, bytes], None]
) -> None:
    """Two pictures, and another token before the second; `shown` is seen once they are done."""
    for token, name in (("first", "a.jpg"), ("second", "b.jpg")):
        fake.token = token
        choose(name, jpeg())
        expect(page.get_by_text(shown.format(name)).first).to_be_visible(timeout=60_000)
    assert len(fake.files) == 4, "two uploads, and the thumbnail of each"


def by_input(page: Page) -> Callable[[str, bytes], None]:
    """Chooses a file in the application's own input."""
    files = page.locator("input[type=file]")
    return lambda name, data: files.set_input_files(
        {"name": name, "mimeType": "image/jpeg", "buffer": data}
    )
