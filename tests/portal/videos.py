"""`make videos`: a phone's video and one that is too long for its lane, on the page, in a browser.

environments/showcase on a local cloud, its lane for videos with less time, its batch with a
priority for them. The phone's video, which was filmed sideways, is shown and plays. The long one
fails in the lane as rendition_too_slow; a task of batch makes its MP4, and meanwhile the page and
the events tell how much of it is made. VIDEO_SECONDS is its length; pictures of the page go to
.local/videos.
"""
# ruff: noqa: T201

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import requests
from playwright.sync_api import Page, expect

from tests.browser.acts import choose, file, row
from tests.browser.browser import launched
from tests.corpus.videos import filmed, turned
from tests.localcloud.client import ROOT, LocalCloud
from tests.localcloud.client.deployment import Deployment
from tests.localcloud.client.local import SHOWCASE, capabilities, start_front
from tests.portal.client import Client
from tests.portal.conftest import Portal
from tests.system.pipeline import Pipeline

LANE_SECONDS = 60
OVERRIDE = f"""
module "pipeline" {{
  lanes = {{
    default = {{
      processor = {{ max_instances = 5 }}
      queue     = {{ max_concurrent_dispatches = 18 }}
    }}
    videos = {{
      kind          = "media"
      content_types = ["audio/*", "video/*"]
      queue         = {{ max_concurrent_dispatches = 1 }}
      processor = {{
        concurrency   = 2
        max_instances = 1
        memory_mib    = 4096
        work_seconds  = {LANE_SECONDS}
      }}
      renditions = {{
        poster = {{ width = 640, height = 640 }}
        video  = {{ width = 1280, height = 1280, format = "mp4" }}
      }}
    }}
  }}
}}

module "batch" {{
  priorities = {{
    videos = {{ at_once = 1, cpu = 2, memory_mib = 4096, task_seconds = 3000 }}
  }}
}}
"""
PICTURES = ROOT / ".local/videos"
WINDOW = 65.0  # seconds after which a submitted task's worker is started
PLAYS = "video => video.currentTime > 0.5 && video.readyState > 2 && !video.error"


def filmed_upright(seconds: int) -> bytes:
    """As a phone films that is held upright: 1280 × 720, to be turned by 90°."""
    return turned(filmed(seconds, "1280x720", 30), 90)


def play(page: Page, name: str) -> float:
    """The seconds that the row's video has played."""
    video = row(page, name).locator("video")
    expect(video).to_be_visible()
    video.scroll_into_view_if_needed()
    video.evaluate("video => { video.muted = true; return video.play() }")
    page.wait_for_function(PLAYS, arg=video.element_handle(), timeout=60_000)
    return float(video.evaluate("video => video.currentTime"))


def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def ended(page: Page, name: str) -> None:
    """Once it is done; a failure is not waited out."""
    state = row(page, name)
    expect(state).to_have_attribute("data-state", re.compile("done|failed"), timeout=300_000)
    assert state.get_attribute("data-state") == "done", state.inner_text()


def of_phone(page: Page) -> None:
    choose(page, file("IMG_0412.mp4", filmed_upright(2), "video/mp4"))
    word = row(page, "IMG_0412.mp4").locator(".word")
    expect(word).to_have_text(re.compile(r"Processing, \d+%"), timeout=300_000)
    print(f"  on its way: {word.inner_text()}")
    picture(page, "processing")
    ended(page, "IMG_0412.mp4")
    print(f"  the page says: {row(page, 'IMG_0412.mp4').locator('.state').inner_text()}")
    video = row(page, "IMG_0412.mp4").locator("video")
    assert video.get_attribute("poster")
    seconds = play(page, "IMG_0412.mp4")
    size = video.evaluate("video => [video.videoWidth, video.videoHeight]")
    assert size[0] < size[1], "it lies on its side"
    print(f"  it plays in Chromium, {size[0]} × {size[1]}: {seconds:.1f} s of it so far")
    picture(page, "phone")


