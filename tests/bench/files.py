"""The processor by type of file: the work alone, and the whole request."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench import tools
from tests.bench.corpus import FILES, File
from tests.bench.report import MIB, Goal, Sample, Section, cpu, ratio, wall
from tests.bench.service import Service, ServiceFailed
from tests.bench.services import processor, tutorial
from tests.bench.site import Site
from tests.bench.subject import ROOT, Step, Subject, SubjectFailed, running, turns
from tests.bench.work import baseline_task, task

QUICK = ("JPEG 12 MP", "PNG 8 MP RGB", "Text 10 MB")
# Rounds while a file's time is not over, of so many requests, since what ended is told in ticks of
# 10 ms. The first is to warm up. A file with a goal of its own has as many as it takes to tell a
# few percent on a machine that others share.
ROUNDS, REQUESTS, SECONDS = (5, 16), 4, 10.0
GOAL_ROUNDS, GOAL_SECONDS = 100, 100.0
# That both services have for themselves, in turns: what a process costs depends on where it wakes.
CORE = 1
WHOLE = {"JPEG 12 MP": 0.8}
LIMITS = {"JPEG 12 MP": 1.05, "PNG 8 MP RGB": 0.9}
PEAK = 150.0  # MiB
SHARP = ROOT / "tests/bench/subjects/core_sharp.cjs"
SUBJECTS = {
    "tutorial": "tutorial",
    "own": "processor",
    "limit": "Pillow decode",
    "vips": "libvips",
    "sharp": "sharp",
}


def _files(quick: bool) -> list[File]:
    return [file for file in FILES if not quick or file.title in QUICK]


def core(site: Site, quick: bool) -> Section:
    section = Section("Processor: the work alone")
    section.text = (
        "CPU milliseconds from a file's bytes in memory to its 300×300 JPEG, in parentheses of the "
        "tutorial's, and the peak RSS of a process that does nothing else and holds the file's "
        "bytes. *Pillow decode* is the limit: the decoder alone, scaling while it decodes where "
        "the format can. Only the processor turns, converts profiles and keeps alpha from going "
        "black; it also answers for files that are not images."
    )
    vips, sharp = (None, None) if quick else (tools.pyvips(), tools.sharp())
    rows, peaks = [], []
    for file in _files(quick):
        try:
            path = str(file.path)
        except (OSError, subprocess.CalledProcessError):
            section.notes.append(f"{file.title}: cannot be made here.")
            continue
        done = _core(site, file, path, vips, sharp, quick)
        base = cpu(done["tutorial"][0]).median if "tutorial" in done else None
        row, peak = [file.title], [file.title]
        for name in SUBJECTS:
            if name not in done:
                row.append("–")
                peak.append("–")
                continue
            steps, bytes_ = done[name]
            used = section.keep(f"{file.title}/{name} cpu", cpu(steps))
            section.keep(f"{file.title}/{name} wall", wall(steps))
            share = f" ({ratio(used.median / base)})" if base and name != "tutorial" else ""
            row.append(f"{used}{share}")
            peak.append(f"{bytes_ / MIB:.0f}")
            if name == "own" and file.title in LIMITS:
                title = f"{file.title}: CPU of the work, of tutorial"
                section.goals.append(Goal(title, used.median / (base or 1), LIMITS[file.title]))
                title = f"{file.title}: peak RSS of the work"
                section.goals.append(Goal(title, bytes_ / MIB, PEAK, "MiB"))
        rows.append(row)
        peaks.append(peak)
    section.table(["CPU ms", *SUBJECTS.values()], rows)
    section.table(["Peak RSS MiB", *SUBJECTS.values()], peaks)
    section.notes += [
        f"{title}: Pillow's decoder alone takes {ratio(share)} of all of sharp's work, so nothing "
        "built on it can be as fast there."
        for title, share in _beside_sharp(section)
        if share > 1
    ]
    section.notes += [
        f"{title}: Pillow's decoder alone takes {ratio(limit.median / base.median)} of the "
        "tutorial's work there."
        for title in LIMITS
        if (limit := section.samples.get(f"{title}/limit cpu"))
        and (base := section.samples.get(f"{title}/tutorial cpu"))
    ]
    missing = [n for n, found in (("libvips (pyvips)", vips), ("sharp", sharp)) if not found]
    if missing and not quick:
        section.notes.append(f"Could not be installed on this machine: {', '.join(missing)}.")
    return section


def _beside_sharp(section: Section) -> Iterator[tuple[str, float]]:
    """By file: what decoding costs in Pillow, of the whole work in sharp."""
    for name, sharp in section.samples.items():
        title, _, what = name.partition("/")
        if what == "sharp cpu" and (limit := section.samples.get(f"{title}/limit cpu")):
            yield title, limit.median / sharp.median


def _core(
    site: Site, file: File, path: str, vips: Path | None, sharp: Path | None, quick: bool
) -> dict[str, tuple[list[Step], int]]:
    """Steps and peak bytes of each subject that can read the file."""
    about = {"file": path, "content_type": file.content_type}
    makers = {"own": lambda: site.own("core_own", **about)}
    if file.is_image:
        makers["tutorial"] = lambda: site.tutorial("core_tutorial", **about)
        makers["limit"] = lambda: site.tutorial("core_limit", **about)
        if vips:
            makers["vips"] = lambda: Subject("core_vips", vips, **about)
        if sharp:
            node = [
                shutil.which("node") or "node",
                str(ROOT / "tests/bench/subjects/core_sharp.cjs"),
            ]
            way = {"NODE_PATH": str(sharp)}
            makers["sharp"] = lambda: Subject("core_sharp", node, environ=way, **about)
    able: dict[str, Subject] = {}
    for name, make in makers.items():
        subject = None
        try:
            subject = make()
            subject.step()
            able[name] = subject
        except (SubjectFailed, OSError):  # a format it does not know
            if subject:
                subject.close()
            if name == "own":
                raise
    with running(able):
        done = turns(able, 1 if quick else 5, 0)
    return {name: (done[name], able[name].peak) for name in able}


def whole(site: Site, quick: bool) -> Section:
    section = Section("Processor: the whole request")
    section.text = (
        "From the task's POST to its answer: download, claim, work, uploads, manifest. CPU is that "
        "of all processes of the service, which has one core, and its ratio the median of rounds "
        "in turns; the peak is that of its largest process (the tutorial has two at work). The "
        "tutorial stores anything but images as it is."
    )
    rows = []
    with processor(site, CORE) as own, tutorial(site, CORE) as theirs:
        own.first()
        theirs.first("GET", "/health")
        for file in _files(quick):
            try:
                data = file.path.read_bytes()
            except (OSError, subprocess.CalledProcessError):
                continue
            ours, base, error = _whole(site, file, data, own, theirs, quick)
            name = file.title
            used = section.keep(f"{name}/own cpu", cpu(ours))
            taken = section.keep(f"{name}/own wall", wall(ours))
            row = [name, used, taken]
            if base:
                theirs_used = section.keep(f"{name}/tutorial cpu", cpu(base))
                theirs_taken = section.keep(f"{name}/tutorial wall", wall(base))
                share = _share(ours, base)
                row += [theirs_used, theirs_taken, ratio(share),
                        ratio(taken.median / theirs_taken.median)]  # fmt: skip
                if name in WHOLE or (file.is_image and not quick):
                    limit = WHOLE.get(name, 1.0)
                    goal = Goal(f"{name}: CPU of the whole, of tutorial", share, limit)
                    section.goals.append(goal)
                    if not goal.met and not quick:
                        section.notes.append(
                            _explained(name, limit, decoding(site, file), used, theirs_used)
                        )
            else:
                row += ["error", "–", "–", "–"]
                section.notes.append(f"The tutorial's answer to {name}: {error}")
            rows.append([*row, f"{own.peak() / MIB:.0f}", f"{theirs.peak() / MIB:.0f}"])
    head = ["", "CPU ms", "wall ms", "tutorial CPU ms", "tutorial wall ms", "CPU, of tutorial",
            "wall, of tutorial", "peak RSS MiB", "tutorial peak"]  # fmt: skip
    section.table(head, rows)
    return section


def _explained(name: str, limit: float, decoder: float, used: Sample, theirs: Sample) -> str:
    left = limit * theirs.median - decoder
    return (
        f"{name}: Pillow's decoder, which both use, takes {decoder:.0f} ms by itself. {limit}× of "
        f"the tutorial's {theirs.median:.0f} ms leaves {left:.0f} for scaling and encoding, a "
        "process of the file's own and Cloud Storage over TLS. They take "
        f"{used.median - decoder:.0f} here, and {theirs.median - decoder:.0f} in the tutorial, "
        "which has no such process."
    )


def _share(ours: list[Step], base: list[Step]) -> float:
    """CPU, of the other's: the median of what each round gave, as its two stood side by side."""
    return median(one.cpu / other.cpu for one, other in zip(ours, base, strict=True))


