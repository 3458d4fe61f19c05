"""Files of the kinds that lanes may have, each beside the command or module one would take."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench import corpus
from tests.bench.corpus import File
from tests.bench.report import MIB, Section, cpu, ratio, wall
from tests.bench.services import function
from tests.bench.site import Function, Site
from tests.bench.subject import ROOT, Step, Subject, running, turns
from tests.bench.work import task
from tests.localcloud.client import CACHE
from tests.localcloud.services.functions import build

POSTER = {"poster": {"width": 640, "height": 640}}
FILM = {"film": {"width": 1280, "height": 1280, "format": "mp4"}}
SCALE = "scale='min({0},iw)':'min({0},ih)':force_original_aspect_ratio=decrease"
FFMPEG = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y"]


@dataclass(frozen=True, slots=True)
class Work:
    """What is done with a file: by a kind's zip with its renditions, and by another command, where
    {file} and {folder} are replaced, or by one of subjects/."""

    title: str
    file: File
    kind: str
    renditions: dict[str, Any]
    other: str
    command: tuple[str, ...] = ()
    subject: str = ""


WORKS = (
    Work("CSV of 250,000 rows: profile and Parquet", corpus.CSV, "tables", {},
         "Python's csv: types, nulls and ranges, no Parquet", subject="kinds_csv"),
    Work("Video 10 s of 1080p: poster", corpus.FILM, "media", POSTER, "ffmpeg, filter thumbnail",
         (*FFMPEG, "-i", "{file}", "-vf", "thumbnail=250," + SCALE.format(640), "-frames:v", "1",
          "{folder}/poster.jpg")),
    Work("Video 10 s of 1080p: poster, MP4 of 720p", corpus.FILM, "media", POSTER | FILM,
         "ffmpeg, the MP4 alone",
         (*FFMPEG, "-i", "{file}", "-vf", SCALE.format(1280), "-c:v", "libx264", "-preset",
          "veryfast", "-crf", "23", "-threads", "2", "-c:a", "aac", "-movflags", "+faststart",
          "{folder}/film.mp4")),
    Work("PDF of 300 pages: text, thumbnail", corpus.PAGES, "default",
         {"thumbnail": {"width": 300, "height": 300}}, "pdftotext, the text alone",
         ("pdftotext", "{file}", "{folder}/text.txt")),
    Work("DOCX of 2,000 paragraphs: text", corpus.LETTER, "office", {}, "LibreOffice's command",
         ("soffice", "--headless", "-env:UserInstallation=file://{folder}/home", "--convert-to",
          "txt:Text", "--outdir", "{folder}", "{file}")),
)  # fmt: skip

FIRST = {"default": corpus.PAGE, "media": corpus.CLIP, "office": corpus.NOTE, "tables": corpus.ROWS}


def measure(site: Site, quick: bool) -> Section:
    section = Section("Kinds of files")
    section.text = (
        "CPU and wall clock of the work alone, from a file's bytes in memory to facts and outputs, "
        "beside the command or module that one would take, its start included. They do not do "
        "quite the same: the processor tells facts, too, and its poster is the one of six frames "
        "that shows most."
    )
    with _kinds(site, quick) as kinds:
        rows = []
        for work in WORKS[:1] if quick else WORKS:
            if work.command and not shutil.which(work.command[0]):
                section.notes.append(f"NOT RUN, {work.command[0]} is not there: {work.other}.")
            done, peaks = _turns(kinds[work.kind], work, 1 if quick else 5)
            for name, steps in done.items():
                used = section.keep(f"{work.title}/{name} cpu", cpu(steps))
                taken = section.keep(f"{work.title}/{name} wall", wall(steps))
                share = ratio(used.median / cpu(done["other"]).median) if "other" in done else "–"
                own = name == "own"
                rows.append([work.title if own else f"… {work.other}", used, taken,
                             share if own else "", f"{peaks[name] / MIB:.0f}"])  # fmt: skip
        head = ["", "CPU ms", "wall ms", "CPU, of the other's", "peak RSS MiB"]
        section.table(head, rows)
        section.table(["Process start to first answer, on one core", "wall ms", "CPU ms"],
                      _starts(site, kinds, section, quick))  # fmt: skip
    return section


@contextmanager
def _kinds(site: Site, quick: bool) -> Iterator[dict[str, Function]]:
    """The processor with the libraries of each kind: one source, as in the zips."""
    found = {"default": site.processor}
    with TemporaryDirectory() as folder:
        for kind in ("tables",) if quick else ("media", "office", "tables"):
            wanted = Path(folder, kind)
            wanted.mkdir()
            pinned = ROOT / f"functions/processor/requirements-{kind}.txt"
            shutil.copy(pinned, wanted / "requirements.txt")
            made = asyncio.run(build.environment(CACHE, wanted, "python313", lambda line: None))
            environ = {**site.processor.environ, "KIND": kind, "MEMORY_BYTES": str(4 << 30)}
            found[kind] = replace(site.processor, python=made.python, environ=environ)
        yield found


def _turns(what: Function, work: Work, steps: int) -> tuple[dict[str, list[Step]], dict[str, int]]:
    """The steps and the peak bytes of each subject."""
    path = str(work.file.path)
    environ = {**what.environ, "RENDITIONS": json.dumps(work.renditions)}
    about = {"file": path, "content_type": work.file.content_type}
    subjects = {"own": Subject("core_own", what.python, [what.source], environ, **about)}
    with TemporaryDirectory() as folder:
        if work.subject:
            subjects["other"] = Subject(work.subject, what.python, file=path)
        elif shutil.which(work.command[0]):
            command = [part.format(file=path, folder=folder) for part in work.command]
            subjects["other"] = Subject("command", command=command)
        with running(subjects):
            done = turns(subjects, steps)
    return done, {name: one.peak for name, one in subjects.items()}


def _starts(
    site: Site, kinds: dict[str, Function], section: Section, quick: bool
) -> list[list[Any]]:
    core = max(os.sched_getaffinity(0))
    buckets = {"UPLOADS_BUCKET": site.uploads, "RESULTS_BUCKET": site.results}
    done: dict[str, list[Step]] = {}
    for _ in range(1 if quick else 9):
        for kind, what in kinds.items():
            file = FIRST[kind]
            name = f"start-{kind}{file.suffix}"
            body = task(site, name, file.path.read_bytes(), file.content_type)
            for title, method, sent in (("health", "GET", b""), ("first file", "POST", body())):
                with function(what, {**what.environ, **buckets}, core) as service:
                    step = service.first(method, "/", sent)
                    done.setdefault(f"{kind}, {title}", []).append(step)
    return [
        [name, section.keep(f"start {name} wall", wall(steps)),
         section.keep(f"start {name} cpu", cpu(steps))]
        for name, steps in done.items()
    ]  # fmt: skip