class Watched(threading.Thread):
    """What the events told of a file, with the time of each."""

    def __init__(self, client: Client, file_id: str) -> None:
        super().__init__(daemon=True)
        self.told: list[tuple[float, dict[str, Any]]] = []
        self._client, self._file_id = client, file_id

    def run(self) -> None:
        while not self.told or self.told[-1][1]["status"] not in ("done", "failed"):
            for told in self._client.events(self._file_id):
                self.told.append((time.monotonic(), told))
                if told["status"] in ("done", "failed"):
                    break


def too_long(portal: Portal, submit: str) -> None:
    seconds = int(os.environ.get("VIDEO_SECONDS") or 600)
    data = filmed(seconds, "1280x720")
    print(f"  made: {seconds} s of 1280 × 720, {len(data) / 1e6:.1f} MB")
    file_id = portal.upload("lecture.mp4", data, "video/mp4", folder="uploads")
    told = portal.ended(file_id)
    print(f"  in the lane: {told['status']} {told.get('reason')}: {told.get('detail')}")
    assert told["reason"] == "rendition_too_slow"
    (name,) = [name for name in portal.stored() if name.endswith("/lecture.mp4")]
    order = {"task_type": "file_processing", "filename": name, "lane": "videos", "run": 1}
    answer = requests.post(f"{submit}/submit-task", json=order, timeout=60)
    assert answer.ok, answer.text
    task = answer.json()["task_id"]
    portal.cloud.advance(WINDOW)
    while portal.status(file_id)["status"] != "processing":
        time.sleep(0.2)
    watched = Watched(portal.again(), file_id)
    watched.start()
    watched.join(3000)
    began = watched.told[0][0]
    told = watched.told[-1][1]
    percents = [one.get("percent", 0) for _, one in watched.told[:-1]]
    steps = [f"{at - began:.0f} s: {one.get('percent', 0)}%" for at, one in watched.told[:-1]]
    print("  events:", ", ".join(steps))
    assert told["status"] == "done", told
    assert percents == sorted(percents)
    assert len(set(percents)) >= 10
    outcome = {"status": "waiting"}
    while outcome["status"] == "waiting":
        outcome = requests.get(f"{submit}/tasks/{task}", timeout=60).json()
        time.sleep(0.5)
    print(f"  the task: {outcome['status']}, {outcome['done']} of {outcome['files']} files")
    assert outcome["status"] == "done"
    (film,) = [one for one in told["outputs"] if one["contentType"] == "video/mp4"]
    made = portal.http.get(film["url"], timeout=120)
    with av.open(io.BytesIO(made.content)) as container:
        length, frames = (container.duration or 0) / 1e6, sum(1 for _ in container.decode(video=0))
    print(f"  the MP4: {len(made.content) / 1e6:.1f} MB, {length:.1f} s, {frames} frames decoded")
    assert abs(length - seconds) < 0.5
    assert abs(frames - 25 * seconds) <= 1


def main() -> int:
    with LocalCloud.start() as cloud, launched() as browser:
        deployment = Deployment.prepare(cloud)
        folder = Path(deployment.checkout, "environments", SHOWCASE)
        (folder / "videos_override.tf").write_text(OVERRIDE)
        deployment.make("bootstrap", "YES=1", f"CAPABILITIES={' '.join(capabilities())}")
        deployment.make("apply", f"ENV={SHOWCASE}", "YES=1")
        fronts = [start_front(deployment, name) for name in ("portal", "batch")]
        try:
            portal = Portal(fronts[0][1], pipeline=Pipeline.of(deployment, SHOWCASE))
            page = browser.new_context(viewport={"width": 860, "height": 900}).new_page()
            page.add_init_script("delete window.showOpenFilePicker")
            page.goto(portal.base)
            print("a phone's video, filmed upright:")
            of_phone(page)
            print(f"a video that is too long for {LANE_SECONDS} s:")
            too_long(portal, fronts[1][1])
        finally:
            for pid, _ in fronts:
                os.kill(pid, signal.SIGTERM)
    return 0


if __name__ == "__main__":
    sys.exit(main())