def decoding(site: Site, file: File, rounds: int = 20) -> float:
    """CPU milliseconds of Pillow's decoder alone."""
    about = {"file": str(file.path), "content_type": file.content_type}
    with running({"limit": site.tutorial("core_limit", **about)}) as subjects:
        steps = turns(subjects, rounds)["limit"]
    return 1e3 * median(step.cpu for step in steps)


def _whole(
    site: Site, file: File, data: bytes, own: Service, theirs: Service, quick: bool
) -> tuple[list[Step], list[Step], str]:
    """Steps of both, in turns; of the tutorial's none but its error where it answers 500."""
    name = f"{file.title.replace(' ', '-').lower()}{file.suffix}"
    one = task(site, name, data, file.content_type)
    other = baseline_task(site, name, data, file.content_type)
    ours: list[Step] = []
    base: list[Step] = []
    error = ""
    own.forget_peak()
    theirs.forget_peak()
    began = time.monotonic()
    rounds, seconds = ROUNDS[1], SECONDS
    if file.title in WHOLE:
        rounds, seconds = GOAL_ROUNDS, GOAL_SECONDS
    for done in range(2 if quick else rounds):
        if done >= ROUNDS[0] and time.monotonic() > began + seconds:
            break
        ours.append(own.step("POST", "/", *(one() for _ in range(REQUESTS))))
        if not error:
            try:
                base.append(theirs.step("POST", "/process", *(other() for _ in range(REQUESTS))))
            except ServiceFailed as failed:
                error = str(failed).replace("\\n", " ")[:200]
    return ours[1:], [] if error else base[1:], error
