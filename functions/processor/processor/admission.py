"""How much memory a file is given, told by its first bytes: plain Python, before any decoder.

Each `_need` gives bytes, None for all there is: what these bytes do not tell, the decoder will.
Raises PermanentError for what is not even to be read to its end.
"""

from __future__ import annotations

from processor.errors import PermanentError
from processor.formats import KINDS, RENDERED, Format, header, memory
from processor.headers import Header
from processor.settings import Config, Rendition

PDF_BYTES = 96 * 1024 * 1024  # beside the file: with an image of ten megapixels on its page
PLAIN_BYTES = 16 * 1024 * 1024
# How much larger than a rendition a picture is left for the better filter, by a JPEG's decoder or
# by averaging. 2 takes a quarter more CPU for a JPEG of 12 megapixels; against the whole picture
# under that filter it comes to 54 or 55 dB PSNR, 1.5 to 51 to 53: neither is seen.
SPARE = 1.5
Size = tuple[int, int]


def plain_need(head: bytes, size: int, config: Config) -> int:
    return PLAIN_BYTES


def kind_need(kind: str, head: bytes, size: int, config: Config, beside: int | None = None) -> int:
    """Of a file that needs a lane's kind: Terraform counts by the same figures.

    beside: bytes beside two copies of the file, where that is known by now.
    """
    most = size * KINDS[kind]["copies"] if beside is None else 2 * size + beside
    return (KINDS[kind]["base_mib"] << 20) + most


def pdf_need(head: bytes, size: int, config: Config) -> int:
    return pdf_memory(size, config)


def image_need(format: Format, head: bytes, size: int, config: Config) -> int | None:
    found = header(head, format)
    if found is None:
        return None
    if found.width * found.height > config.max_pixels:
        raise PermanentError("too_many_pixels", f"It has more than {config.max_pixels} pixels.")
    return image_memory(format, found, size, config)


def image_memory(format: Format, found: Header, size: int, config: Config) -> int:
    renditions = config.pictures.values()
    stored = (found.width, found.height)
    scale = max((scale_of(stored, turn, one) for one in renditions for turn in (1, 6)), default=0.0)
    drafts = (8, 4, 2) if format.decoder == "JPEG" else ()
    draft = next((n for n in drafts if SPARE * scale * n <= 1), 1)
    pixels = max((one.width * one.height for one in renditions), default=0)
    return memory(format, found, size, draft, pixels)


def pdf_memory(size: int, config: Config) -> int:
    return size + PDF_BYTES + RENDERED * pdf_side(config) ** 2


def pdf_side(config: Config) -> int:
    """The side of a square, in pixels, that holds the largest rendition."""
    return max((max(one.width, one.height) for one in config.pictures.values()), default=0)


def scale_of(size: Size, orientation: int, rendition: Rendition) -> float:
    """How much smaller the rendition is than an image of that stored size; never above 1."""
    box = (rendition.width, rendition.height)[:: -1 if orientation >= 5 else 1]
    ratios = (box[0] / size[0], box[1] / size[1])
    return min(1.0, min(ratios) if rendition.fit == "inside" else max(ratios))
