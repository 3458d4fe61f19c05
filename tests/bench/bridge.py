"""The bridge: events a second, latency, and which client creates the tasks."""

from __future__ import annotations

import base64
import itertools
import json
import os
import secrets
from pathlib import Path

from tests.bench.load import Block, block, percentile
from tests.bench.report import MIB, Goal, Sample, Section, ratio
from tests.bench.service import Service
from tests.bench.services import CLIENTS, function
from tests.bench.services import bridge as start_bridge
from tests.bench.site import Function, Site

STUB = Path(__file__).with_name("stub")
RATE = 40.0  # events a second: four times the default queue's rate
_serial = itertools.count(1)


def events(bridge: Function, count: int) -> list[bytes]:
    """Bodies of pushes, each of an object of its own."""
    return [_event(bridge.environ["UPLOADS_BUCKET"], next(_serial)) for _ in range(count)]


def _event(bucket: str, number: int) -> bytes:
    name, generation = f"photos/{secrets.token_hex(4)}/{number:06}.jpg", str(10**15 + number)
    resource = {
        "kind": "storage#object", "id": f"{bucket}/{name}/{generation}", "bucket": bucket,
        "name": name, "generation": generation, "metageneration": "1", "size": "4000000",
        "contentType": "image/jpeg", "storageClass": "STANDARD", "crc32c": "AAAAAA==",
        "md5Hash": "1B2M2Y8AsgTpgAmY7PhCfg==", "timeCreated": "2026-11-21T00:00:00.000Z",
        "updated": "2026-11-21T00:00:00.000Z", "etag": "CAE=",
        "mediaLink": f"https://storage.googleapis.com/download/storage/v1/b/{bucket}/o/x",
    }  # fmt: skip
    attributes = {
        "eventType": "OBJECT_FINALIZE", "bucketId": bucket, "objectId": name,
        "objectGeneration": generation, "payloadFormat": "JSON_API_V1",
        "eventTime": "2026-11-21T00:00:00Z",
        "notificationConfig": f"projects/_/buckets/{bucket}/notificationConfigs/1",
    }  # fmt: skip
    message = {
        "data": base64.b64encode(json.dumps(resource).encode()).decode(),
        "attributes": attributes, "messageId": str(number), "message_id": str(number),
        "publishTime": "2026-11-21T00:00:00Z",
    }  # fmt: skip
    push = {"message": message, "subscription": "projects/p/subscriptions/s", "deliveryAttempt": 1}
    return json.dumps(push).encode()


PEAK, FULL = 2000, 0.7  # events a second; the share of its CPU that an instance is asked for
MOST = 10  # instances that the pipeline declares
SECOND = 0.000024 + 0.5 * 0.0000025  # dollars for 1 CPU and 512 MiB (docs/cost.md)


def measure(site: Site, quick: bool) -> Section:
    section = Section("Bridge")
    section.text = (
        "Events of new objects, pushed over one connection; each becomes a named task over TLS. "
        "The stub is the same framework around a function that answers at once. Events a second "
        "and core are the reciprocal of the CPU that an event costs the bridge."
    )
    bridge = site.bridge
    lane = json.loads(bridge.environ["LANES"])["default"]["queue"]
    queue = f"https://cloudtasks.googleapis.com/v2/{lane}"
    site.session.post(f"{queue}:pause", json={}).raise_for_status()  # nothing is to be dispatched
    core = max(os.sched_getaffinity(0))
    stub = Function(bridge.python, STUB, bridge.environ)
    services = {"stub": function(stub, stub.environ, core)}
    services |= {name: start_bridge(bridge, name, core) for name in CLIENTS}
    try:
        fast, steady = _turns(bridge, services, quick)
        peaks = {name: one.peak() for name, one in services.items()}
    finally:
        for one in services.values():
            one.close()
        site.session.post(f"{queue}:purge", json={}).raise_for_status()
        site.session.post(f"{queue}:resume", json={}).raise_for_status()
    titles = {"stub": "the framework's stub"} | CLIENTS
    base = Sample.of(one.cpu_each for one in fast["stub"]).median
    rows = []
    for name, title in titles.items():
        used = section.keep(f"{name} cpu", Sample.of((b.cpu_each for b in fast[name]), scale=1e3))
        latencies = [latency for one in steady[name] for latency in one.latencies]
        waited = section.keep(f"{name} latency", Sample.of(latencies, scale=1e3))
        rows.append([
            title, used, f"{1e3 / used.median:,.0f}", ratio(base * 1e3 / used.median), waited,
            f"{1e3 * percentile(latencies, 99):.0f}", f"{peaks[name] / MIB:.0f}",
        ])  # fmt: skip
    head = ["", "CPU ms an event", "events/s and core", "of stub",
            f"latency ms at {RATE:g}/s", "99 %", "peak RSS MiB"]  # fmt: skip
    section.table(head, rows)
    _judge(section, peaks["own"])
    return section


def _judge(section: Section, memory: int) -> None:
    """Whether a faster client would matter, in money, instances and time."""
    used, least = (section.samples[f"{name} cpu"].median / 1e3 for name in ("own", "direct"))
    waited, soonest = (section.samples[f"{name} latency"].median for name in ("own", "direct"))
    million, saved = (1e6 * seconds * SECOND for seconds in (used, used - least))
    needed, fewest = (PEAK * seconds / FULL for seconds in (used, least))
    section.goals.append(
        Goal(f"bridge's instances at {PEAK:,} events a second, {FULL:.0%} busy", needed, MOST, "")
    )
    section.goals.append(Goal("memory of a bridge, of its 512 MiB", memory / (512 << 20), 0.5))
    section.notes.append(
        f"A million events take {1e6 * used:,.0f} s of CPU, ${million:.2f} where instances are "
        f"busy; over urllib3 alone it would be ${saved:.2f} less, {fewest:.1f} instances in place "
        f"of {needed:.1f} at {PEAK:,} events a second, and {waited - soonest:.1f} ms less of the "
        "chain's way. So Google's client stays "
        "([decision 9](decisions/0009-how-the-bridge-creates-tasks.md)), and two goals were "
        "retired: 0.45× of the stub's events, and a start at 0.65× of the default client's. What "
        "must hold is that the instances that a lane declares are enough for the highest rate."
    )


def _turns(
    bridge: Function, services: dict[str, Service], quick: bool
) -> tuple[dict[str, list[Block]], dict[str, list[Block]]]:
    for one in services.values():
        one.first()
        block(one, events(bridge, 5 if quick else 60))
    fast: dict[str, list[Block]] = {name: [] for name in services}
    steady: dict[str, list[Block]] = {name: [] for name in services}
    for _ in range(1 if quick else 12):
        for name, one in services.items():
            fast[name].append(block(one, events(bridge, 20 if quick else 50)))
    for _ in range(1 if quick else 3):
        for name, one in services.items():
            count = 20 if quick else 80
            steady[name].append(block(one, events(bridge, count), connections=4, rate=RATE))
    return fast, steady
