"""Many files at a time, in sustained blocks: what an instance makes, and what that takes."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence

from tests.bench.corpus import FILES
from tests.bench.files import decoding
from tests.bench.load import Sustained, sustained
from tests.bench.process import cpu
from tests.bench.report import MIB, Goal, Section, ratio, short
from tests.bench.service import Service
from tests.bench.services import processor, tutorial
from tests.bench.site import Site
from tests.bench.work import baseline_task, task

CONNECTIONS = (1, 2, 4, 8, 16)
FULL = 8  # connections: what an instance declares
SECONDS = 10.0  # of a block
PHOTOS = ("JPEG 12 MP",)
# What both process, by their numbers; the tutorial refuses HEIC and stores a PDF as it is.
BOTH = ("JPEG 12 MP",) * 6 + ("PNG 8 MP RGB", "PNG 8 MP RGBA", "WebP 12 MP")
ALL = (*BOTH, "HEIC 12 MP", "PDF 3 pages")
LARGE = ("WebP 12 MP", "AVIF 12 MP", "TIFF 12 MP", "PNG 8 MP RGBA")
LEAST = 1.3
Bodies = Callable[[], Iterator[bytes]]  # each block begins at the first file of a mix


def throughput(site: Site, quick: bool) -> Section:
    section = Section("Processor: many at a time")
    seconds = 0.5 if quick else SECONDS
    section.text = (
        f"Files a second over so many connections, in blocks of {seconds:g} s that take turns. "
        "CPU is that of all processes of a service, for each file; the cloud's and the load's, "
        "which share the cores with it, stand apart. *Alone* is what the processor's own CPU "
        f"would allow on these {os.cpu_count()} cores if it had them for itself. Memory is the "
        "most that all its processes and their files in memory had at one time."
    )
    with processor(site) as own, tutorial(site) as theirs:
        own.first()
        theirs.first("GET", "/health")
        levels = (1, FULL) if quick else CONNECTIONS
        for title, names in (("12 MP JPEG", PHOTOS), ("A mix that both process", BOTH)):
            ours, base = _bodies(site, names, task), _bodies(site, names, baseline_task)
            for service, path, bodies in ((own, "/", ours), (theirs, "/process", base)):
                sustained(service, bodies(), path, 2, seconds / 5)  # what is imported on first use
            rows, shares = [], []
            for level in levels:
                made = _seen(site, own, "/", ours, level, seconds)
                other = _seen(site, theirs, "/process", base, level, seconds)
                shares.append(made.per_second / other.per_second)
                if names is PHOTOS and level == FULL:
                    _explain(section, site, made, other, quick)
                rows.append(_row(str(level), made, other))
                section.figures[f"{title}/{level}/files a second"] = made.per_second
                section.figures[f"{title}/{level}/of tutorial"] = shares[-1]
            section.table([title, *HEAD], rows)
            goal = f"{title}, files a second at the slowest of these levels, of tutorial"
            section.goals.append(Goal(goal, min(shares), LEAST, least=True))
        _alone(section, site, own, seconds)
    return section


HEAD = ["files/s", "tutorial", "of tutorial", "CPU ms a file", "tutorial", "cloud and load",
        "alone", "memory MiB", "tutorial"]  # fmt: skip


def _row(title: str, made: Sustained, other: Sustained | None) -> list[str]:
    cores = os.cpu_count() or 1
    return [
        title,
        short(made.per_second),
        short(other.per_second) if other else "–",
        ratio(made.per_second / other.per_second) if other else "–",
        short(1e3 * made.cpu_each),
        short(1e3 * other.cpu_each) if other else "–",
        short(1e3 * made.beside / made.count),
        f"{short(cores / made.cpu_each)}/s",
        f"{made.memory / MIB:.0f}",
        f"{other.memory / MIB:.0f}" if other else "–",
    ]


def _explain(section: Section, site: Site, made: Sustained, other: Sustained, quick: bool) -> None:
    """What a file takes on full cores, and what of it is the decoder's."""
    (photo,) = PHOTOS
    file = next(one for one in FILES if one.title == photo)
    decoder = decoding(site, file, 1 if quick else 20)
    own, theirs, beside = 1e3 * made.cpu_each, 1e3 * other.cpu_each, 1e3 * made.beside / made.count
    allowed = (theirs + beside) / LEAST - beside
    section.notes.append(
        f"On full cores ({FULL} connections) files a second are what CPU leaves. Of a {photo} "
        f"Pillow's decoder, which both use, takes {decoder:.0f} ms by itself; the processor has "
        f"{own:.0f} ms in all, the tutorial {theirs:.0f}, cloud and load {beside:.0f} beside "
        f"either. {LEAST}× there asks for {allowed:.0f} ms: {allowed - decoder:.0f} beside the "
        "decoder for scaling and encoding, a process of its own, and the file and three objects "
        f"over TLS. Those are {own - decoder:.0f} ms now, {theirs - decoder:.0f} in the tutorial."
    )


def _alone(section: Section, site: Site, own: Service, seconds: float) -> None:
    """What the tutorial has no answer to, and the largest of what an instance takes."""
    rows = []
    for title, names in (("with HEIC and PDF, 8 at a time", ALL), ("large, 8 at a time", LARGE)):
        made = _seen(site, own, "/", _bodies(site, names, task), 8, seconds)
        rows.append(_row(title, made, None))
    section.table(["The processor alone", *HEAD], rows)
    declared = int(site.processor.environ["MEMORY_BYTES"])
    goal = "memory of an instance with 8 large files, of what it declares"
    section.goals.append(Goal(goal, made.memory / declared, 1.0))


def _seen(
    site: Site, service: Service, path: str, bodies: Bodies, level: int, seconds: float
) -> Sustained:
    return sustained(service, bodies(), path, level, seconds, lambda: cpu(site.cloud.pid))


def _bodies(site: Site, names: Sequence[str], make: Callable[..., Callable[[], bytes]]) -> Bodies:
    """Of tasks for these files, in turns; what cannot be made here is left out."""
    makers = []
    for name in names:
        file = next(one for one in FILES if one.title == name)
        try:
            data = file.path.read_bytes()
        except (OSError, subprocess.CalledProcessError):
            continue
        key = f"many-{name.replace(' ', '-').lower()}{file.suffix}"
        makers.append(make(site, key, data, file.content_type))
    return lambda: (maker() for maker in itertools.cycle(makers))
