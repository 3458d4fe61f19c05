"""The page of environments/showcase, in a browser: the portal, the pipeline and their buckets as
Terraform applies them, behind `make portal`.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.acts import choose, has_state, row
from tests.browser.conftest import Open
from tests.browser.docs import application
from tests.localcloud.client import LocalCloud
from tests.localcloud.client.demo import broken, photo
from tests.localcloud.client.deployment import Deployment
from tests.localcloud.client.local import SHOWCASE, capabilities, start_front
from tests.system.pipeline import Pipeline, jpeg

MIB = 2**20


# In place of the showcase's own: users with tokens, on a page of another origin.
TOKENS = """  folders = {{ uploads = {{}} }}
  access  = "tokens"
  tokens  = {{ issuer = "https://accounts.google.com", audience = "{audience}" }}
  origins = ["{origin}"]
}}
"""
AUDIENCE = "an-application"
APPLICATION = """
import { createUploader } from "%(upload)s/uploader.js";
window.renewals = 0;
const getToken = async (renew) => {
  if (renew) window.renewals += 1;
  if (renew || !window.token) window.token = await (await fetch("/token")).text();
  return window.token;
};
window.uploader = createUploader({ base: "%(upload)s", getToken, chunkBytes: 2 ** 20 });
uploader.addEventListener("change", ({ detail: { name, state, error } }) => {
  const line = document.createElement("p");
  line.textContent = `${name}: ${state} ${error?.detail ?? ""}`;
  document.body.append(line);
});
uploader.start();
document.querySelector("input").onchange = (event) => uploader.add(event.target.files);
"""


class Showcase:
    def __init__(self, deployment: Deployment, address: str) -> None:
        self.deployment, self.address = deployment, address
        self.pipeline = Pipeline.of(deployment, SHOWCASE)
        self.cloud = deployment.cloud

    def records(self, name: str) -> list[str]:
        """Of which kinds the records of the files of that name are."""
        records = self.pipeline.listing("manifests/") + self.pipeline.listing("failures/")
        return [record.split("/")[0] for record in records if f"/{name}/" in record]

    def token(self, seconds: float = 3600) -> str:
        """A user's, for the application."""
        who = {"email": "user@example.com", "audience": AUDIENCE, "seconds": seconds}
        return str(self.cloud.post("/oidc", who)["token"])

    def with_tokens(self, origin: str) -> str:
        """Applied again with access = "tokens": the address of upload."""
        main = self.deployment.checkout / f"environments/{SHOWCASE}/main.tf"
        before, call, portal = main.read_text().partition('module "portal" {')
        own, folders, after = portal.partition("  folders = {\n    uploads = {}\n  }\n}\n")
        assert folders, f"{main} does not say what this replaces"
        settings = TOKENS.format(audience=AUDIENCE, origin=origin)
        before = before.replace(
            "  force_destroy ", f'  uploads_origins = ["{origin}"]\n  force_destroy ', 1
        )
        main.write_text(before + call + own + settings + after)
        self.deployment.make("apply", f"ENV={SHOWCASE}", "YES=1")
        return str(self.deployment.outputs(SHOWCASE)["portal"]["upload"])


@pytest.fixture(scope="module")
def showcase() -> Iterator[Showcase]:
    with LocalCloud.start() as cloud:
        deployment = Deployment.prepare(cloud)
        deployment.make("bootstrap", "YES=1", f"CAPABILITIES={' '.join(capabilities())}")
        deployment.make("apply", f"ENV={SHOWCASE}", "YES=1")
        pid, address = start_front(deployment, "portal")
        yield Showcase(deployment, address)
        os.kill(pid, signal.SIGTERM)


class Network:
    """The browser's, as slow as it is told to be, or away."""

    def __init__(self, page: Page) -> None:
        self.session = page.context.new_cdp_session(page)
        self.set(4 * MIB)

    def set(self, upload: float, offline: bool = False) -> None:
        conditions = {"offline": offline, "latency": 0, "downloadThroughput": -1}
        conditions["uploadThroughput"] = upload
        self.session.send("Network.emulateNetworkConditions", conditions)


def under_way(page: Page, share: float) -> None:
    """Waits until so much of the recording is sent."""
    page.wait_for_function(
        "share => document.querySelector('[data-state=uploading] progress')?.value > share",
        arg=share,
    )


def test_three_files_are_chosen_and_all_end(
    showcase: Showcase, opened: Open, tmp_path: Path
) -> None:
    good, bad, large = (tmp_path / name for name in ("tower.jpg", "cut-short.jpg", "large.bin"))
    photo(good)
    broken(bad, good)
    large.write_bytes(os.urandom(MIB) * 60)
    page = opened(showcase.address)
    choose(page, good, bad, large)
    for name, state in (("tower.jpg", "done"), ("cut-short.jpg", "failed"), ("large.bin", "done")):
        has_state(page, name, state, 90)
        assert showcase.records(name) == ["manifests" if state == "done" else "failures"]
    picture = row(page, "tower.jpg").locator("img.there")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [225, 300]
    expect(row(page, "tower.jpg")).to_contain_text("3,000 × 4,000")
    expect(row(page, "cut-short.jpg")).to_contain_text("The picture ends too early")
    with page.context.expect_page() as tab:
        row(page, "tower.jpg").get_by_role("link", name=re.compile("Thumbnail")).click()
    assert tab.value.evaluate("document.contentType") == "image/jpeg"


def test_a_connection_that_breaks_in_the_middle_goes_on(
    showcase: Showcase, opened: Open, big: Path
) -> None:
    page = opened(showcase.address)
    network = Network(page)
    choose(page, big)
    under_way(page, 0.3)
    network.set(-1, offline=True)
    has_state(page, "recording.bin", "offline")
    network.set(-1)
    has_state(page, "recording.bin", "done", 90)
    assert showcase.records("recording.bin") == ["manifests"]


def test_a_reload_in_the_middle_goes_on(showcase: Showcase, opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "again.bin"
    path.write_bytes(os.urandom(24 * MIB))
    page = opened(showcase.address)
    Network(page)
    choose(page, path)
    under_way(page, 0.3)
    page.reload()
    has_state(page, "again.bin", "detached")
    choose(page, path)
    has_state(page, "again.bin", "done", 90)
    assert showcase.records("again.bin") == ["manifests"]


def test_another_origin_with_tokens_that_expire(showcase: Showcase, opened: Open) -> None:
    """Straight to the functions and to Cloud Storage, as a browser reaches them on Google."""
    script = APPLICATION % {"upload": showcase.pipeline.outputs["portal"]["upload"]}
    with application(showcase.token, script, '<input type="file">') as url:
        showcase.with_tokens(url)
        proxy = {"server": showcase.cloud.proxy, "bypass": "127.0.0.1"}
        page = opened(url, proxy=proxy, ignore_https_errors=True)
        files = page.locator("input")
        files.set_input_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg()})
        expect(page.get_by_text("a.jpg: done")).to_be_visible(timeout=90_000)
        page.evaluate("expired => { window.token = expired }", showcase.token(seconds=-60))
        content = os.urandom(3 * MIB)
        files.set_input_files({"name": "b.bin", "mimeType": "", "buffer": content})
        expect(page.get_by_text("b.bin: done")).to_be_visible(timeout=90_000)
        assert page.evaluate("renewals") >= 1
    assert showcase.records("a.jpg") == showcase.records("b.bin") == ["manifests"]
