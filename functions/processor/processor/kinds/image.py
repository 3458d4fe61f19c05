"""Images: admitted by their header, then decoded once, no larger than the renditions need."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

from PIL import Image

from processor.admission import SPARE, image_memory, scale_of
from processor.errors import Fault, PermanentError
from processor.formats import BY_TYPE, Format, header
from processor.headers import Header
from processor.kinds import Job, Outcome, decoders
from processor.kinds.decoders import opened
from processor.kinds.facts import Exif
from processor.kinds.frames import MAX_FRAMES, count
from processor.kinds.render import load_encoders, render
from processor.settings import Config

if TYPE_CHECKING:
    from contract.records import Image as ImageFacts

warnings.filterwarnings("ignore", module="PIL")  # what matters becomes a reason


def preload(content_type: str, config: Config) -> None:
    """Imports whatever process may use."""
    decoders.preload(BY_TYPE[content_type].decoder)
    load_encoders(config)


def process(job: Job) -> Outcome:
    format, config = BY_TYPE[job.content_type or ""], job.config
    found = header(job.content.head, format)
    if found:
        _admit(job, format, found)
    file = job.content.all(config.max_file_bytes)
    Image.MAX_IMAGE_PIXELS = config.max_pixels
    try:
        image = opened(file, format.decoder)
        size = image.size
        if not found or (found.width, found.height) != size:
            _admit(job, format, Header(*size, found.scans if found else 9.0))
        frames = _frames(image, file, format)
        exif = Exif(image)
        turn = getattr(image, "turn", exif.turn)
        image.draft(None, _draft_size(size, turn, config))
        image.load()
        if format.decoder in ("AVIF", "HEIF"):  # cut by its decoder
            size = image.size
    except Image.DecompressionBombError as error:
        raise PermanentError("too_many_pixels", _pixels(config)) from error
    except (Fault, MemoryError):
        raise
    except Exception as error:  # a decoder may raise anything over hostile bytes
        raise _broken(error, file, format) from error
    outputs = render(image, size, turn, config.pictures)
    upright = size[::-1] if turn >= 5 else size
    learnt: ImageFacts = {
        "format": format.name,
        "width": upright[0],
        "height": upright[1],
        "frames": frames,
        **exif.facts(),
        "orientation": turn,
    }
    return Outcome(job.content_type or "", {"image": learnt}, outputs)


def _admit(job: Job, format: Format, found: Header) -> None:
    """Raises PermanentError for what is not to be decoded; else holds as much room as it takes."""
    if found.width * found.height > job.config.max_pixels:
        raise PermanentError("too_many_pixels", _pixels(job.config))
    job.room.need(image_memory(format, found, job.size, job.config))


def _draft_size(size: tuple[int, int], orientation: int, config: Config) -> tuple[int, int]:
    """What a JPEG is decoded to at least: somewhat larger than the largest rendition."""
    renditions = config.pictures.values()
    scale = SPARE * max((scale_of(size, orientation, one) for one in renditions), default=0.0)
    # Never rounded up, or the decoder would take a step more than the memory counted.
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def _frames(image: Image.Image, file: io.BytesIO, format: Format) -> int:
    """Raises PermanentError beyond the limit."""
    with file.getbuffer() as data:
        frames = count(data, format.decoder)
    if frames is None:
        frames = int(getattr(image, "n_frames", 1))
    if frames > MAX_FRAMES:
        raise PermanentError("too_many_frames", f"It has more than {MAX_FRAMES} frames.")
    return frames


def _pixels(config: Config) -> str:
    return f"It has more than {config.max_pixels} pixels."


def _broken(error: Exception, file: io.BytesIO, format: Format) -> PermanentError:
    """Truncated when the decoder says so, or the container declares more bytes than there are."""
    if (
        _short(file.getbuffer(), format)
        or "truncated" in str(error).lower()
        or isinstance(error, EOFError)
    ):
        return PermanentError("truncated_image", "The image ends too early.")
    if format.decoder == "AVIF" and "Not implemented" in str(error):
        return PermanentError(
            "unsupported_image", "Its decoder says that it does not implement this structure."
        )
    said = re.sub(r" ?<[^<>]* at 0x\w+>", "", f"{type(error).__name__}: {error}")  # never the same
    return PermanentError("corrupt_image", f"The decoder says: {said}"[:300])


def _short(data: memoryview, format: Format) -> bool:
    if format.decoder == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    at = 0
    while format.decoder in ("AVIF", "HEIF") and at + 16 <= len(data):  # one box after the other
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        at += length or len(data)  # 0: to the end
    return at > len(data)
