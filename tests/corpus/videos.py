"""Small videos and sounds, made with the library that reads them."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
from PIL import Image

Paint = Callable[[int], Image.Image]


def video(
    paint: Paint,
    frames: int = 24,
    *,
    format: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    ratio: Fraction | None = None,
    transfer: int | None = None,
    sound: bool = False,
    tags: dict[str, str] | None = None,
) -> bytes:
    """paint: the picture of each frame, 12 a second. transfer: the number of its HDR's."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as made:
        made.metadata.update(tags or {})
        first = paint(0)
        picture: Any = made.add_stream(codec, rate=12, options={"g": "6"})
        picture.width, picture.height, picture.pix_fmt = *first.size, pixels
        if ratio:
            picture.codec_context.sample_aspect_ratio = ratio
        if transfer:
            picture.codec_context.color_trc = transfer
            picture.codec_context.color_primaries = 9
            picture.codec_context.colorspace = 9
        voice: Any = made.add_stream("aac", rate=48000, layout="stereo") if sound else None
        for number in range(frames):
            made.mux(picture.encode(av.VideoFrame.from_image(paint(number))))
        made.mux(picture.encode(None))
        if voice:
            for at in range(0, 4000 * frames, 1024):
                part = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
                for plane in part.planes:
                    plane.update(bytes(4096))
                part.sample_rate, part.pts = 48000, at
                made.mux(voice.encode(part))
            made.mux(voice.encode(None))
    return file.getvalue()


def filmed(seconds: int, size: str, rate: int = 25) -> bytes:
    """FFmpeg's test picture as H.264, with a voice, in MP4."""
    graph = av.filter.Graph()
    source = graph.add("testsrc2", f"size={size}:rate={rate}:duration={seconds}")
    sink = graph.add("buffersink")
    source.link_to(sink)
    graph.configure()
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as container:
        options = {"preset": "veryfast", "crf": "26"}
        picture: Any = container.add_stream("libx264", rate=rate, options=options)
        picture.width, picture.height = map(int, size.split("x"))
        picture.pix_fmt = "yuv420p"
        voice: Any = container.add_stream("aac", rate=48000, layout="mono")
        for number in range(seconds * rate):
            frame: Any = graph.vpull()
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        for at in range(0, 48000 * seconds, 1024):
            part = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            part.planes[0].update(bytes(4096))
            part.sample_rate, part.pts = 48000, at
            container.mux(voice.encode(part))
        container.mux(voice.encode(None))
    return made.getvalue()


def turned(mp4: bytes, degrees: int) -> bytes:
    """The same, to be shown turned clockwise: the matrix of its track says so."""
    one = (1 << 16).to_bytes(4, "big")
    minus, nought, deep = b"\xff\xff\0\0", bytes(4), (1 << 30).to_bytes(4, "big")
    a, b, c, d = {90: (nought, one, minus, nought), 180: (minus, nought, nought, minus),
                  270: (nought, minus, one, nought)}[degrees]  # fmt: skip
    start = mp4.index(b"tkhd") + 4 + 40
    assert mp4[start : start + 4] == one
    matrix = a + b + nought + c + d + nought + nought + nought + deep
    return mp4[:start] + matrix + mp4[start + 36 :]


def sound(format: str = "wav", codec: str = "pcm_s16le", **tags: str) -> bytes:
    """A second of silence."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as made:
        made.metadata.update(tags)
        voice: Any = made.add_stream(codec, rate=48000, layout="stereo")
        name = voice.codec_context.format.name
        size = 1024 * (2 if name.startswith("s16") else 4)
        for at in range(0, 48000, 1024):
            part = av.AudioFrame(format=name, layout="stereo", samples=1024)
            for plane in part.planes:
                plane.update(bytes(plane.buffer_size if not plane.buffer_size < size else size))
            part.sample_rate, part.pts = 48000, at
            made.mux(voice.encode(part))
        made.mux(voice.encode(None))
    return file.getvalue()
