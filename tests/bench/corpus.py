"""Files to measure with: photographs in effect, made once and kept in the cache."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.localcloud.client import CACHE

FOLDER = CACHE / "bench" / "corpus"
PHOTO = (4000, 3000)


@dataclass(frozen=True, slots=True)
class File:
    """A kind of file: its title, how its name ends, the type it is declared as."""

    title: str
    suffix: str
    content_type: str
    write: Callable[[Path], None]

    @property
    def path(self) -> Path:
        """Made when first asked for."""
        path = FOLDER / f"{self.title.replace(' ', '-').lower()}{self.suffix}"
        if not path.exists():
            FOLDER.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"partial-{path.name}")
            self.write(partial)
            partial.rename(path)
        return path

    @property
    def is_image(self) -> bool:
        return self.content_type.startswith("image/")


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Smooth areas, edges and grain: as JPEG of quality 88 about 0.35 bytes a pixel."""
    coarse = [Image.effect_noise((width // 60, height // 60), 120) for _ in range(3)]
    smooth = Image.merge("RGB", coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.effect_noise((1024, 1024), 22)
    tiles = Image.new("L", (width, height))
    for left in range(0, width, 1024):
        for top in range(0, height, 1024):
            tiles.paste(grain, (left, top))
    made = Image.blend(smooth, Image.merge("RGB", [tiles] * 3), 0.3)
    if mode == "RGBA":
        made.putalpha(tiles)
    return made.convert(mode)


def _image(size: tuple[int, int], mode: str = "RGB", **options: object) -> Callable[[Path], None]:
    return lambda path: picture(*size, mode).save(path, **options)


def _pdf(path: Path) -> None:
    pages = [picture(1240, 1754) for _ in range(3)]
    pages[0].save(path, "PDF", save_all=True, append_images=pages[1:])


def _video(path: Path) -> None:
    """What a reader sees of one: the boxes in front, and a length."""
    head = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + (10**8 - 32).to_bytes(4, "big") + b"mdat"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(10**8)


def _text(path: Path) -> None:
    line = "2026-11-21T10:15:00Z INFO größe=4000000 name=photos/2026/11/21/000123.jpg done\n"
    path.write_text(line * (10**7 // len(line.encode())))


def _heic(path: Path) -> None:
    """By the tools' environment: the library that the processor reads HEIC with cannot write it."""
    source = path.with_suffix(".png")
    picture(*PHOTO).save(source, compress_level=0)
    code = (
        "import sys, pillow_heif; from PIL import Image; pillow_heif.register_heif_opener();"
        "Image.open(sys.argv[1]).save("
        "sys.argv[2], 'HEIF', quality=60, enc_params={'preset': 'ultrafast'})"
    )
    python = CACHE / "bench" / "tools" / "bin" / "python"
    try:
        subprocess.run([python, "-c", code, source, path], check=True, capture_output=True)
    finally:
        source.unlink()


FILES = (
    File("JPEG 12 MP", ".jpg", "image/jpeg", _image(PHOTO, format="JPEG", quality=88)),
    File("JPEG 24 MP", ".jpg", "image/jpeg", _image((6000, 4000), format="JPEG", quality=88)),
    File("JPEG 48 MP", ".jpg", "image/jpeg", _image((8000, 6000), format="JPEG", quality=88)),
    File("JPEG 12 MP progressive", ".jpg", "image/jpeg",
         _image(PHOTO, format="JPEG", quality=88, progressive=True)),
    File("JPEG 12 MP CMYK", ".jpg", "image/jpeg", _image(PHOTO, "CMYK", format="JPEG", quality=88)),
    File("PNG 8 MP RGB", ".png", "image/png", _image((3264, 2448), format="PNG", compress_level=3)),
    File("PNG 8 MP RGBA", ".png", "image/png",
         _image((3264, 2448), "RGBA", format="PNG", compress_level=3)),
    File("WebP 12 MP", ".webp", "image/webp", _image(PHOTO, format="WEBP", quality=80, method=0)),
    File("TIFF 12 MP", ".tif", "image/tiff",
         _image(PHOTO, format="TIFF", compression="tiff_lzw")),
    File("HEIC 12 MP", ".heic", "image/heic", _heic),
    File("AVIF 12 MP", ".avif", "image/avif", _image(PHOTO, format="AVIF", quality=60, speed=10)),
    File("PDF 3 pages", ".pdf", "application/pdf", _pdf),
    File("Video 100 MB", ".mp4", "video/mp4", _video),
    File("Text 10 MB", ".txt", "text/plain", _text),
)  # fmt: skip
