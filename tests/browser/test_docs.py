"""The plain JavaScript of docs/portal.md; React and Uppy are in frameworks/."""

from __future__ import annotations

from tests.browser.conftest import Open
from tests.browser.docs import application, block, by_input, sends_with_tokens_that_expire
from tests.browser.portal import Fake

SHOW = """
console.log = (name, state) => {
  document.body.append(`${name}: ${state}`, document.createElement("br"));
};
"""


def test_plain_javascript_as_the_page_shows_it(fake: Fake, opened: Open) -> None:
    code = block("In a page of your own").replace("https://upload-abc.a.run.app", fake.url)
    with application(lambda: fake.token, code + SHOW, '<input type="file">') as url:
        page = opened(url)
        sends_with_tokens_that_expire(fake, page, "{}: done", by_input(page))
