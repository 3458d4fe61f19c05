"""The portal on an applied environment: curl, many clients, outages, faults, what logs hold."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.portal.conftest import LONG, PROCESSOR, STATUS, UPLOAD, Portal
from tests.system.pipeline import jpeg

# The whole proof: FILES=1000 CLIENTS=50 make test-portal.
FILES, CLIENTS = int(os.environ.get("FILES", 60)), int(os.environ.get("CLIENTS", 12))
UPLOADER = f"serviceAccount:{UPLOAD}@*"
TELLER = f"serviceAccount:{STATUS}@*"


def curl(*words: str) -> Any:
    done = subprocess.run(["curl", "-s", "-S", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# As the sources have it


def test_curl_uploads_a_picture_as_the_sources_show(portal: Portal, tmp_path: Path) -> None:
    picture = tmp_path / "test-image.jpg"
    picture.write_bytes(jpeg(800, 600))
    answer = curl("-X", "POST", "-F", f"file=@{picture}", f"{portal.base}/upload")
    file_id = answer["file_id"]
    assert answer == {
        "status": "accepted",
        "file_id": file_id,
        "message": "File queued for processing",
        "filename": "test-image.jpg",
    }
    (output,) = portal.ended(file_id)["outputs"]
    assert (output["width"], output["height"]) == (300, 225)
    thumbnail = portal.http.get(output["url"], timeout=60)
    assert thumbnail.headers["Content-Type"] == "image/jpeg"
    assert len(thumbnail.content) == output["size"]


def test_curl_uploads_an_invalid_file_and_is_told_why(portal: Portal, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(jpeg(800, 600)[:2000])
    answer = curl("-X", "POST", "-F", f"file=@{broken}", f"{portal.base}/upload")
    told = portal.ended(answer["file_id"])
    assert (told["status"], told["reason"]) == ("failed", "truncated_image")
    assert told["detail"].endswith(".")


def test_curl_without_a_file_is_refused(portal: Portal) -> None:
    answer = curl("-X", "POST", f"{portal.base}/upload")
    assert (answer["status"], answer["reason"]) == (400, "no_file")


# Many


def test_many_files_of_many_clients_each_end_once(portal: Portal) -> None:
    """Every second request is repeated, as by a client that lost the answer."""
    before, good, bad = set(portal.stored()), jpeg(64, 64), jpeg(64, 64)[:300]
    accepted: list[str] = []
    ended: dict[str, str] = {}
    lock = threading.Lock()

    def work(number: int) -> None:
        client = portal.again()
        for index in range(number, FILES, CLIENTS):
            data = good if index % 3 else bad
            key = {"Idempotency-Key": str(uuid.uuid4())}
            offers = [
                client.offer(f"{index}.jpg", len(data), headers=key) for _ in range(1 + index % 2)
            ]
            (file_id,) = {offer.json()["file_id"] for offer in offers}
            codes = [client.send(o.json()["upload"]["url"], data).status_code for o in offers]
            assert codes == [200] + [412] * (len(offers) - 1)
            with lock:
                accepted.append(file_id)
            told = client.ended(file_id)
            with lock:
                ended[file_id] = told["status"]

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, range(CLIENTS)))
    assert len(set(accepted)) == FILES
    assert ended.keys() == set(accepted)
    assert sorted(ended.values()) == ["done"] * (FILES - (FILES + 2) // 3) + ["failed"] * (
        (FILES + 2) // 3
    )
    stored = set(portal.stored()) - before
    assert len(stored) == FILES
    assert {f"uploads-{name.split('/')[2]}" for name in stored} == set(accepted)


def test_a_page_shows_an_end_within_a_second_of_its_record(portal: Portal) -> None:
    lags = []
    for number in range(9):
        file_id = portal.upload(f"lag-{number}.jpg", jpeg(64, 64))
        portal.ended(file_id)
        seen = time.time()
        bucket = portal.pipeline.client.bucket(portal.pipeline.results)
        prefix = f"manifests/uploads/-/{file_id[-32:]}/"
        (manifest,) = list(portal.pipeline.client.list_blobs(bucket, prefix=prefix))
        now = datetime.fromisoformat(portal.cloud.get("/clock")["now"])  # driven time runs ahead
        lags.append(seen - time.time() + (now - manifest.time_created).total_seconds())
    assert statistics.median(lags) <= 1.0, lags


# A client that lies


def test_a_client_that_lies_about_size_is_told_file_too_large(portal: Portal) -> None:
    accepted = portal.offer("lie.pdf", 10, "application/pdf").json()
    sent = portal.send(accepted["upload"]["url"], bytes(104857601))
    assert sent.status_code == 200, sent.text
    told = portal.ended(accepted["file_id"])
    assert (told["status"], told["reason"]) == ("failed", "file_too_large")


# Away


def test_the_processor_away_for_an_hour_is_waited_for(portal: Portal) -> None:
    portal.cloud.post("/run/down", {"service": PROCESSOR})
    file_id = portal.upload("patient.jpg", jpeg(64, 64))
    stream = portal.events(file_id)
    assert next(stream)["status"] == "waiting"
    portal.cloud.advance(3600)
    assert portal.status(file_id)["status"] == "waiting"
    stream.close()  # a page that lost its connection
    portal.cloud.post("/run/up", {"service": PROCESSOR})
    portal.cloud.advance(LONG)
    told = portal.ended(file_id)
    assert (told["status"], told["attempt"]) == ("done", 1)


# Faults


@pytest.mark.parametrize("code", [429, 503])
def test_a_passing_fault_of_cloud_storage_is_not_even_seen(portal: Portal, code: int) -> None:
    rule = {"method": "storage.objects.*", "member": UPLOADER, "code": code, "times": 2}
    portal.cloud.post("/faults", {"rules": [rule]})
    assert portal.ended(portal.upload("again.jpg", jpeg(64, 64)))["status"] == "done"


@pytest.mark.parametrize("way", ["files", "upload"])
@pytest.mark.parametrize("after", [False, True])
def test_an_outage_is_told_and_a_repeat_makes_no_second_file(
    portal: Portal, way: str, after: bool
) -> None:
    """after: it took effect, but the answer was lost."""
    data, key = jpeg(64, 64), {"Idempotency-Key": str(uuid.uuid4())}
    name = f"outage-{way}-{after}.jpg"
    rule = {"method": "storage.objects.insert", "member": UPLOADER, "code": 503, "after": after}
    portal.cloud.post("/faults", {"rules": [rule]})

    def ask() -> Any:
        if way == "files":
            return portal.offer(name, len(data), headers=key)
        file = {"file": (name, data, "image/jpeg")}
        return portal.http.post(f"{portal.base}/upload", files=file, headers=key, timeout=60)

    refused = ask()
    if refused.status_code >= 400:
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.json()["reason"] == "unavailable"
    else:  # the form was stored, and the library's own repeat found it there
        assert (way, after) == ("upload", True)
    portal.cloud.delete("/faults")
    answer = ask()
    if way == "files":
        portal.send(answer.json()["upload"]["url"], data)
    assert portal.ended(answer.json()["file_id"])["status"] == "done"
    assert len([stored for stored in portal.stored() if stored.endswith(name)]) == 1


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("way", ["files", "upload"])
def test_a_kill_in_the_middle_costs_a_repeat_and_no_more(
    portal: Portal, way: str, skip: int
) -> None:
    """The instance dies at its call of Cloud Storage: before it took effect, or after."""
    data, key = jpeg(64, 64), {"Idempotency-Key": str(uuid.uuid4())}
    name = f"killed-{way}-{skip}.jpg"
    rule = {"method": "storage.objects.insert", "member": UPLOADER, "kill": True, "times": 1}
    portal.cloud.post("/faults", {"rules": [rule | {"after": bool(skip)}]})

    def ask() -> Any:
        if way == "files":
            return portal.offer(name, len(data), headers=key)
        file = {"file": (name, data, "image/jpeg")}
        return portal.http.post(f"{portal.base}/upload", files=file, headers=key, timeout=60)

    assert ask().status_code == 503
    answer = ask()
    assert answer.status_code in (201, 202), answer.text
    if way == "files":
        portal.send(answer.json()["upload"]["url"], data)
    assert portal.ended(answer.json()["file_id"])["status"] == "done"
    assert len([stored for stored in portal.stored() if stored.endswith(name)]) == 1


@pytest.mark.parametrize("method", ["storage.objects.list", "storage.objects.get", "*signBlob"])
def test_status_tells_an_outage_with_when_to_come_again(portal: Portal, method: str) -> None:
    other = portal.upload(f"unsigned-{method[:10]}.jpg", jpeg(64, 64))
    portal.pipeline.settle()
    portal.cloud.post("/faults", {"rules": [{"method": method, "member": TELLER, "code": 503}]})
    answer = portal.http.get(f"{portal.base}/files/{other}", timeout=90)
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    portal.cloud.delete("/faults")
    assert portal.status(other)["status"] == "done"


def test_a_token_that_ends_before_its_time_is_renewed(portal: Portal) -> None:
    rule = {"method": "storage.objects.insert", "code": 401, "times": 1}
    portal.cloud.post("/faults", {"rules": [rule]})
    offers = [portal.offer(f"expired-{number}.jpg", 4, "text/plain") for number in range(8)]
    assert [offer.status_code for offer in offers] == [201] * 8
    for offer in offers:
        assert portal.status(offer.json()["file_id"])["status"] == "waiting"


# What logs hold


def test_no_log_and_no_journal_of_requests_holds_a_key(portal: Portal) -> None:
    file_id = portal.upload("private-name.jpg", jpeg(64, 64))
    assert "X-Goog-Signature" in json.dumps(portal.ended(file_id))
    lines = portal.cloud.journal("log")
    ours = [json.dumps(line) for line in lines if line["service"] in (UPLOAD, STATUS)]
    assert any(file_id in line for line in ours)
    for secret in ("upload_id", "X-Goog-Signature", "X-Goog-Credential", "private-name"):
        assert not [line for line in ours if secret in line], secret


def test_an_interrupted_upload_goes_on_where_it_broke_off(portal: Portal) -> None:
    data = jpeg(64, 64) + bytes(600_000)
    accepted = portal.offer("resumed.jpg", len(data)).json()
    url, cut = accepted["upload"]["url"], 262144
    part = {"Content-Range": f"bytes 0-{cut - 1}/{len(data)}"}
    assert portal.http.put(url, data=data[:cut], headers=part, timeout=60).status_code == 308
    asked = portal.http.put(url, headers={"Content-Range": f"bytes */{len(data)}"}, timeout=60)
    assert asked.status_code == 308
    reached = int(re.fullmatch(r"bytes=0-(\d+)", asked.headers["Range"])[1]) + 1
    rest = {"Content-Range": f"bytes {reached}-{len(data) - 1}/{len(data)}"}
    assert portal.http.put(url, data=data[reached:], headers=rest, timeout=60).status_code == 200
    assert portal.ended(accepted["file_id"])["status"] == "done"
