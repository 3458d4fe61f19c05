"""Pictures of the page for docs/portal.md and the README: `make pictures`.

Taken of the portal at $PORTAL where that is set (make showcase, source .local/activate), else of
its contract in memory. The font is Inter, where Debian's fonts-inter is installed.
"""

from __future__ import annotations

import io
import math
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Browser, Page, expect

from tests.browser.browser import launched
from tests.browser.portal import portal

DOCS = Path(__file__).parents[2] / "docs"
SIZES = {"light": (860, 600), "dark": (860, 600), "phone": (360, 780)}
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<include>/etc/fonts/fonts.conf</include>
<match target="pattern"><edit name="family" mode="prepend" binding="strong">
<string>Inter</string></edit></match>
</fontconfig>"""
# Colours of the sky from above to the horizon, the sun's, and those of the hills from far to near.
SCENES = {
    "Harbour at dawn.jpg": ("#35477d", "#f6b38a", "#fff1d0", "#7b6a94", "#4d4a75", "#262a4d"),
    "Pines, north ridge.jpg": ("#7fb2d9", "#e9f2ee", "#ffffff", "#8fb3a5", "#4f8271", "#1f4a43"),
}


def scene(above: str, below: str, sun: str, *hills: str) -> bytes:
    """A landscape of 1600 × 1200, as a JPEG."""
    size = width, height = 1600, 1200
    sky = Image.linear_gradient("L").resize(size)
    image = Image.composite(Image.new("RGB", size, below), Image.new("RGB", size, above), sky)
    glow = Image.new("L", size)
    ImageDraw.Draw(glow).ellipse((1000, 420, 1240, 660), fill=255)
    image.paste(Image.new("RGB", size, sun), mask=glow.filter(ImageFilter.GaussianBlur(6)))
    draw = ImageDraw.Draw(image)
    for number, colour in enumerate(hills):
        base = height * (0.55 + 0.15 * number)
        ridge = [
            (x, base - 90 * math.sin(x / (310 - 60 * number) + 2 * number)
             - 35 * math.sin(x / 97 + number))
            for x in range(0, width + 8, 8)
        ]  # fmt: skip
        draw.polygon([(0, height), *ridge, (width, height)], fill=colour)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


def files(folder: Path) -> list[Path]:
    """What is uploaded, in the order of the list."""
    for name, colours in SCENES.items():
        (folder / name).write_bytes(scene(*colours))
    names = list(SCENES)
    (folder / "Scan 0412.jpg").write_bytes((folder / names[0]).read_bytes()[:40_000])
    page = Image.new("RGB", (1240, 1754), "white")
    for line in range(30):
        ImageDraw.Draw(page).rectangle(
            (150, 240 + 42 * line, 1090 - line % 4 * 90, 254 + 42 * line), fill="#555"
        )
    page.save(folder / "Survey 2026.pdf", save_all=True, append_images=[page] * 11)
    (folder / "Soundings.csv").write_text("".join(f"{n},{n * 7 % 113}\n" for n in range(48_210)))
    (folder / "Interview.wav").write_bytes(bytes(60 * 2**20))
    order = (
        "Interview.wav",
        names[0],
        "Survey 2026.pdf",
        "Scan 0412.jpg",
        "Soundings.csv",
        names[1],
    )
    return [folder / name for name in order]


def shown(browser: Browser, url: str, name: str, chosen: list[Path]) -> Page:
    """The page while the first file is on its way and all others have ended."""
    width, height = SIZES[name]
    touch = name == "phone"
    page = browser.new_context(
        color_scheme="dark" if name == "dark" else "light",
        viewport={"width": width, "height": height},
        device_scale_factor=2,
        has_touch=touch,
        is_mobile=touch,
    ).new_page()
    page.add_init_script("delete window.showOpenFilePicker")
    page.goto(url)
    slow = {
        "offline": False,
        "latency": 20,
        "downloadThroughput": -1,
        "uploadThroughput": 5 * 2**20,
    }
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
    page.set_input_files("#input", [str(path) for path in chosen])
    ended = page.locator("[data-state=done], [data-state=failed]")
    expect(ended).to_have_count(len(chosen) - 1, timeout=60_000)
    expect(page.locator("img.there").first).to_be_visible()
    page.wait_for_function(
        "() => document.querySelector('[data-state=uploading] progress')?.value > 0.55",
        timeout=60_000,
    )
    return page


def save(picture: bytes, name: str) -> None:
    """At most 150 KB, so that a reader on a phone sees it at once."""
    target = DOCS / f"portal-{name}.webp"
    Image.open(io.BytesIO(picture)).save(target, quality=82, method=6)
    size = target.stat().st_size
    if size > 150_000:
        raise SystemExit(f"{target.name} has {size} bytes: make it smaller")
    sys.stdout.write(f"{target.relative_to(DOCS.parent)}: {size / 1000:.0f} KB\n")


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "fonts.conf").write_text(FONTS)
        os.environ["FONTCONFIG_FILE"] = str(folder / "fonts.conf")
        url = os.environ.get("PORTAL") or stack.enter_context(portal()).url
        browser = stack.enter_context(launched())
        chosen = files(folder)
        for name in SIZES:
            page = shown(browser, url, name, chosen)
            save(page.screenshot(full_page=name != "phone"), name)


if __name__ == "__main__":
    main()
