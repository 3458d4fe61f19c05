"""`make demo`: the whole job on a local cloud: apply, upload, results, no changes, destroy.

Prints each command that runs and how long it took; the full output of Terraform goes to a log file.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw

from ..client import ROOT, LocalCloud, LocalCloudError
from .deployment import CommandFailed, Deployment, client, join

OUT = ROOT / ".local" / "demo"
INTERRUPTED = "\nInterrupted: the local cloud and everything in it is gone."


class Demo:
    """The steps, each with its time."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.number = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self.number += 1
        print(f"\n[{self.number}] {title}", flush=True)
        began = time.monotonic()
        yield
        print(f"    took {time.monotonic() - began:.1f} s", flush=True)

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Shows what the cloud is doing while a long command runs."""
        done = threading.Event()

        def follow() -> None:
            path, seen = self.cloud.folder / "progress.log", 0
            while not done.wait(0.2):
                lines = path.read_text().splitlines() if path.exists() else []
                for line in lines[seen:]:
                    print(f"    … {line}", flush=True)
                seen = len(lines)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def say(text: str, indent: int = 4) -> None:
    for line in text.splitlines():
        print(" " * indent + line, flush=True)


def photo(path: Path) -> None:
    """A tower, 12 megapixels, as a phone stores it: lying, and EXIF says how it is turned."""
    width, height, ground = 3000, 4000, 3300
    lit = Image.linear_gradient("L").resize((width, height))
    image = Image.merge(
        "RGB", (lit.point(lambda v: 40 + v // 2), lit, lit.point(lambda v: 255 - v // 4))
    )
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, ground, width, height), fill=(70, 110, 50))
    draw.ellipse((2300, 300, 2700, 700), fill=(255, 230, 120))
    draw.rectangle((1150, 1300, 1850, ground), fill=(150, 110, 90))
    draw.polygon(((1050, 1300), (1500, 600), (1950, 1300)), fill=(160, 50, 40))
    draw.rectangle((1400, 2850, 1600, ground), fill=(70, 45, 35))
    for top in (1550, 2000, 2450):
        draw.rectangle((1400, top, 1600, top + 250), fill=(250, 240, 180))
    chance = random.Random(7)
    for _ in range(3000):  # grass
        x, y = chance.randrange(width), chance.randrange(ground, height)
        draw.line((x, y, x + 12, y - 60), fill=(50, chance.randrange(90, 200), 40), width=5)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to show
    image.transpose(Image.Transpose.ROTATE_90).save(path, "JPEG", quality=90, exif=exif)


def broken(path: Path, good: Path) -> None:
    """The first third of a photo: an upload that a camera or a network cut short."""
    data = good.read_bytes()
    path.write_bytes(data[: len(data) // 3])


def samples() -> tuple[Path, Path]:
    """A good upload and a broken one, to try with."""
    OUT.mkdir(parents=True, exist_ok=True)
    good, bad = OUT / "tower.jpg", OUT / "cut-short.jpg"
    photo(good)
    broken(bad, good)
    return good, bad


def uploader() -> tuple[str, list[str], Callable[..., list[str]]]:
    """The client that uploads: gsutil, the machine's or an own one, else gcloud storage."""
    if gsutil := client("gsutil"):
        return "gsutil", ["gsutil"], lambda *words: [*gsutil, "-q", *words]
    if gcloud := client("gcloud"):
        return "gcloud storage", ["gcloud", "storage"], lambda *words: [*gcloud, "storage", *words]
    raise CommandFailed("neither gsutil nor gcloud is there: run make demo, which installs gsutil")


def main() -> int:
    began = time.monotonic()
    OUT.mkdir(parents=True, exist_ok=True)
    log = OUT / "terraform.log"
    log.unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        with LocalCloud.start() as cloud:
            run(cloud, log)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except (CommandFailed, LocalCloudError, RuntimeError) as error:
        print(f"\nThe demo stopped: {error}\nTerraform's whole output: {log}", file=sys.stderr)
        return 1
    print(
        f"\nAll of it in {time.monotonic() - began:.1f} s. "
        f"Terraform's whole output: {log.relative_to(ROOT)}"
    )
    return 0


