"""Video and sound, in processes of their own: facts, posters, renditions, and what is hostile."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import pytest
from PIL import Image
from test_processor_images import B, G, R, W, close, corners, encode, quarters

from tests.corpus.videos import sound, turned, video

RENDITIONS = {
    "poster": {"width": 120, "height": 120},
    "film": {"width": 90, "height": 90, "format": "mp4"},
}
QUARTERS = quarters(160, 96)
BLACK = Image.new("RGB", (160, 96))


@pytest.fixture(scope="module")
def lane(of_kind: Callable[..., Any]) -> Any:
    return of_kind("media", RENDITIONS=json.dumps(RENDITIONS), MAX_PIXELS="1000000")


@pytest.fixture
def media(lane: Any) -> Callable[..., dict[str, Any]]:
    """Processes a file, each under a name of its own; gives its record."""

    def process(data: bytes, content_type: str | None = None) -> dict[str, Any]:
        record: dict[str, Any] = lane.recorded(data, content_type, "videos")
        return record

    return process


def output(lane: Any, record: dict[str, Any], name: str) -> bytes:
    (found,) = (one for one in record["outputs"] if one["name"] == name)
    return bytes(lane.cloud.results[found["object"]].data)


def poster(lane: Any, record: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(output(lane, record, "poster")))


def frames(data: bytes) -> list[Image.Image]:
    with av.open(io.BytesIO(data)) as film:
        return [frame.to_image() for frame in film.decode(video=0)]  # type: ignore[no-untyped-call]


def test_a_video_is_described_shown_and_made_playable(media: Any, lane: Any) -> None:
    tags = {"title": "Tower", "location": "+52.5+013.4/"}
    record = media(video(lambda n: QUARTERS, sound=True, tags=tags), "video/mp4")
    assert record["detected"] == {"contentType": "video/mp4", "matchesDeclared": True}
    facts = record["media"]
    assert (facts["width"], facts["height"], facts["duration"]) == (160, 96, pytest.approx(2, 0.1))
    assert facts["tags"] == {"title": "Tower"}
    picture, voice = facts["streams"]
    assert (picture["codec"], picture["width"], picture["frameRate"]) == ("h264", 160, 12.0)
    assert (voice["codec"], voice["sampleRate"], voice["channels"]) == ("aac", 48000, 2)
    assert close(corners(poster(lane, record)), [R, G, B, W], 24)
    film = output(lane, record, "film")
    assert film.index(b"moov") < film.index(b"mdat")
    shown = frames(film)
    assert len(shown) == 24
    assert shown[0].size == (90, 54)
    assert close(corners(shown[20]), [R, G, B, W], 40)
    with av.open(io.BytesIO(film)) as made:
        assert [one.codec_context.name for one in made.streams] == ["h264", "aac"]
        assert made.duration == pytest.approx(2_000_000, rel=0.1)


@pytest.mark.parametrize(
    ("degrees", "expected"), [(90, [B, R, W, G]), (180, [W, B, G, R]), (270, [G, W, R, B])]
)
def test_what_was_filmed_sideways_is_upright(
    media: Any, lane: Any, degrees: int, expected: list[Any]
) -> None:
    record = media(turned(video(lambda n: QUARTERS), degrees))
    size = (160, 96) if degrees == 180 else (96, 160)
    assert (record["media"]["width"], record["media"]["height"]) == size
    film = frames(output(lane, record, "film"))[5]
    for picture in (poster(lane, record), film):
        assert (picture.width > picture.height) == (degrees == 180)
        assert close(corners(picture), expected, 40)


def test_pixels_that_are_not_square_become_square(media: Any, lane: Any) -> None:
    record = media(video(lambda n: QUARTERS, ratio=Fraction(4, 3)))
    assert (record["media"]["width"], record["media"]["height"]) == (160, 72)
    assert poster(lane, record).size == (120, 54)


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.58), (18, 0.75)])
def test_the_white_of_hdr_is_white(media: Any, lane: Any, transfer: int, white: float) -> None:
    """203 nits in PQ, three quarters of the signal in HLG: ITU-R BT.2408."""
    grey = Image.new("RGB", (160, 96), (round(255 * white),) * 3)
    data = video(lambda n: grey, 6, codec="libx265", pixels="yuv420p10le", transfer=transfer)
    record = media(data)
    assert record["media"]["hdr"] is True
    assert min(poster(lane, record).getpixel((60, 30))) > 240  # type: ignore[type-var]
    assert min(frames(output(lane, record, "film"))[0].getpixel((20, 20))) > 236  # type: ignore[type-var]


def test_the_poster_is_not_the_black_beginning(media: Any, lane: Any) -> None:
    record = media(video(lambda n: QUARTERS if 13 <= n < 19 else BLACK, 24))
    assert close(corners(poster(lane, record)), [R, G, B, W], 24)


def test_where_nothing_can_be_searched_a_few_first_frames_are_looked_at() -> None:
    import itertools
    from types import SimpleNamespace

    from processor.kinds import media

    container = SimpleNamespace(
        duration=None, seek=lambda at: None, decode=lambda video: itertools.count()
    )
    stream = SimpleNamespace(disposition=av.stream.Disposition(0))
    assert len(list(itertools.islice(media._frames(container, stream), 99))) == 50


def test_other_containers_are_read(media: Any, lane: Any) -> None:
    record = media(video(lambda n: QUARTERS, 12, format="matroska", sound=True), "video/x-matroska")
    assert record["detected"] == {"contentType": "video/x-matroska", "matchesDeclared": True}
    with av.open(io.BytesIO(output(lane, record, "film"))) as made:
        heard = made.streams.audio[0]
        assert heard.duration * heard.time_base == pytest.approx(1, abs=0.1)  # type: ignore[operator]
    for format, codec, content_type in (
        ("wav", "pcm_s16le", "audio/x-wav"), ("mp3", "libmp3lame", "audio/mpeg"),
        ("flac", "flac", "audio/x-flac"), ("mp4", "aac", "audio/mp4"),
    ):  # fmt: skip
        record = media(sound(format, codec, title="Song"), content_type)
        assert record["detected"] == {"contentType": content_type, "matchesDeclared": True}
        assert record["media"]["duration"] == pytest.approx(1, abs=0.1)
        assert record["media"]["streams"][0]["codec"] == codec.removeprefix("lib").removesuffix(
            "lame"
        )
        assert record["outputs"] == []


def test_a_cover_is_a_picture_and_no_video(media: Any, lane: Any) -> None:
    """Whether it can be decoded or not, its sound is described."""
    song = sound("mp3", "libmp3lame")
    song = song[10 + int.from_bytes(song[6:10]) :] if song.startswith(b"ID3") else song
    for picture, shown in ((encode(QUARTERS), ["poster"]), (b"\xff\xd8\xff no picture", [])):
        record = media(tagged(picture) + song, "audio/mpeg")
        assert [one["name"] for one in record["outputs"]] == shown
        assert [one.get("cover") for one in record["media"]["streams"]] == [None, True]


def tagged(picture: bytes) -> bytes:
    """An ID3v2.3 tag that holds a cover."""
    frame = b"\0image/jpeg\0\x03\0" + picture
    frame = b"APIC" + len(frame).to_bytes(4, "big") + b"\0\0" + frame
    size = len(frame)
    return b"ID3\x03\0\0" + bytes(size >> at & 0x7F for at in (21, 14, 7, 0)) + frame


def test_a_video_goes_on_over_a_damaged_packet(media: Any, lane: Any) -> None:
    data = bytearray(video(lambda n: QUARTERS, 48, format="matroska"))
    for at in range(len(data) // 2, len(data) // 2 + 40):
        data[at] ^= 0xFF
    record = media(bytes(data))
    assert record["status"] == "done"
    assert len(frames(output(lane, record, "film"))) > 24


REFERENCE = b"""#EXTM3U
#EXT-X-TARGETDURATION:1
#EXTINF:1,
file:///etc/passwd
"""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (video(lambda n: QUARTERS)[:1200], "corrupt_media"),
        (b"\0\0\0\x18ftypmp42" + bytes(3000), "corrupt_media"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + REFERENCE, "corrupt_media"),
        (video(lambda n: Image.new("RGB", (1200, 900)), 2), "too_many_pixels"),
    ],
    ids=["cut", "empty", "a playlist", "large"],
)
def test_what_is_hostile_is_named(media: Any, data: bytes, reason: str) -> None:
    record = media(data)
    assert (record.get("reason"), record["attempt"]) == (reason, 1)


def test_a_rendition_that_would_take_too_long_is_refused_early(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = video(lambda n: QUARTERS, 6)
    processor.configure(KIND="media", RENDITIONS=json.dumps(RENDITIONS))
    monkeypatch.setattr("processor.kinds.transcode._PATIENCE_SECONDS", -1.0)
    assert processor.process(data, name="short", contentType="video/mp4")["status"] == "done"
    monkeypatch.setattr("processor.kinds.transcode._SHARE", 1e-9)
    record = processor.process(data, name="long", contentType="video/mp4")
    assert (record["reason"], record["attempt"]) == ("rendition_too_slow", 1)


def test_a_rendition_larger_than_its_file_by_far_is_refused(
    processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor.configure(KIND="media", RENDITIONS=json.dumps(RENDITIONS))
    monkeypatch.setattr("processor.kinds.transcode._LEAST_BYTES", 0)
    monkeypatch.setattr("processor.kinds.transcode._GROWTH", 0.01)
    record = processor.process(video(lambda n: QUARTERS, 6), contentType="video/mp4")
    assert record["reason"] == "rendition_too_large"


def test_a_picture_in_a_lane_of_media_is_a_picture(media: Any) -> None:
    record = media(encode(quarters(200, 100)), "image/jpeg")
    assert [one["name"] for one in record["outputs"]] == ["poster"]


def test_a_default_lane_describes_video_as_it_did(processor: Any) -> None:
    record = processor.process(video(lambda n: QUARTERS, 3), contentType="video/mp4")
    assert (record["detected"]["contentType"], record["outputs"]) == ("video/mp4", [])
