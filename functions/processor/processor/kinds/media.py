"""Video and sound: what is in the container, a picture that stands for it, and renditions of it.

FFmpeg is told by which demuxer to read, knows of no protocol, and gets the file as bytes: playlists
and references to other files lead nowhere.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import av
import av.error
from av.stream import Disposition
from PIL import ImageStat

from contract.records import Media, Stream
from processor.errors import Fault, PermanentError
from processor.formats import KINDS
from processor.kinds import MEDIA, Job, Outcome, Output
from processor.kinds.render import load_encoders, render
from processor.kinds.shown import Shown
from processor.kinds.transcode import THREADS, transcoded
from processor.settings import Config

_PIXEL_BYTES, _ENCODED_BYTES = 64, 160  # of memory for each pixel that is decoded, and encoded
_LOOKS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)  # of the duration, where a poster is looked for
_FIRST_FRAMES = 50  # are looked at where that cannot be
_STREAMS, _SHOWN = 32, 200
_TAGS = ("title", "artist", "album", "album_artist", "composer", "genre", "date", "track",
         "creation_time", "language")  # fmt: skip
_PROGRAMS = ("av.__main__", "av.datasets")
_MILD = (av.error.FFmpegError, ValueError, OSError, EOFError)


def preload(content_type: str, config: Config) -> None:
    """PyAV imports its parts as streams need them, and then there is nothing to import from."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in _PROGRAMS:
            importlib.import_module(module.name)
    load_encoders(config)
    av.logging.set_level(None)


def process(job: Job) -> Outcome:
    file = job.content.all(job.config.max_file_bytes)
    demuxer, nothing = MEDIA[job.content_type or ""], {"protocol_whitelist": "none"}
    try:
        with av.open(file, format=demuxer, metadata_errors="replace", options=nothing) as container:
            return _outcome(job, container)
    except (Fault, MemoryError):
        raise
    except Exception as error:  # a decoder may raise anything over hostile bytes
        raise corrupt() from error


def corrupt(detail: str = "The file cannot be read as video or sound.") -> PermanentError:
    return PermanentError("corrupt_media", detail)


def _outcome(job: Job, container: Any) -> Outcome:
    facts = _facts(container)
    if not any(map(_is_shown_or_heard, facts["streams"])):
        raise corrupt("There is neither video nor sound in it.")
    known = [one for one in container.streams.video if one.codec_context]
    videos = [one for one in known if one.width and one.height]
    _admit(job, videos[:1])
    outputs: tuple[Output, ...] = ()
    shown = _shown(container, videos[0]) if videos else None
    if videos and not shown and not _is_cover(videos[0]):
        raise corrupt("No frame of it can be decoded.")
    if shown:
        facts |= {"width": shown.upright[0], "height": shown.upright[1]}
        if shown.is_hdr:
            facts["hdr"] = True
        picture = shown.picture()
        outputs = render(picture, picture.size, shown.orientation, job.config.pictures)
        if not _is_cover(videos[0]):
            outputs += transcoded(job, container, videos[0], shown)
    content_type = job.content_type or ""
    if content_type == "video/mp4" and not container.streams.video:
        content_type = "audio/mp4"
    return Outcome(content_type, {"media": facts}, outputs)


def _admit(job: Job, videos: list[Any]) -> None:
    """Raises what Room.need raises, before a frame is decoded."""
    config = job.config
    copies = KINDS["media"]["copies"] if config.videos else 2
    needed = (KINDS["media"]["base_mib"] << 20) + copies * job.size
    for video in videos:
        pixels = video.width * video.height
        if pixels > config.max_pixels:
            detail = f"It has more than {config.max_pixels} pixels."
            raise PermanentError("too_many_pixels", detail)
        needed += _PIXEL_BYTES * pixels
        made = [min(pixels, one.width * one.height) for one in config.videos.values()]
        needed += _ENCODED_BYTES * max(made, default=0)
    job.room.need(needed)


def _facts(container: Any) -> Media:
    facts: Media = {
        "container": container.format.name[:_SHOWN],
        "streams": [_stream(one) for one in list(container.streams)[:_STREAMS]],
    }
    if container.duration and container.duration > 0:
        facts["duration"] = round(container.duration / 1_000_000, 3)
    tags = {name.lower(): value for name, value in container.metadata.items()}
    if known := {name: tags[name][:_SHOWN] for name in _TAGS if tags.get(name)}:
        facts["tags"] = known
    return facts


def _stream(stream: Any) -> Stream:
    codec = stream.codec_context
    facts: Stream = {
        "type": stream.type,
        "codec": codec.codec.canonical_name if codec else "unknown",
    }
    if codec and stream.type == "video":
        facts |= {"width": codec.width, "height": codec.height}
        if rate := stream.average_rate:
            facts["frameRate"] = round(float(rate), 3)
        if _is_cover(stream):
            facts["cover"] = True
    elif codec and stream.type == "audio":
        facts |= {"sampleRate": codec.sample_rate, "channels": codec.layout.nb_channels}
    if language := stream.metadata.get("language"):
        facts["language"] = language[:_SHOWN]
    return facts


def _is_shown_or_heard(stream: Stream) -> bool:
    """A codec that is not known here counts; a sound without a rate does not."""
    return stream["type"] == "video" or (
        stream["type"] == "audio" and stream.get("sampleRate") != 0
    )


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _shown(container: Any, video: Any) -> Shown | None:
    """The frame that shows most, among a few; None where none can be decoded."""
    best, most = None, -1.0
    for frame in _frames(container, video):
        small = frame.reformat(width=64, height=64, format="gray").to_image()
        shows = ImageStat.Stat(small).stddev[0]
        if shows > most:
            best, most = frame, shows
    return Shown(best, video) if best else None


def _frames(container: Any, video: Any) -> Any:
    """One frame at each place; the first ones where the container cannot be searched."""
    video.thread_count = THREADS
    found = 0
    duration = 0 if _is_cover(video) else container.duration or 0
    for look in _LOOKS if duration > 0 else ():
        try:
            container.seek(int(duration * look), backward=True, any_frame=False)
            frame = next(container.decode(video), None)
        except MemoryError:
            raise
        except _MILD:
            continue
        if frame is not None:
            found += 1
            yield frame
    if not found:
        try:
            container.seek(0)
            for number, frame in enumerate(container.decode(video)):
                if number == _FIRST_FRAMES:
                    return
                yield frame
        except MemoryError:
            raise
        except _MILD:
            return
