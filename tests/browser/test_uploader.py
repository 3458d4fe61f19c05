"""uploader.js in a page of another origin: tokens that expire, and what a network does to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from tests.browser.conftest import Open
from tests.browser.portal import Fake, served

MIB = 2**20
PAGE = "<!doctype html><title>An application</title><body></body>"


@pytest.fixture
def elsewhere(fake: Fake) -> Iterator[str]:
    """A page of another origin, whose server also hands out the portal's tokens."""

    async def page(request: Any) -> HTMLResponse:
        return HTMLResponse(PAGE)

    async def token(request: Any) -> PlainTextResponse:
        return PlainTextResponse(fake.token or "")

    with served(Starlette(routes=[Route("/", page), Route("/token", token)])) as url:
        yield url


@pytest.fixture
def application(fake: Fake, elsewhere: str, opened: Open) -> Page:
    """That page, with an uploader in `uploader`; its tokens are kept until they are refused."""
    page = opened(elsewhere)
    page.evaluate(
        """async (base) => {
          const { createUploader } = await import(base + "/uploader.js");
          let token;
          window.renewals = 0;
          const getToken = async (renew) => {
            if (renew) renewals += 1;
            if (renew || !token) token = await (await fetch("/token")).text();
            return token;
          };
          window.uploader = createUploader({ base, getToken, chunkBytes: 4 * 2 ** 20 });
          window.states = {};
          uploader.addEventListener("change", ({ detail: item }) => {
            const seen = (states[item?.name] ??= []);
            if (item && seen.at(-1) !== item.state) seen.push(item.state);
          });
          window.send = (name, size, type = "application/octet-stream") => {
            uploader.add([new File([new Uint8Array(size)], name, { type })]);
            uploader.start();
          };
        }""",
        fake.url,
    )
    return page


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def ended(page: Page, name: str, state: str = "done") -> None:
    page.wait_for_function(
        "([name, state]) => uploader.items.some((one) => one.name === name && one.state === state)",
        arg=[name, state],
    )


def test_another_origin_goes_on_when_its_tokens_expire(fake: Fake, application: Page) -> None:
    fake.token, fake.hold = "first", True
    application.evaluate("send('a.bin', 1000)")
    ended(application, "a.bin", "waiting")
    fake.token = "second"  # refused: the next session, and the next stream
    application.evaluate("send('b.bin', 9 * 2 ** 20)")
    ended(application, "b.bin", "waiting")
    fake.hold = False
    ended(application, "a.bin")
    ended(application, "b.bin")
    assert application.evaluate("renewals") >= 1
    assert len(fake.files) == 2


def test_who_is_signed_out_goes_on_after_signing_in(fake: Fake, application: Page) -> None:
    fake.token = "first"
    application.evaluate("send('a.bin', 1000)")
    ended(application, "a.bin")
    application.route("**/token", lambda route: route.fulfill(body="stale"))
    fake.token = "second"
    application.evaluate("send('b.bin', 1000)")
    ended(application, "b.bin", "paused")
    assert application.evaluate("uploader.items[1].error.reason") == "signed_out"
    application.unroute("**/token")
    application.evaluate("uploader.resume()")
    ended(application, "b.bin")


@pytest.mark.parametrize("early", [False, True], ids=["at the end", "at the start"])
def test_a_lost_answer_makes_no_second_file(fake: Fake, application: Page, early: bool) -> None:
    fake.forget_answer, fake.early = True, early
    application.evaluate("send('a.bin', 5 * 2 ** 20)")
    ended(application, "a.bin")
    assert len(fake.files) == 1
    assert len(fake.keys) == 1
    assert (
        fake.calls.count("POST /files") == 2
    )  # whose answer, or whose session's 412, says: there already


def test_while_the_portal_is_away_nothing_is_given_up(fake: Fake, application: Page) -> None:
    fake.down = True
    application.evaluate("send('a.bin', 1000)")
    ended(application, "a.bin", "offline")
    fake.down = False
    ended(application, "a.bin")
    fake.hold = True
    application.evaluate("send('b.bin', 1000)")
    ended(application, "b.bin", "waiting")
    fake.down = True
    before = len(fake.calls)
    until(lambda: len(fake.calls) > before + 1)  # the stream is asked for again
    fake.down = fake.hold = False
    ended(application, "b.bin")


def test_without_streams_it_asks_and_only_for_what_is_new(fake: Fake, application: Page) -> None:
    fake.no_streams = fake.hold = True
    application.evaluate("send('a.bin', 1000)")
    ended(application, "a.bin", "waiting")
    until(lambda: fake.unchanged)
    fake.hold = False
    ended(application, "a.bin")


def test_more_files_than_a_stream_carries_all_end(fake: Fake, application: Page) -> None:
    fake.hold = True
    application.clock.install()
    application.evaluate("for (let i = 0; i < 120; i++) send(`${i}.bin`, 10 + i)")
    waiting = "uploader.items.filter((one) => one.state === 'waiting').length === 120"
    ended = "uploader.items.every((one) => one.state === 'done')"
    until(lambda: application.evaluate(waiting))
    fake.hold, fake.held = False, 60  # the first are under way for long, and the rest not
    turned = "uploader.items.filter((one) => one.state === 'done').length === 60"
    until(lambda: application.clock.fast_forward(6_000) or application.evaluate(turned))
    fake.held = 0
    until(lambda: application.clock.fast_forward(6_000) or application.evaluate(ended))
    assert max(fake.watched) <= 50


def test_paused_nothing_is_sent_and_cancelled_nothing_is_kept(
    fake: Fake, application: Page
) -> None:
    fake.bytes_per_second = 2 * MIB
    application.evaluate("send('a.bin', 24 * 2 ** 20)")
    until(lambda: fake.files and len(fake.named("a.bin").data) > MIB)
    application.evaluate("uploader.pause()")
    fake.bytes_per_second = 0
    until(lambda: fake.idle())
    had = len(fake.named("a.bin").data)
    application.evaluate("uploader.resume()")
    ended(application, "a.bin")
    assert fake.named("a.bin").arrived < 24 * MIB + had
    fake.bytes_per_second = MIB
    application.evaluate("send('b.bin', 24 * 2 ** 20)")
    until(lambda: len(fake.files) == 2 and fake.named("b.bin").data)
    application.evaluate("uploader.cancel(uploader.items[1].id)")
    until(lambda: any(call.startswith("DELETE") for call in fake.calls) and fake.idle())
    assert len(fake.named("b.bin").data) < 24 * MIB
    assert application.evaluate("uploader.items.length") == 1


def test_an_empty_file_is_a_file(fake: Fake, application: Page) -> None:
    application.evaluate("send('empty.txt', 0, 'text/plain')")
    ended(application, "empty.txt")
