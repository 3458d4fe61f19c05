"""What a person does on the page of the applied portal, in a browser."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.acts import choose, file, has_state, row
from tests.browser.conftest import Open
from tests.corpus.videos import turned, video
from tests.localcloud.client.demo import broken, photo
from tests.localcloud.client.local import SHOWCASE
from tests.portal.conftest import LONG, PROCESSOR, STATUS, Portal
from tests.system.pipeline import jpeg, pdf

MIB = 2**20


class Network:
    """The browser's, as slow as it is told to be, or away."""

    def __init__(self, page: Page) -> None:
        self.session = page.context.new_cdp_session(page)
        self.set(2 * MIB)

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


def test_three_files_are_chosen_and_all_end(portal: Portal, opened: Open, tmp_path: Path) -> None:
    good, bad, large = (tmp_path / name for name in ("tower.jpg", "cut-short.jpg", "large.bin"))
    photo(good)
    broken(bad, good)
    large.write_bytes(os.urandom(MIB) * 60)
    page = opened(portal.base)
    choose(page, good, bad, large)
    for name, state in (("tower.jpg", "done"), ("cut-short.jpg", "failed"), ("large.bin", "done")):
        has_state(page, name, state, 90)
        assert portal.records(name) == ["manifests" if state == "done" else "failures"]
    picture = row(page, "tower.jpg").locator("img.there")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [225, 300]
    expect(row(page, "tower.jpg")).to_contain_text("3,000 × 4,000")
    expect(row(page, "cut-short.jpg")).to_contain_text("The picture ends too early")
    with page.context.expect_page() as tab:
        row(page, "tower.jpg").get_by_role("link", name=re.compile("Thumbnail")).click()
    assert tab.value.evaluate("document.contentType") == "image/jpeg"


def test_a_phones_video_is_shown_upright_and_plays(portal: Portal, opened: Open) -> None:
    page = opened(portal.base)
    data = turned(
        video(lambda n: Image.effect_noise((320, 192), 80).convert("RGB"), 36, sound=True), 90
    )
    choose(page, file("IMG_0412.mp4", data, "video/mp4"))
    has_state(page, "IMG_0412.mp4", "done", 90)
    expect(row(page, "IMG_0412.mp4")).to_contain_text("192 × 320")
    expect(row(page, "IMG_0412.mp4").locator("img.there")).to_be_visible()
    player = row(page, "IMG_0412.mp4").locator("video")
    assert player.get_attribute("poster")
    player.evaluate("video => { video.muted = true; return video.play() }")
    page.wait_for_function("video => video.currentTime > 0.2", arg=player.element_handle())
    assert player.evaluate("video => [video.videoWidth, video.videoHeight]") == [192, 320]


def test_a_pdf_waits_on_the_page_until_somebody_approves_it(portal: Portal, opened: Open) -> None:
    page = opened(portal.base)
    choose(page, file("contract.pdf", pdf(), "application/pdf"), file("plan.jpg", jpeg()))
    has_state(page, "plan.jpg", "done")
    expect(row(page, "plan.jpg")).to_contain_text("Published")
    has_state(page, "contract.pdf", "approval")
    assert portal.records("contract.pdf") == ["manifests"]
    expect(row(page, "contract.pdf").get_by_role("link")).to_have_count(0)
    (name,) = [one for one in portal.stored() if one.endswith("/contract.pdf")]
    approve = ("-m", "scripts.ops", "-e", SHOWCASE, "approve")
    deployment = portal.pipeline.deployment
    deployment.run(sys.executable, *approve, f"gs://{portal.outputs_of('uploads')}/{name}")
    has_state(page, "contract.pdf", "done", 60)
    expect(row(page, "contract.pdf")).to_contain_text("Published")
    expect(row(page, "contract.pdf").get_by_role("link")).not_to_have_count(0)


def test_a_connection_that_breaks_in_the_middle_goes_on(
    portal: Portal, opened: Open, big: Path
) -> None:
    page = opened(portal.base)
    network = Network(page)
    choose(page, big)
    under_way(page, 0.3)
    network.set(-1, offline=True)
    has_state(page, "recording.bin", "offline")
    network.set(-1)
    has_state(page, "recording.bin", "done", 90)
    assert portal.records("recording.bin") == ["manifests"]


def test_a_reload_in_the_middle_goes_on(portal: Portal, opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "again.bin"
    path.write_bytes(os.urandom(12 * MIB))
    page = opened(portal.base)
    Network(page)
    choose(page, path)
    under_way(page, 0.3)
    page.reload()
    has_state(page, "again.bin", "detached")
    choose(page, path)
    has_state(page, "again.bin", "done", 90)
    assert portal.records("again.bin") == ["manifests"]


def test_the_processor_away_for_an_hour_is_waited_for_on_the_page(
    portal: Portal, opened: Open
) -> None:
    portal.cloud.post("/run/down", {"service": PROCESSOR})
    page = opened(portal.base)
    choose(page, file("patient.jpg", jpeg()))
    has_state(page, "patient.jpg", "waiting")
    portal.pass_time(3600)
    with page.expect_request(re.compile("/events")):  # again, since the stream is gone
        portal.cloud.post("/run/kill", {"service": STATUS})
    has_state(page, "patient.jpg", "waiting")
    portal.cloud.post("/run/up", {"service": PROCESSOR})
    portal.pass_time(LONG)
    has_state(page, "patient.jpg", "done")
    assert portal.records("patient.jpg") == ["manifests"]
