"""Everybody reaches the functions: access = tokens, of Firebase, then anyone.

Each is applied over the one before, so these tests run in this order, and last.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.acts import choose, file, has_state, row
from tests.browser.conftest import Open
from tests.browser.docs import application
from tests.localcloud.client.calls import call
from tests.localcloud.client.demo import photo
from tests.localcloud.client.local import SHOWCASE
from tests.portal.conftest import Portal
from tests.system.pipeline import jpeg

FIREBASE, AUDIENCE = "https://securetoken.google.com/", "shop"
ISSUER = FIREBASE + AUDIENCE
OVERRIDE = """
module "portal" {{
  access  = "{access}"
  origins = {origins}
  tokens  = {tokens}
}}

module "pipeline" {{
  uploads_origins = {origins}
}}
"""
APPLICATION = """
import {{ createUploader }} from "{upload}/uploader.js";
window.renewals = 0;
const getToken = async (renew) => {{
  if (renew) window.renewals += 1;
  if (renew || !window.token) window.token = await (await fetch("/token")).text();
  return window.token;
}};
window.uploader = createUploader({{ base: "{upload}", getToken, chunkBytes: 2 ** 20 }});
uploader.addEventListener("change", ({{ detail: {{ name, state, error }} }}) => {{
  const line = document.createElement("p");
  line.textContent = `${{name}}: ${{state}} ${{error?.detail ?? ""}}`;
  document.body.append(line);
}});
uploader.start();
document.querySelector("input").onchange = (event) => uploader.add(event.target.files);
"""


def applied(portal: Portal, access: str, origins: str = "[]", tokens: str = "{}") -> None:
    deployment = portal.pipeline.deployment
    path = deployment.checkout / f"environments/{SHOWCASE}/access_override.tf"
    path.write_text(OVERRIDE.format(access=access, origins=origins, tokens=tokens))
    deployment.make("apply", f"ENV={SHOWCASE}", "YES=1")


@pytest.fixture(scope="module")
def page_elsewhere(portal: Portal) -> Iterator[str]:
    """An application's page on another origin, whose server gives out its users' tokens."""
    script = APPLICATION.format(upload=portal.outputs["upload"])
    with application(lambda: token(portal, "user"), script, '<input type="file">') as url:
        yield url


@pytest.fixture(scope="module")
def public(portal: Portal, page_elsewhere: str) -> Portal:
    """access = tokens, for that page."""
    tokens = f'{{ audience = "{AUDIENCE}", issuer = "{ISSUER}" }}'
    applied(portal, "tokens", f'["{page_elsewhere}"]', tokens)
    return portal


def token(portal: Portal, who: str, **claims: Any) -> str:
    body = {"email": f"{who}@example.com", "audience": AUDIENCE, "issuer": ISSUER} | claims
    return str(portal.cloud.post("/oidc", body)["token"])


def bearer(portal: Portal, who: str, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(portal, who, **claims)}"}


def offer(portal: Portal, headers: dict[str, str], **more: Any) -> Any:
    url = f"{portal.outputs['upload']}/files"
    body = {"name": "tom.jpg", "size": len(jpeg(32, 32)), "contentType": "image/jpeg"} | more
    return call(portal.cloud, "POST", url, None, json=body, headers=headers)


def told(portal: Portal, file_id: str, headers: dict[str, str]) -> Any:
    url = f"{portal.outputs['status']}/files/{file_id}"
    return call(portal.cloud, "GET", url, None, headers=headers)


def test_each_sees_their_own_files_alone(public: Portal) -> None:
    ann, bob = bearer(public, "ann"), bearer(public, "bob")
    accepted = offer(public, ann).json()
    file_id = accepted["file_id"]
    sent = call(public.cloud, "PUT", accepted["upload"]["url"], None, data=jpeg(32, 32))
    assert sent.status_code == 200
    public.pipeline.settle()
    assert told(public, file_id, ann).json()["status"] == "done"
    assert told(public, file_id, bob).json() == {"file_id": file_id, "status": "waiting"}
    assert told(public, file_id, {}).status_code == 401


def test_a_token_that_is_not_for_here_is_refused(public: Portal) -> None:
    google = bearer(public, "ann", issuer="https://accounts.google.com")
    other = bearer(public, "ann", audience="other", issuer=f"{FIREBASE}other")
    ended = bearer(public, "ann", seconds=-60)
    tampered = {"Authorization": bearer(public, "ann")["Authorization"][:-8] + "AAAAAAAA"}
    for headers in ({}, google, other, ended, tampered, {"Authorization": "Bearer x.y.z"}):
        answer = offer(public, headers)
        assert answer.status_code == 401, headers
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_an_allowed_page_gets_a_session_that_lets_it_in_and_another_none(
    public: Portal, page_elsewhere: str
) -> None:
    ann = bearer(public, "ann")
    answer = offer(public, ann | {"Origin": page_elsewhere})
    assert answer.headers["Access-Control-Allow-Origin"] == page_elsewhere
    url, headers = answer.json()["upload"]["url"], {"Origin": page_elsewhere}
    sent = call(public.cloud, "PUT", url, None, data=jpeg(32, 32), headers=headers)
    assert sent.headers["Access-Control-Allow-Origin"] == page_elsewhere
    foreign = offer(public, ann | {"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert "Access-Control-Allow-Origin" not in foreign.headers


def test_a_preflight_needs_no_token(public: Portal, page_elsewhere: str) -> None:
    url = f"{public.outputs['upload']}/files"
    headers = {"Origin": page_elsewhere, "Access-Control-Request-Method": "POST"}
    answer = call(public.cloud, "OPTIONS", url, None, headers=headers)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == page_elsewhere


def test_everybody_may_call_the_two_functions_and_no_other(public: Portal) -> None:
    rows = [row for row in public.cloud.get("/bindings") if row[2] == "allUsers"]
    assert {row[1] for row in rows} == {"roles/run.invoker"}
    names = {row[0].rpartition("/")[2] for row in rows}
    assert names == {"files-showcase-upload", "files-showcase-status"}


def test_an_application_on_another_origin_with_firebase_tokens_that_expire(
    public: Portal, page_elsewhere: str, opened: Open
) -> None:
    """Straight to the functions and to Cloud Storage, as a browser reaches them on Google."""
    page = opened(page_elsewhere, **at_google(public))
    files = page.locator("input")
    files.set_input_files(file("a.jpg", jpeg()))
    expect(page.get_by_text("a.jpg: done")).to_be_visible(timeout=90_000)
    page.evaluate("expired => { window.token = expired }", token(public, "user", seconds=-60))
    files.set_input_files(file("b.bin", os.urandom(3 * 2**20), ""))
    expect(page.get_by_text("b.bin: done")).to_be_visible(timeout=90_000)
    assert page.evaluate("renewals") >= 1
    assert public.records("a.jpg") == public.records("b.bin") == ["manifests"]


def at_google(portal: Portal) -> dict[str, Any]:
    """A browser's way to the local cloud by Google's own names."""
    proxy = {"server": portal.cloud.proxy, "bypass": "127.0.0.1"}
    return {"proxy": proxy, "ignore_https_errors": True}


def test_anyone_uses_the_page_at_the_function_s_own_address(
    portal: Portal, opened: Open, tmp_path: Path
) -> None:
    """With the page's own Content-Security-Policy, and nobody's token."""
    applied(portal, "anyone")
    page = opened(portal.outputs["upload"], **at_google(portal))
    photo(tmp_path / "tower.jpg")
    choose(page, tmp_path / "tower.jpg")
    choose(page, file("cut.jpg", jpeg()[:3000]))
    has_state(page, "tower.jpg", "done", 90)
    has_state(page, "cut.jpg", "failed", 90)
    picture = row(page, "tower.jpg").locator("img.there")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [225, 300]
    refused = offer(portal, {}, owner="somebody")
    assert (refused.status_code, refused.json()["reason"]) == (400, "owner_not_yours")
