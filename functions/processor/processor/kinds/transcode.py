"""Renditions of a video that browsers play: MP4 (H.264, AAC) and WebM (VP9, Opus)."""

from __future__ import annotations

import io
import time
from fractions import Fraction
from typing import Any

import av
import av.error
from av.audio.resampler import AudioResampler

from processor.admission import scale_of
from processor.errors import PermanentError
from processor.formats import VIDEOS
from processor.kinds import Job, Output
from processor.kinds.faststart import faststart
from processor.kinds.shown import Shown, chain

THREADS = 2
_SHARE = 0.8  # of a file's time that its renditions may take
_PATIENCE_SECONDS = 5.0  # before it is reckoned how long it will take
_GROWTH, _LEAST_BYTES = 2, 4 << 20  # of a rendition's size against its file's
_DAMAGED, _DAMAGED_SHARE = 10, 0.1  # of the packets so far, with which a video goes on
_RATE = 48_000
_TIME_BASE = Fraction(1, 90_000)
_TURNS = {8: "cclock", 6: "clock"}
_EMPTY = (av.error.BlockingIOError, av.error.EOFError)


def transcoded(job: Job, container: Any, video: Any, shown: Shown) -> tuple[Output, ...]:
    """One for each rendition in a format of videos. shown: a frame of it. Raises PermanentError."""
    until = time.monotonic() + _SHARE * job.config.work_seconds
    return tuple(
        _Transcoder(job, container, video, shown, name, until).output()
        for name in job.config.videos
    )


class _Limited(io.BytesIO):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._limit:
            detail = f"The rendition has more than {self._limit} bytes."
            raise PermanentError("rendition_too_large", detail)
        return super().write(data)


class _Transcoder:
    def __init__(
        self, job: Job, container: Any, video: Any, shown: Shown, name: str, until: float
    ) -> None:
        self._name, self._tell, names = name, job.tell, list(job.config.videos)
        self._before, self._all = names.index(name), len(names)
        rendition = job.config.videos[name]
        self._container, self._video, self._shown = container, video, shown
        self._audio = next((one for one in container.streams.audio if one.codec_context), None)
        self._packets = self._damaged = 0
        self._rendition, self._format = rendition, VIDEOS[rendition.format]
        self._seconds, self._until, self._began = job.config.work_seconds, until, time.monotonic()
        self._file = _Limited(max(int(_GROWTH * job.size), _LEAST_BYTES))
        self._last, self._heard = Fraction(-1), 0
        scale = scale_of(shown.size, shown.orientation, rendition)
        width, height = (max(2, 2 * round(side * scale / 2)) for side in shown.size)
        self._size = (width, height)
        self._upright = (height, width) if shown.orientation >= 5 else (width, height)

    def output(self) -> Output:
        try:
            self._container.seek(0)
            with av.open(self._file, "w", format=self._format.extension) as made:
                self._write(made)
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError) as error:
            raise PermanentError("corrupt_media", "It cannot be decoded to its end.") from error
        data: bytes | memoryview = self._file.getbuffer()
        if self._format.extension == "mp4":
            data = faststart(self._file.getbuffer())
        file = f"{self._name}.{self._format.extension}"
        return Output(self._name, file, data, self._format.content_type, *self._upright)

    def _write(self, made: Any) -> None:
        """Every stream is there before the first packet is."""
        picture, graph = self._picture(made), self._graph()
        sound = resampler = None
        if self._audio:
            sound = made.add_stream(self._format.audio, rate=_RATE, layout="stereo")
            resampler = AudioResampler(sound.format, "stereo", _RATE)
        for packet in self._container.demux([one for one in (self._video, self._audio) if one]):
            for frame in self._decoded(packet):
                if packet.stream is self._video:
                    graph.vpush(frame)
                    self._pull(made, graph, picture)
                    self._reckon(frame)
                elif sound and resampler:
                    self._hear(made, sound, resampler.resample(frame))
        graph.vpush(None)
        self._pull(made, graph, picture)
        made.mux(picture.encode(None))
        if sound and resampler:
            self._hear(made, sound, resampler.resample(None))
            made.mux(sound.encode(None))

    def _hear(self, made: Any, sound: Any, parts: list[Any]) -> None:
        """What has no time, or one that goes back, follows on."""
        for part in parts:
            at = self._heard if part.pts is None else round(part.pts * part.time_base * _RATE)
            part.pts, part.time_base = max(at, self._heard), Fraction(1, _RATE)
            self._heard = part.pts + part.samples
            made.mux(sound.encode(part))

    def _decoded(self, packet: Any) -> list[Any]:
        """Nothing of a packet that is damaged. Raises FFmpegError where too many of them are."""
        self._packets += 1
        try:
            return list(packet.decode())
        except MemoryError:
            raise
        except av.error.FFmpegError:
            self._damaged += 1
            if self._damaged > max(_DAMAGED, _DAMAGED_SHARE * self._packets):
                raise
            return []

    def _picture(self, made: Any) -> Any:
        options = {"crf": str(self._format.crf(self._rendition.quality)), **self._format.options}
        rate = self._video.average_rate or 30
        picture = made.add_stream(self._format.video, rate=rate, options=options)
        picture.width, picture.height = self._upright
        picture.pix_fmt = "yuv420p"
        picture.codec_context.time_base = _TIME_BASE
        picture.codec_context.thread_count = THREADS
        return picture

    def _graph(self) -> Any:
        filters = self._shown.filters(self._size, "yuv420p")
        if turn := _TURNS.get(self._shown.orientation):
            filters.append(("transpose", turn))
        elif self._shown.orientation == 3:
            filters += [("hflip", ""), ("vflip", "")]
        return chain(self._video, filters)

    def _pull(self, made: Any, graph: Any, picture: Any) -> None:
        while True:
            try:
                frame = graph.vpull()
            except _EMPTY:
                return
            at = frame.pts * frame.time_base if frame.pts is not None else self._last
            if at <= self._last:  # a time that goes back is shown at none
                continue
            self._last, frame.pict_type = at, 0
            made.mux(picture.encode(frame))

    def _reckon(self, frame: Any) -> None:
        """Tells how far it is. Raises PermanentError once it is clear that the time will not do."""
        took, duration = time.monotonic() - self._began, self._container.duration or 0
        part = max(0.0, (frame.time or 0.0) * 1_000_000 / duration) if duration > 0 else 0.0
        self._tell(int(100 * (self._before + min(part, 1.0)) / self._all))
        is_late = part > 0 and took > _PATIENCE_SECONDS and self._began + took / part > self._until
        if is_late or time.monotonic() > self._until:
            detail = f"Its renditions take more time than a file has here, {self._seconds} s."
            raise PermanentError("rendition_too_slow", detail)
