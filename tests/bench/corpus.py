"""Files to measure with: photographs in effect, made once and kept in the cache."""

from __future__ import annotations

import csv
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.corpus.videos import filmed
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


def _film(seconds: int, size: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(filmed(seconds, size))

    return write


def _csv(rows: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["id", "when", "name", "amount", "note"])
            for n in range(rows):
                when = f"2026-{n % 12 + 1:02}-{n % 28 + 1:02}T10:{n % 60:02}:00Z"
                note = f'said "{n % 97}", then left' if n % 3 else ""
                out.writerow([n, when, f"customer {n % 5003}", f"{n * 7919 % 100000 / 100}", note])

    return write


def _pages(count: int) -> Callable[[Path], None]:
    """A PDF of so many pages of text in Helvetica."""

    def write(path: Path) -> None:
        objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"",
                   b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]  # fmt: skip
        kids = []
        for page in range(count):
            lines = "".join(
                f"(Line {n} of page {page}: {n * 7919} words of a survey that nobody reads.) ' "
                for n in range(50)
            )
            text = f"BT /F1 10 Tf 14 TL 50 800 Td {lines}ET".encode()
            kids.append(f"{len(objects) + 1} 0 R")
            objects += [
                b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
                b"/Resources<</Font<</F1 3 0 R>>>>>>" % (len(objects) + 2),
                b"<</Length %d>>stream\n%b\nendstream" % (len(text), text),
            ]
        objects[1] = f"<</Type/Pages/Count {count}/Kids[{' '.join(kids)}]>>".encode()
        out, places = bytearray(b"%PDF-1.7\n"), []
        for number, one in enumerate(objects, 1):
            places.append(len(out))
            out += b"%d 0 obj\n%b\nendobj\n" % (number, one)
        start = len(out)
        out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
        out += b"".join(b"%010d 00000 n \n" % at for at in places)
        out += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)
        path.write_bytes(out)

    return write


def _letter(paragraphs: int) -> Callable[[Path], None]:
    """A DOCX of its two parts."""
    space = "http://schemas.openxmlformats.org"
    root = f"{space}/officeDocument/2006/relationships/officeDocument"

    def write(path: Path) -> None:
        body = "".join(
            f"<w:p><w:r><w:t>Paragraph {n}, with {n * 7919} figures in it.</w:t></w:r></w:p>"
            for n in range(paragraphs)
        )
        main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
        parts = {
            "[Content_Types].xml": f'<Types xmlns="{space}/package/2006/content-types">'
            '<Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{main}"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{space}/package/2006/relationships">'
            f'<Relationship Id="rId1" Type="{root}" Target="word/document.xml"/></Relationships>',
            "word/document.xml": f'<w:document xmlns:w="{space}/wordprocessingml/2006/main">'
            f"<w:body>{body}</w:body></w:document>",
        }
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in parts.items():
                archive.writestr(name, text)

    return write


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

# For lanes of a kind of their own, and what those lanes' first files are.
_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
CSV = File("CSV of 250,000 rows", ".csv", "text/csv", _csv(250_000))
ROWS = File("CSV of 100 rows", ".csv", "text/csv", _csv(100))
FILM = File("Video 10 s of 1080p", ".mp4", "video/mp4", _film(10, "1920x1080"))
CLIP = File("Video 1 s", ".mp4", "video/mp4", _film(1, "640x360"))
PAGES = File("PDF of 300 pages", ".pdf", "application/pdf", _pages(300))
PAGE = File("PDF of a page", ".pdf", "application/pdf", _pages(1))
LETTER = File("DOCX of 2000 paragraphs", ".docx", _DOCX, _letter(2000))
NOTE = File("DOCX of 10 paragraphs", ".docx", _DOCX, _letter(10))
