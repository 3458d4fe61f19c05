"""The page in a real browser: what a person does with it, and what it says."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.acts import choose, file, has_state, row
from tests.browser.conftest import Open
from tests.browser.portal import Fake
from tests.system.pipeline import jpeg

MIB = 2**20
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
SCHEMES = ("light", "dark")


def arrived(fake: Fake, least: int) -> None:
    """Waits, in the test's own thread, until so much of the recording has come."""
    deadline = time.monotonic() + 60
    while not fake.files or len(fake.named("recording.bin").data) < least:
        assert time.monotonic() < deadline, "it did not arrive"
        time.sleep(0.02)


def test_each_file_ends_with_what_became_of_it(fake: Fake, opened: Open) -> None:
    fake.hold = True
    page = opened(fake.url)
    choose(
        page,
        file("harbour.jpg", jpeg(800, 600)),
        file("cut.jpg", jpeg(800, 600)[:3000]),
        file("notes.txt", b"one\ntwo\n", "text/plain"),
    )
    has_state(page, "notes.txt", "waiting")
    expect(page.locator("#live")).to_have_text("3 files added")
    fake.hold = False
    for name, state in (("harbour.jpg", "done"), ("cut.jpg", "failed"), ("notes.txt", "done")):
        has_state(page, name, state)
    expect(row(page, "harbour.jpg").locator("img.there")).to_be_visible()
    expect(row(page, "harbour.jpg")).to_contain_text("800 × 600")
    expect(row(page, "notes.txt")).to_contain_text("2 lines")
    expect(row(page, "cut.jpg")).to_contain_text("a part of it is missing. Get a complete copy")
    expect(page.locator("#tally")).to_have_text("2 of 3 done · 1 failed")
    expect(page.locator("#live")).to_contain_text("Done: 2 files; Failed: 1 file")
    output = row(page, "harbour.jpg").get_by_role("link", name=re.compile("Thumbnail"))
    with page.context.expect_page() as tab:
        output.click()
    assert "/thumbnail" in tab.value.url


def test_what_has_to_be_approved_says_what_that_means(fake: Fake, opened: Open) -> None:
    waiting = {"status": "processing", "approval": "waiting", "facts": {}, "outputs": []}
    refused = {"status": "failed", "facts": {}, "outputs": []}
    ends: dict[str, dict[str, Any]] = {
        "agenda.jpg": {"approval": "published"},
        "salaries.jpg": refused | {"approval": "rejected", "reason": "not_approved"},
        "draft.jpg": refused
        | {"approval": "expired", "reason": "approval_expired", "retryable": True},
    }
    fake.approval = dict.fromkeys(ends, waiting)
    page = opened(fake.url)
    choose(page, *(file(name, jpeg()) for name in ends))
    for name in ends:
        has_state(page, name, "approval")
        expect(row(page, name)).to_contain_text("Waiting for approval")
        expect(row(page, name).get_by_text("Somebody looks at it")).to_be_visible()
    assert not _axe(page)
    fake.approval = ends
    for name, state, word, more in (
        ("agenda.jpg", "done", "Published", "Thumbnail"),
        ("salaries.jpg", "failed", "Not approved", "will not be published"),
        ("draft.jpg", "failed", "Not approved in time", "somebody is asked anew"),
    ):
        has_state(page, name, state)
        expect(row(page, name).locator(".word")).to_have_text(word)
        expect(row(page, name)).to_contain_text(more)
        again = row(page, name).get_by_role("button", name="Try again")
        expect(again).to_have_count(1 if name == "draft.jpg" else 0)
    expect(page.locator("#live")).to_have_text(
        "Published: 1 file; Not approved: 1 file; Not approved in time: 1 file"
    )


def test_a_lost_connection_goes_on_where_it_broke(fake: Fake, opened: Open, big: Path) -> None:
    fake.break_after = 5 * MIB
    page = opened(fake.url)
    choose(page, big)
    has_state(page, "recording.bin", "offline")
    expect(row(page, "recording.bin")).to_contain_text("Connection lost, trying again")
    fake.down = False
    has_state(page, "recording.bin", "done")
    kept = fake.named("recording.bin")
    assert kept.arrived == kept.size, "no byte was sent twice"


def test_a_reload_goes_on_when_the_file_is_chosen_again(
    fake: Fake, opened: Open, big: Path
) -> None:
    fake.bytes_per_second = 3 * MIB
    page = opened(fake.url)
    choose(page, big)
    arrived(fake, 4 * MIB)
    page.reload()
    has_state(page, "recording.bin", "detached")
    expect(row(page, "recording.bin")).to_contain_text("Choose the same file again")
    with page.expect_file_chooser() as chooser:
        row(page, "recording.bin").get_by_role("button", name="Choose again").click()
    fake.bytes_per_second = 0
    chooser.value.set_files(big)
    has_state(page, "recording.bin", "done")
    kept = fake.named("recording.bin")
    assert len(fake.files) == 1
    assert len(kept.data) == kept.size
    assert kept.arrived < kept.size + 4 * MIB, "what had arrived was not sent again"
    expect(page.locator("li")).to_have_count(1)


