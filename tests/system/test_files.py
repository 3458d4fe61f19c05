"""One file at a time, through everything: what is uploaded is answered."""

from __future__ import annotations

import gzip
import hashlib
import io

import pytest
from PIL import Image

from tests.system.pipeline import Pipeline, jpeg


def test_a_photo_becomes_a_thumbnail_and_a_manifest(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/tom.jpg"
    generation = pipeline.process(name, jpeg(1200, 800))
    manifest = pipeline.manifest(name, generation)
    assert manifest is not None
    assert manifest["status"] == "done"
    assert manifest["source"]["generation"] == str(generation)
    assert manifest["attempt"] == 1
    (output,) = manifest["outputs"]
    thumbnail = Image.open(io.BytesIO(pipeline.read(output["object"])))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (300, 200))
    assert pipeline.attempts(name, generation) == [f"attempts/{name}/{generation}/1"]


def test_orientation_6_gives_an_upright_thumbnail(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/phone.jpg"
    generation = pipeline.process(name, jpeg(640, 480, orientation=6))
    manifest = pipeline.manifest(name, generation)
    assert manifest is not None
    thumbnail = Image.open(io.BytesIO(pipeline.read(manifest["outputs"][0]["object"])))
    assert thumbnail.size == (225, 300)
    # Stored with red on the left; turned a quarter clockwise, red is on top.
    red, blue = thumbnail.getpixel((112, 40)), thumbnail.getpixel((112, 260))
    assert isinstance(red, tuple)
    assert isinstance(blue, tuple)
    assert red[0] > 180 > red[2]
    assert blue[2] > 180 > blue[0]


ODD_NAMES = [
    "with spaces and (brackets).jpg",
    "naïve – ünïcödé 猫.jpg",
    "hash#mark.jpg",
    "what?.jpg",
    "100%25 real%.jpg",
    "a+b=c&d.jpg",
    "dots/../and//slashes.jpg",
]


@pytest.mark.parametrize("odd", ODD_NAMES)
def test_an_odd_name_goes_through_unchanged(pipeline: Pipeline, fresh: str, odd: str) -> None:
    name = f"{fresh}/{odd}"
    generation = pipeline.process(name, jpeg(64, 64))
    manifest = pipeline.manifest(name, generation)
    assert manifest is not None
    assert manifest["source"]["name"] == name
    assert pipeline.listing(f"files/{name}/{generation}/") == [
        f"files/{name}/{generation}/thumbnail.jpg"
    ]


def test_an_overwrite_is_a_generation_with_a_manifest_of_its_own(
    pipeline: Pipeline, fresh: str
) -> None:
    name = f"{fresh}/twice.jpg"
    first = pipeline.process(name, jpeg(64, 64))
    second = pipeline.process(name, jpeg(128, 64))
    for generation, width in ((first, 64), (second, 128)):
        manifest = pipeline.manifest(name, generation)
        assert manifest is not None
        assert manifest["image"]["width"] == width
    assert len(pipeline.listing(f"manifests/{name}/")) == 2


def test_a_generation_replaced_before_its_task_runs_is_still_processed(
    pipeline: Pipeline, fresh: str
) -> None:
    name = f"{fresh}/quick.jpg"
    first, second = pipeline.upload(name, jpeg(64, 64)), pipeline.upload(name, jpeg(32, 32))
    pipeline.settle()
    assert pipeline.manifest(name, first)
    assert pipeline.manifest(name, second)


def test_a_corrupt_jpeg_is_a_failure_record_not_a_retry(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/broken.jpg"
    data = jpeg(640, 480)
    generation = pipeline.process(name, data[: len(data) // 2])
    failure = pipeline.failure(name, generation)
    assert failure is not None
    assert failure["retryable"] is False
    assert failure["reason"]
    assert failure["detail"]
    assert pipeline.manifest(name, generation) is None
    assert len(pipeline.attempts(name, generation)) == 1


def test_an_empty_file_is_answered(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/empty.txt"
    generation = pipeline.process(name, b"", "text/plain")
    assert pipeline.manifest(name, generation) or pipeline.failure(name, generation)


def test_a_file_over_the_limit_is_named_so(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/big.bin"
    generation = pipeline.process(name, bytes(101 * 1024 * 1024), "application/octet-stream")
    failure = pipeline.failure(name, generation)
    assert failure is not None
    assert failure["reason"] == "file_too_large"


def test_a_text_is_described_in_its_manifest(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/notes.txt"
    generation = pipeline.process(name, "Grüße\naus Köln\n".encode(), "text/plain")
    manifest = pipeline.manifest(name, generation)
    assert manifest is not None
    assert manifest["detected"]["contentType"].startswith("text/plain")
    assert manifest["outputs"] == []


def test_an_object_stored_gzipped_is_read_right(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/zipped.jpg"
    generation = pipeline.process(name, gzip.compress(jpeg(400, 200)), content_encoding="gzip")
    manifest = pipeline.manifest(name, generation)
    assert manifest is not None
    assert manifest["outputs"][0]["width"] == 300


def test_a_folder_marker_makes_no_task(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/folder/"
    generation = pipeline.process(name, b"", "application/x-directory")
    assert pipeline.listing(f"attempts/{name}") == []
    assert pipeline.manifest(name, generation) is None
    assert pipeline.failure(name, generation) is None
    assert [line["status"] for line in pipeline.deliveries("pubsub.push", name)] == [200]


def test_one_trace_id_tells_one_files_story(pipeline: Pipeline, fresh: str) -> None:
    name = f"{fresh}/traced.jpg"
    generation = pipeline.process(name, jpeg(64, 64))
    trace = hashlib.sha256(f"{pipeline.uploads}/{name}#{generation}".encode()).hexdigest()[:32]
    field = "logging.googleapis.com/trace"
    lines = [x for x in pipeline.cloud.journal("log") if isinstance(x["payload"], dict)]
    told = [line for line in lines if line["payload"].get(field, "").endswith(trace)]
    services = {line["service"] for line in told}
    assert services == {"files-dev-bridge", "files-dev-processor-default"}
