"""The portal: what its functions bear, what watching files costs, how soon a page knows."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.cloud import storage
from playwright.sync_api import Page

from tests.bench.load import block, percentile
from tests.bench.report import MIB, Goal, Sample, Section, short
from tests.bench.service import Service
from tests.bench.services import function
from tests.bench.site import Function, Site, deployed_function
from tests.bench.work import small_photo
from tests.browser.browser import launched
from tests.localcloud.client.local import start_front
from tests.portal.client import Client

CALL = """
module "portal" {
  source   = "../../terraform/portal"
  pipeline = module.pipeline.interface
}

output "portal" {
  value = {
    access = module.portal.access
    status = module.portal.status_url
    upload = module.portal.upload_url
  }
}
"""
TOGETHER = 20  # files that one page watches at once
SLOW, PROCESSORS = 5, "*-processor@*"  # seconds of processing, and whose
CLASS_A, CLASS_B = 5e-6, 0.4e-6  # dollars an operation: docs/decisions/0020
QUIET, SPAN = 20.0, 10.0  # seconds: until a stream's pauses have grown to 5 s; of measuring then
# When each file's row says that it is done, by the clock of this machine.
WATCH = """
window.shown = {};
new MutationObserver(() => {
  for (const row of document.querySelectorAll("[data-state=done]"))
    shown[row.querySelector(".name").textContent] ??= Date.now();
}).observe(document, { subtree: true, attributes: true, childList: true });
"""


@dataclass(frozen=True)
class Bench:
    """Where it is measured. base: what `make portal` serves. quick: a few steps each."""

    cloud: Any
    client: storage.Client
    environment: str
    base: str
    quick: bool

    def service(self, name: str) -> Service:
        """A function as it is deployed, in a process of its own on one core."""
        what = self.deployed(name)
        service = function(what, what.environ, max(os.sched_getaffinity(0)))
        service.first("GET", "/health")
        return service

    def deployed(self, name: str) -> Function:
        return deployed_function(self.cloud, name, self.environment)


def measure(site: Site, quick: bool) -> Section:
    deployment, environment = site.deployment, site.environment
    (deployment.checkout / "environments" / environment / "portal.tf").write_text(CALL)
    deployment.make("bootstrap", "YES=1", "CAPABILITIES=portal")
    deployment.make("apply", f"ENV={environment}", "YES=1")
    pid, base = start_front(deployment, "portal", environment)
    try:
        return measured(Bench(site.cloud, site.client, environment, base, quick))
    finally:
        os.kill(pid, signal.SIGTERM)


def measured(bench: Bench) -> Section:
    section = Section("Portal")
    section.text = (
        "Upload and status, each on one core; what they ask of Cloud Storage goes to the local "
        "cloud over TLS."
    )
    with bench.service("upload") as upload, bench.service("status") as status:
        _load(bench, section, upload, status)
        _watchers(bench, section, status)
    _operations(bench, section)
    _page(bench, section)
    return section


def _load(bench: Bench, section: Section, upload: Service, status: Service) -> None:
    client = Client(bench.base)
    done = client.upload("done.jpg", small_photo())
    client.ended(done)
    offer = {"name": "tower.jpg", "size": 4_000_000, "contentType": "image/jpeg"}
    asked = {
        "POST /files": (upload, "POST", "/files", json.dumps(offer).encode()),
        "GET /files/… of one that waits": (status, "GET", f"/files/{_unknown()}", b""),
        "GET /files/… of one that is done": (status, "GET", f"/files/{done}", b""),
    }
    rows = [
        _row(section, title, service, method, path, [body] * (5 if bench.quick else 50))
        for title, (service, method, path, body) in asked.items()
    ]
    head = ["", "CPU ms a request", "requests/s of 16 clients", "one client, ms", "99 %", "RSS MiB"]
    section.table(head, rows)


def _row(
    section: Section, title: str, service: Service, method: str, path: str, bodies: list[bytes]
) -> list[object]:
    turns = 1 if len(bodies) < 10 else 5
    block(service, bodies, path, 4, method=method)
    alone = [block(service, bodies, path, 1, method=method) for _ in range(turns)]
    busy = [block(service, bodies, path, 16, method=method) for _ in range(turns)]
    used = section.keep(title, Sample.of((one.cpu_each for one in busy), scale=1e3))
    latencies = [1e3 * latency for one in alone for latency in one.latencies]
    waited = [short(percentile(latencies, percent)) for percent in (50, 99)]
    rate = Sample.of((one.per_second for one in busy), "1/s")
    return [title, used, rate, *waited, f"{service.peak() / MIB:.0f}"]


def _unknown() -> str:
    return f"uploads-{secrets.token_hex(16)}"


def _watchers(bench: Bench, section: Section, status: Service) -> None:
    """As many streams as an instance carries, each of a file that has long been waiting."""
    rows, held = [], 0
    most = int(bench.deployed("status").environ["MAX_STREAMS"])
    quiet, span, counts = (0.1, 0.1, (0, 2)) if bench.quick else (QUIET, SPAN, (0, 16, most))
    with contextlib.ExitStack() as open_streams:
        for wanted in counts:
            while held < wanted and _stream(status, open_streams) == 200:
                held += 1
            time.sleep(quiet)
            used, began = status.cpu(), time.monotonic()
            time.sleep(span)
            share = 100 * (status.cpu() - used) / (time.monotonic() - began)
            asked = [status.step("GET", f"/files/{_unknown()}", b"").wall for _ in range(10)]
            waited, peak = short(1e3 * percentile(asked, 50)), f"{status.peak() / MIB:.0f}"
            rows.append([held, f"{share:.1f} %", waited, peak])
        if not bench.quick:
            told = (
                f"One stream more is answered {_stream(status, open_streams)}: ask, or come again."
            )
            section.notes.append(told)
    head = ["Streams open", "CPU of one core", "GET /files/… meanwhile, ms", "RSS MiB"]
    section.table(head, rows)
    section.goals.append(Goal("watchers that an instance holds", held, most, "", least=True))


def _stream(status: Service, open_streams: contextlib.ExitStack) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", status.port, timeout=60)
    open_streams.callback(connection.close)
    connection.request("GET", f"/events?file_id={_unknown()}")
    return connection.getresponse().status


def _operations(bench: Bench, section: Section) -> None:
    """What status asks of Cloud Storage for files that are watched from their last byte on."""
    rows = []
    groups, together = ({0: 1, 1: 1}, 2) if bench.quick else ({0: 25, SLOW: 5}, TOGETHER)
    for seconds, group in groups.items():
        rule = {"method": "storage.objects.get", "code": 0, "delay": seconds, "member": PROCESSORS}
        bench.cloud.post("/faults", {"rules": [rule]})
        for title, watch in (("a stream", _by_stream), ("a question each second", _by_asking)):
            count = group * together
            lists, reads = _watched(bench, watch, group, together)
            dollars = 10_000 / count * (lists * CLASS_A + reads * CLASS_B)
            told = f"{title}; processing takes {seconds or 'under 1'} s; {count} files"
            rows.append([told, short(lists / count), short(reads / count), f"{dollars:.2f}"])
        bench.cloud.delete("/faults")
    head = ["Watched by", "listings a file", "reads a file", "dollars for 10,000 files"]
    section.table(head, rows)
    section.notes.append(
        f"{together} files at a time, as a page has them, each until it has ended. Listings are "
        "class A and reads class B, at the list prices of decision 20."
    )


def _watched(
    bench: Bench, watch: Callable[[Client, list[str]], None], groups: int, together: int
) -> tuple[int, int]:
    """The listings and the reads of status."""
    began = len(bench.cloud.journal())
    for _ in range(groups):
        client, photo = Client(bench.base), small_photo()
        watch(client, [client.upload("watched.jpg", photo) for _ in range(together)])
    calls = Counter(
        line["method"] for line in bench.cloud.journal()[began:]
        if line["kind"] == "api" and f"{bench.environment}-status@" in str(line["principal"])
    )  # fmt: skip
    return calls["storage.objects.list"], calls["storage.objects.get"]


def _by_stream(client: Client, files: list[str]) -> None:
    waiting = set(files)
    while waiting:
        for told in client.events(*waiting):
            if told["status"] in ("done", "failed"):
                waiting.discard(told["file_id"])


def _by_asking(client: Client, files: list[str]) -> None:
    waiting = list(files)
    while waiting:
        began = time.monotonic()
        waiting = [one for one in waiting if client.status(one)["status"] not in ("done", "failed")]
        time.sleep(max(0.0, began + 1 - time.monotonic()))


def _page(bench: Bench, section: Section) -> None:
    """From the manifest's creation to the row that says done, in a browser."""
    try:
        with launched() as browser:
            page = browser.new_page()
            page.goto(bench.base)
            page.evaluate(WATCH)
            lags = [_lag(bench, page) for _ in range(2 if bench.quick else 30)]
    except LookupError as error:
        section.notes.append(f"From manifest to page: NOT RUN, {error}.")
        return
    lag = section.keep("manifest to page", Sample.of(lags))
    cells = [str(lag), short(percentile(lags, 90)), short(max(lags))]
    section.table(["From the manifest to the page that shows it, ms", "90 %", "most"], [cells])
    section.goals.append(Goal("from manifest to page, median", lag.median, 1000, "ms"))


def _lag(bench: Bench, page: Page) -> float:
    """Milliseconds, for one file."""
    name = f"{secrets.token_hex(4)}.jpg"
    photo = {"name": name, "mimeType": "image/jpeg", "buffer": small_photo()}
    page.set_input_files("#input", [photo])
    page.wait_for_function("name => shown[name]", arg=name, timeout=60_000)
    bucket = f"{bench.cloud.project}-files-{bench.environment}-results"
    records = bench.client.list_blobs(bucket, prefix="manifests/uploads/")
    (manifest,) = [one for one in records if f"/{name}/" in one.name]
    now = datetime.fromisoformat(bench.cloud.get("/clock")["now"])  # driven time runs ahead
    ahead = now.timestamp() - time.time()
    shown = page.evaluate("name => shown[name]", name)
    return float(shown) - 1e3 * (manifest.time_created.timestamp() - ahead)