# A file of the browser's own file system has a handle that needs no dialogue.
HANDLES = """
window.showOpenFilePicker = async () => {
  const root = await navigator.storage.getDirectory();
  const handle = await root.getFileHandle("recording.bin", { create: true });
  if (!(await handle.getFile()).size) {
    const file = await handle.createWritable();
    await file.write(new Uint8Array(24 * 2 ** 20));
    await file.close();
  }
  return [handle];
};
// Such handles ask nobody, and do not know the question.
FileSystemHandle.prototype.queryPermission ??= async () => "granted";
FileSystemHandle.prototype.requestPermission ??= async () => "granted";
"""


def test_a_file_with_a_handle_goes_on_after_a_reload_without_being_chosen(
    fake: Fake, opened: Open
) -> None:
    fake.bytes_per_second = 3 * MIB
    page = opened(fake.url, handles=True)
    page.add_init_script(HANDLES)
    page.reload()
    page.get_by_role("button", name="Choose files").click()
    arrived(fake, 4 * MIB)
    page.reload()
    fake.bytes_per_second = 0
    has_state(page, "recording.bin", "done")
    assert len(fake.files) == 1


def test_finished_files_outlive_a_reload_until_they_are_cleared(fake: Fake, opened: Open) -> None:
    page = opened(fake.url)
    choose(page, file("harbour.jpg", jpeg()))
    has_state(page, "harbour.jpg", "done")
    page.reload()
    has_state(page, "harbour.jpg", "done")
    expect(row(page, "harbour.jpg").locator("img.there")).to_be_visible()
    page.get_by_role("button", name="Clear done").click()
    expect(page.locator("li")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("button", name="Choose files")).to_be_visible()
    expect(page.locator("li")).to_have_count(0)


