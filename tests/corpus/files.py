"""The files: some made here, and those that Pillow's own tests are made of.

Pillow's come with its source distribution, which the package index has. It is fetched into .cache,
by its hash, and never becomes part of this repository.
"""

from __future__ import annotations

import gzip
import io
import random
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PIN = Path(__file__).with_name("sdist.txt")
_ENCODINGS = {  # format → modes it is written in
    "AVIF": ("RGB", "RGBA"), "BMP": ("1", "L", "P", "RGB"), "GIF": ("1", "L", "P", "RGB"),
    "JPEG": ("L", "RGB", "CMYK"), "PNG": ("1", "L", "LA", "P", "I;16", "RGB", "RGBA"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F"), "WEBP": ("RGB", "RGBA"),
}  # fmt: skip
_SIZES = ((1, 1), (3, 700), (641, 479), (2000, 1500))


def pillow() -> list[Path]:
    """About a thousand files. Raises CalledProcessError where the index cannot be reached."""
    folder = ROOT / ".cache/corpus" / PIN.read_text().split()[0]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
                 "pillow", "--require-hashes", "--requirement", str(PIN), "--dest", made],
                check=True,
            )  # fmt: skip
            (archive,) = Path(made).glob("*.tar.gz")
            with tarfile.open(archive) as tar:
                images = [one for one in tar if "/Tests/images/" in one.name and one.isfile()]
                tar.extractall(Path(made) / "files", images, filter="data")
            shutil.move(Path(made) / "files", folder)
    return found(folder)


def found(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def made(folder: Path, seed: int = 1, modes: int = 0) -> list[Path]:
    """Every format and mode in several sizes; cut, damaged, lying and compressed ones of each.

    Args:
        modes: so many of each format alone; 0 for all.
    """
    paths = []
    for name, data in _made(random.Random(seed), modes):
        path = folder / name
        path.write_bytes(data)
        paths.append(path)
    return paths


def _made(chance: random.Random, most: int) -> Iterator[tuple[str, bytes]]:
    noise = Image.effect_noise((2000, 1500), 60)
    for format, modes in _ENCODINGS.items():
        for mode in modes[-most:]:
            for width, height in _SIZES:
                data = _encoded(noise.resize((width, height)), mode, format)
                stem, suffix = f"{mode.replace(';', '-')}-{width}x{height}", format.lower()
                yield f"{stem}.{suffix}", data
                if (width, height) != (641, 479):
                    continue
                yield f"{stem}.gz.{suffix}", gzip.compress(data, 1)
                for part in (0.01, 0.3, 0.97):
                    yield f"{stem}-cut-{part}.{suffix}", data[: int(len(data) * part)]
                for number in range(6):
                    damaged = bytearray(data)
                    near = len(data) if number % 2 else min(400, len(data))
                    for _ in range(1 + 3 * number):
                        damaged[chance.randrange(near)] = chance.randrange(256)
                    yield f"{stem}-damaged-{number}.{suffix}", bytes(damaged)
    for side in (20_000, 60_000, 2**31 - 1):
        yield f"bomb-{side}.png", _bomb(side)
    yield "bomb.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0xF7, 0, 0) + bytes(2000)
    yield "bomb.bmp", b"BM" + struct.pack("<IIIIiiHH", 99, 0, 54, 40, 60_000, 60_000, 1, 24)
    yield "page.pdf", b"%PDF-1.7\n" + bytes(3000)
    yield "empty.jpg", b""
    for number in range(20):
        yield f"noise-{number}.bin", chance.randbytes(chance.randrange(1, 5000))


def _encoded(image: Image.Image, mode: str, format: str) -> bytes:
    file = io.BytesIO()
    converted = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    converted.save(file, format, **({"speed": 10} if format == "AVIF" else {}))
    return file.getvalue()


def _bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that declares side × side pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(3_000_000)))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")