def run(cloud: LocalCloud, log: Path) -> None:
    demo = Demo(cloud)
    with demo.step("A local cloud on 127.0.0.1, and a provider for Terraform"):
        before = cloud.get("/snapshot")
        deployment = Deployment.prepare(cloud)
        say(f"project   {cloud.project}")
        say(f"provider  {deployment.provider.title}")
        say(f"uploads   with {uploader()[0]}")
    with demo.step(f"make bootstrap PROJECT={cloud.project} YES=1"), demo.progress():
        say(summary(deployment.make("bootstrap", "YES=1", log=log).stdout))
    with demo.step(f"make apply ENV=dev PROJECT={cloud.project} YES=1"), demo.progress():
        say(summary(deployment.make("apply", "ENV=dev", "YES=1", log=log).stdout))
    outputs = deployment.outputs()
    uploads, results = outputs["uploads_bucket"], outputs["results_bucket"]
    with demo.step("A photo and a broken file go into the uploads bucket"):
        good, bad = samples()
        gs(deployment, "cp", good, bad, f"gs://{uploads}/photos/")
        sizes = ", ".join(f"{path.name} ({path.stat().st_size:,} bytes)" for path in (good, bad))
        say(f"uploaded: {sizes}, the first third of it")
    with demo.step("Both are answered: one manifest, one failure record"):
        cloud.idle(horizon=5, timeout=120)
        listing = gs(deployment, "ls", f"gs://{results}/**").split()
        say("\n".join(listing))
        records = [one(listing, part) for part in ("/manifests/", "/failures/")]
        say(show(gs(deployment, "cat", *records)))
        thumbnail = OUT / "thumbnail.jpg"
        gs(deployment, "cp", one(listing, "/files/"), thumbnail)
        with Image.open(thumbnail) as image:
            size = f"{image.width}×{image.height} {image.format}"
        say(f"thumbnail saved: {thumbnail.relative_to(ROOT)} ({size}, upright)")
    with demo.step("What happened, from the logs"):
        say(story(cloud))
    with demo.step(f"make plan ENV=dev PROJECT={cloud.project}"):
        text = deployment.make("plan", "ENV=dev", log=log).stdout
        if "No changes" not in text:
            raise CommandFailed("a second plan wants changes:\n" + text[-3000:])
        say("No changes. Your infrastructure matches the configuration.")
    with demo.step(f"make destroy ENV=dev PROJECT={cloud.project}, then ENV=bootstrap"):
        say(summary(deployment.make("destroy", "ENV=dev", "YES=1", log=log).stdout))
        say(summary(deployment.make("destroy", "ENV=bootstrap", "YES=1", log=log).stdout))
        left = sorted(set(cloud.get("/snapshot")) - set(before))
        if left:
            raise CommandFailed("destroy left behind:\n" + "\n".join(left))
        say("The local cloud holds what it held before, and nothing else.")


def gs(deployment: Deployment, *words: str | Path) -> str:
    """Runs the upload client and shows the command."""
    _, short, command = uploader()
    shown = [Path(w).relative_to(ROOT) if isinstance(w, Path) else w for w in words]
    say(f"$ {join([*short, *shown])}")
    done = subprocess.run(
        command(*map(str, words)), env=deployment.environ, capture_output=True, text=True
    )
    if done.returncode:
        raise CommandFailed(f"{join([*short, *shown])}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def one(listing: list[str], part: str) -> str:
    found = [name for name in listing if part in name]
    if len(found) != 1:
        raise CommandFailed(f"expected one {part.strip('/')} object, found {found or 'none'}")
    return found[0]


def show(text: str) -> str:
    """JSON documents, one after the other."""
    shown, decoder = [], json.JSONDecoder()
    while text := text.strip():
        record, end = decoder.raw_decode(text)
        shown.append(json.dumps(record, indent=2, ensure_ascii=False))
        text = text[end:]
    return "\n".join(shown)


def summary(text: str) -> str:
    """What Terraform says at the end of an apply or destroy."""
    lines = [line.strip() for line in text.splitlines()]
    return next(
        (
            line
            for line in reversed(lines)
            if line.startswith(("Apply complete", "Destroy complete"))
        ),
        lines[-1],
    )


def story(cloud: LocalCloud) -> str:
    """Per file: how it ended, seconds from upload to record, attempts; and where the logs are."""
    logged = [line["payload"] for line in cloud.journal("log") if isinstance(line["payload"], dict)]
    lines = [
        f"{entry['object']}: {entry['event']} {entry['age_seconds']:.2f} s after its upload, "
        f"attempt {entry['attempt']}"
        for entry in logged
        if entry.get("event") in ("done", "failed")
    ]
    kept = OUT / "journal.jsonl"
    shutil.copy(cloud.get("/journal")["path"], kept)
    deliveries = len(cloud.journal("pubsub.push"))
    attempts = len(cloud.journal("tasks.attempt"))
    lines.append(f"{len(lines)} files, {deliveries} events delivered, {attempts} tasks dispatched")
    lines.append(f"every call, delivery, attempt and log line: {kept.relative_to(ROOT)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