def test_the_keyboard_is_enough(fake: Fake, opened: Open, big: Path) -> None:
    fake.bytes_per_second = MIB
    page = opened(fake.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose files")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(big)
    has_state(page, "recording.bin", "uploading")
    pause = page.get_by_role("button", name="Pause recording.bin")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Pause all")).to_be_focused()
    page.keyboard.press("Tab")
    expect(pause).to_be_focused()
    page.keyboard.press("Space")
    has_state(page, "recording.bin", "paused")
    resume = page.get_by_role("button", name="Resume recording.bin")
    expect(resume).to_be_focused()
    fake.bytes_per_second = 0
    page.keyboard.press("Enter")
    has_state(page, "recording.bin", "done")
    remove = page.get_by_role("button", name="Remove recording.bin")
    expect(remove).to_be_focused()  # the one that was pressed last is gone
    page.keyboard.press("Enter")
    expect(page.locator("li")).to_have_count(0)
    expect(page.get_by_role("button", name="Choose files")).to_be_focused()


def test_a_screen_reader_hears_what_happens(fake: Fake, opened: Open) -> None:
    fake.hold = True
    page = opened(fake.url)
    live = page.get_by_role("status")
    choose(page, file("cut.jpg", jpeg()[:3000]))
    expect(live).to_have_text("1 file added")
    fake.hold = False
    expect(live).to_have_text(re.compile(r"^cut\.jpg: Failed\. The picture ends too early"))
    expect(page.get_by_role("list")).to_be_visible()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("settings", [{}, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_on_the_light_page_and_the_dark_one(
    fake: Fake, opened: Open, big: Path, scheme: str, settings: dict[str, Any]
) -> None:
    page = opened(fake.url, color_scheme=scheme, reduced_motion="reduce", **settings)
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    assert (page.evaluate(brightness) < 40) == (scheme == "dark")
    assert not _axe(page)
    fake.bytes_per_second = MIB / 4
    choose(page, big)
    choose(page, file("harbour.jpg", jpeg()), file("cut.jpg", jpeg()[:3000]))
    has_state(page, "recording.bin", "uploading")
    has_state(page, "cut.jpg", "failed")
    expect(row(page, "harbour.jpg").locator("img.there")).to_be_visible()
    assert not _axe(page)
    row(page, "recording.bin").get_by_role("button", name="Pause").click()
    assert not _axe(page)


def _axe(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


def test_a_phone_shows_all_of_it(fake: Fake, opened: Open) -> None:
    page = opened(fake.url, **PHONE)
    choose(page, file(f"{'a-very-long-name-' * 8}.jpg", jpeg()), file("cut.jpg", jpeg()[:3000]))
    has_state(page, "cut.jpg", "failed")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
    for button in page.get_by_role("button").all():
        box = button.bounding_box() or {"x": 0, "width": 0, "height": 0}
        assert min(box["width"], box["height"]) >= 36, button.get_attribute("aria-label")
        assert box["x"] + box["width"] <= 360, button.get_attribute("aria-label")
    expect(page.get_by_text("Drop files anywhere")).to_be_hidden()


def test_who_wants_no_motion_sees_none(fake: Fake, opened: Open) -> None:
    fake.hold = True
    page = opened(fake.url, reduced_motion="reduce")
    choose(page, file("harbour.jpg", jpeg()))
    has_state(page, "harbour.jpg", "waiting")
    moving = "document.getAnimations({subtree: true}).length"
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) > 0


TRANSFER = """
([name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  window.data = data;
}
"""


def test_files_are_dropped_anywhere_and_pasted(fake: Fake, opened: Open) -> None:
    page = opened(fake.url)
    page.evaluate(TRANSFER, ["dropped.png", list(_png())])
    page.evaluate(
        """for (const type of ["dragenter", "drop"]) document.body.dispatchEvent(
          new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }))"""
    )
    page.evaluate(TRANSFER, ["image.png", list(_png())])
    page.evaluate(
        "document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))"  # noqa: E501
    )
    has_state(page, "dropped.png", "done")
    expect(page.locator(".name").last).to_have_text(re.compile(r"^Pasted \d{4}-.*\.png$"))
    expect(page.locator("#veil")).not_to_have_class("shown")


FOLDER = """
// A folder that is dropped, as a browser shows it: its entries come in parts.
const one = (name) => new File(["one"], name, { type: "text/plain" });
const entry = (name) => ({ name, isFile: true, file: (resolve) => resolve(one(name)) });
const reader = (parts) => ({ readEntries: (resolve) => resolve(parts.shift() ?? []) });
const folder = (name, ...parts) => ({ name, isDirectory: true, createReader: () => reader(parts) });
DataTransferItem.prototype.webkitGetAsEntry = () =>
  folder("survey", [entry("a.txt"), entry(".hidden")], [folder("deeper", [entry("b.txt")])]);
"""


def test_a_dropped_folder_is_its_files(fake: Fake, opened: Open) -> None:
    page = opened(fake.url)
    page.evaluate(TRANSFER, ["survey", []])
    page.evaluate(FOLDER)
    page.evaluate(
        """document.body.dispatchEvent(
          new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }))"""
    )
    for name in ("a.txt", "b.txt"):
        has_state(page, name, "done")
    expect(page.locator("li")).to_have_count(2)


def test_a_picture_is_seen_before_it_is_sent(fake: Fake, opened: Open) -> None:
    fake.hold = True
    page = opened(fake.url)
    choose(page, file("harbour.jpg", jpeg(800, 600)), file("notes.txt", b"one", "text/plain"))
    expect(row(page, "harbour.jpg").locator("canvas")).to_be_visible()
    fake.hold = False
    expect(row(page, "harbour.jpg").locator("img.there")).to_be_visible()
    with page.context.expect_page() as tab:  # the picture is the way to it, too
        row(page, "harbour.jpg").locator(".picture").click()
    assert "/thumbnail" in tab.value.url
    assert row(page, "notes.txt").locator("canvas").count() == 0


def test_who_chooses_a_file_twice_is_told(fake: Fake, opened: Open, big: Path) -> None:
    fake.bytes_per_second = MIB
    page = opened(fake.url)
    choose(page, big)
    has_state(page, "recording.bin", "uploading")
    choose(page, big)
    expect(page.get_by_text("Already in the list")).to_be_in_viewport()
    assert not _axe(page)
    expect(page.locator("li")).to_have_count(1)


def _png() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (20, 20), (0, 90, 200)).save(out, "PNG")
    return out.getvalue()


def test_a_refusal_is_told_in_words(fake: Fake, opened: Open, tmp_path: Path) -> None:
    page = opened(fake.url)
    path = tmp_path / "film.mov"
    with path.open("wb") as film:
        film.truncate(101 * MIB)
    choose(page, path)
    has_state(page, "film.mov", "refused")
    expect(row(page, "film.mov")).to_contain_text("The file is larger than 100 MB, the most that")
    assert not fake.files


def test_a_script_in_a_name_is_text(fake: Fake, opened: Open) -> None:
    page = opened(fake.url)
    name = "<img src=x onerror=alert(1)>.jpg"
    choose(page, file(name, jpeg()))
    has_state(page, name, "done")
    assert page.locator("[onerror]").count() == 0


def test_an_expired_link_is_asked_for_anew(fake: Fake, opened: Open) -> None:
    page = opened(fake.url)
    choose(page, file("harbour.jpg", jpeg()))
    has_state(page, "harbour.jpg", "done")
    page.clock.set_fixed_time("2100-02-01T00:00:00Z")
    before = len(fake.calls)
    with page.context.expect_page() as tab:
        row(page, "harbour.jpg").get_by_role("link").click()
    assert "/thumbnail" in tab.value.url
    assert any(call.startswith("GET /files/") for call in fake.calls[before:])


def test_another_tab_leaves_the_file_to_the_first(fake: Fake, opened: Open, big: Path) -> None:
    fake.bytes_per_second = MIB
    page = opened(fake.url)
    choose(page, big)
    arrived(fake, 2 * MIB)
    other = page.context.new_page()
    other.goto(fake.url)
    expect(other.get_by_role("button", name="Choose files")).to_be_visible()
    expect(other.locator("li")).to_have_count(0)
    fake.bytes_per_second = 0
    has_state(page, "recording.bin", "done")
    has_state(other, "recording.bin", "done")
    kept = fake.named("recording.bin")
    assert kept.arrived == kept.size
