"""The records in which a task ends: schemas/manifest.schema.json and failure.schema.json.

Void beside a manifest of the same run, a failure record says why there is none yet. Whatever is
NotRequired may be absent from what another target writes; the processor writes it all.
"""

from typing import Literal, NotRequired, Required, TypedDict


class Source(TypedDict):
    """The object; None where the task did not say."""

    bucket: str
    name: str  # in full, also where the record's own name is shortened
    generation: str
    size: NotRequired[int | None]  # stored bytes
    contentType: NotRequired[str | None]
    crc32c: NotRequired[str | None]
    created: NotRequired[str | None]
    metadata: NotRequired[dict[str, str]]  # as the uploader set it; absent where there is none


class Detected(TypedDict):
    contentType: str
    matchesDeclared: bool | None  # None: declared as nothing, or application/octet-stream


class Camera(TypedDict):
    """What an image's metadata tells; never a place."""

    orientation: int  # as EXIF numbers it, in the source: outputs are upright
    camera: NotRequired[str]
    takenAt: NotRequired[str]  # local time, as the camera had it


class Image(Camera):
    format: str
    width: int  # pixels of the picture the right way up
    height: int
    frames: int


class Heading(TypedDict):
    title: str
    level: int  # from 0
    page: NotRequired[int]  # from 1


class Stream(TypedDict, total=False):
    type: Required[str]  # as FFmpeg calls it, like the codec
    codec: Required[str]
    width: int  # pixels as they are stored
    height: int
    frameRate: float  # in a second, on average
    cover: bool  # true of a picture beside sound
    sampleRate: int
    channels: int
    language: str


class Media(TypedDict, total=False):
    container: Required[str]  # FFmpeg's name of it
    streams: Required[list[Stream]]  # the first 32
    duration: float  # seconds
    width: int  # pixels of the picture the right way up, if they are made square
    height: int
    hdr: bool  # true of a picture in PQ or HLG
    tags: dict[str, str]  # never a place


class Sheet(TypedDict):
    name: str
    rows: int
    columns: int


class Document(TypedDict, total=False):
    """Of what cannot be opened without a password encrypted alone is known."""

    encrypted: bool
    pages: int
    words: int
    truncated: bool  # true where the text output, and words, are not of all pages
    outline: list[Heading]  # its first 200
    scanned: bool  # true where there is a picture on the first page and a word on none
    # Text of the first page is drawn in other fonts than its own, which the file does not hold.
    title: str  # as its writer has it, like what follows
    author: str
    created: str
    modified: str
    macros: bool  # true where there are some
    sheets: list[Sheet]  # the first 200 of a workbook
    substitutedFonts: bool


class Text(TypedDict):
    encoding: str  # Python's name of it, or unknown-8bit
    certainty: NotRequired[Literal["certain", "guessed"]]
    lines: int


class Column(TypedDict):
    name: str  # its first 100 characters, as in all the others
    type: str  # as DuckDB calls it
    nulls: int
    min: NotRequired[str]  # absent where there is no value, or none that can be compared
    max: NotRequired[str]


class Table(TypedDict):
    rows: int
    columns: list[Column]


class Facts(TypedDict, total=False):
    """What was learnt of a file, under the name of its kind."""

    image: Image
    document: Document
    media: Media
    table: Table
    text: Text


class Output(TypedDict):
    name: str
    object: str  # in the results bucket
    contentType: str
    size: int
    crc32c: str
    width: NotRequired[int]
    height: NotRequired[int]


class Timings(TypedDict):
    """Seconds."""

    queued: float | None  # from the upload to the start of this attempt
    download: float
    process: float
    upload: float


class _Record(TypedDict):
    schema: Literal[1]
    source: Source
    run: int


class Manifest(_Record, Facts):
    status: Literal["done"]
    attempt: int
    version: str  # sha256 of the processor's source
    detected: Detected
    outputs: list[Output]
    timings: Timings


class Failure(_Record):
    status: Literal["failed"]
    attempt: int  # 0 where none was claimed
    version: NotRequired[str]
    reason: str
    detail: str
    retryable: bool
    trace: str
