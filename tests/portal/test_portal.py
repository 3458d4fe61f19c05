"""The portal on an applied environment: curl, many clients, outages, faults, what logs hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.bench.portal import Bench, measured
from tests.localcloud.client.local import SHOWCASE
from tests.portal.client import Client
from tests.portal.conftest import STATUS, UPLOAD, Portal
from tests.system.pipeline import jpeg

# The whole proof: FILES=1000 CLIENTS=50 make test-portal.
FILES, CLIENTS = int(os.environ.get("FILES", 24)), int(os.environ.get("CLIENTS", 8))
UPLOADER = f"serviceAccount:{UPLOAD}@*"
TELLER = f"serviceAccount:{STATUS}@*"


def curl(*words: str) -> Any:
    if not shutil.which("curl"):
        pytest.skip("curl is not here: its commands did not run")
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
                client.accepted(f"{index}.jpg", len(data), headers=key)
                for _ in range(1 + index % 2)
            ]
            (file_id,) = {offer["file_id"] for offer in offers}
            codes = [client.send(offer["upload"]["url"], data).status_code for offer in offers]
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


def test_a_client_is_told_of_an_end_within_a_second_of_its_record(portal: Portal) -> None:
    lags = []
    for number in range(5):
        file_id = portal.upload(f"lag-{number}.jpg", jpeg(64, 64))
        portal.ended(file_id)
        seen = time.time()
        bucket = portal.pipeline.client.bucket(portal.outputs_of("published"))
        prefix = f"published/uploads/-/{file_id[-32:]}/"
        (record,) = list(portal.pipeline.client.list_blobs(bucket, prefix=prefix))
        now = datetime.fromisoformat(portal.cloud.get("/clock")["now"])  # driven time runs ahead
        lags.append(seen - time.time() + (now - record.time_created).total_seconds())
    assert statistics.median(lags) <= 1.0, lags


def test_the_benchmark_still_runs(portal: Portal) -> None:
    """Nothing is said about its figures."""
    section = measured(Bench(portal.cloud, portal.pipeline.client, SHOWCASE, portal.base, True))
    assert "POST /files" in section.samples
    unseen = [note for note in section.notes if "NOT RUN" in note]
    assert ("manifest to page" in section.samples) == (not unseen)
    assert [len(rows) for _, rows in section.tables] == [3, 2, 4] + [1] * (not unseen)
    if unseen:
        pytest.skip(f"not proved: {unseen[0]}")


# A client that lies


def test_a_client_that_lies_about_size_is_told_file_too_large(portal: Portal) -> None:
    accepted = portal.offer("lie.pdf", 10, "application/pdf").json()
    sent = portal.send(accepted["upload"]["url"], bytes(104857601))
    assert sent.status_code == 200, sent.text
    told = portal.ended(accepted["file_id"])
    assert (told["status"], told["reason"]) == ("failed", "file_too_large")


# Faults


@pytest.mark.parametrize("code", [429, 503])
def test_a_passing_fault_of_cloud_storage_is_not_even_seen(portal: Portal, code: int) -> None:
    rule = {"method": "storage.objects.*", "member": UPLOADER, "code": code, "times": 2}
    portal.cloud.post("/faults", {"rules": [rule]})
    assert portal.ended(portal.upload("again.jpg", jpeg(64, 64)))["status"] == "done"


class Attempt:
    """A client's request for one file, which it repeats as it stands."""

    def __init__(self, client: Client, way: str, name: str) -> None:
        self.client, self.way, self.name, self.data = client, way, name, jpeg(64, 64)
        self.key = {"Idempotency-Key": str(uuid.uuid4())}

    def ask(self) -> Any:
        if self.way == "files":
            return self.client.offer(self.name, len(self.data), headers=self.key)
        file, url = {"file": (self.name, self.data, "image/jpeg")}, f"{self.client.base}/upload"
        return self.client.http.post(url, files=file, headers=self.key, timeout=60)

    def ends(self) -> None:
        """It is asked for again, and sent."""
        answer = self.ask()
        assert answer.status_code in (201, 202), answer.text
        if self.way == "files":
            self.client.send(answer.json()["upload"]["url"], self.data)
        assert self.client.ended(answer.json()["file_id"])["status"] == "done"


WAYS = ("files", "upload")


@pytest.mark.parametrize("after", [False, True])
def test_an_outage_is_told_and_a_repeat_makes_no_second_file(portal: Portal, after: bool) -> None:
    """after: it took effect, but the answer was lost. Both at once, since retries take time."""
    rule = {"method": "storage.objects.insert", "member": UPLOADER, "code": 503, "after": after}
    portal.cloud.post("/faults", {"rules": [rule]})
    attempts = [Attempt(portal.again(), way, f"out-{way}-{after}") for way in WAYS]
    with ThreadPoolExecutor(len(WAYS)) as pool:
        files, upload = pool.map(Attempt.ask, attempts)
    portal.cloud.delete("/faults")
    if after:  # the form was stored, and the library's own repeat found it there
        assert upload.status_code == 202, upload.text
    for refused in (files,) if after else (files, upload):
        assert (refused.status_code, refused.json().get("reason")) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) > 0
    for attempt in attempts:
        attempt.ends()
        assert len([one for one in portal.stored() if one.endswith(attempt.name)]) == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_kill_of_upload_costs_a_repeat_and_no_more(portal: Portal, way: str, after: bool) -> None:
    """The instance dies at its call of Cloud Storage: before it took effect, or after."""
    attempt = Attempt(portal, way, f"killed-{way}-{after}.jpg")
    rule = {"method": "storage.objects.insert", "member": UPLOADER, "kill": True, "times": 1}
    portal.cloud.post("/faults", {"rules": [rule | {"after": after}]})
    assert attempt.ask().status_code == 503
    attempt.ends()
    assert len([one for one in portal.stored() if one.endswith(attempt.name)]) == 1


def test_an_outage_is_told_by_status_with_when_to_come_again(portal: Portal) -> None:
    file_id = portal.upload("told-later.jpg", jpeg(64, 64))
    portal.pipeline.settle()
    rule = {"method": "storage.objects.get", "member": TELLER, "code": 503}
    portal.cloud.post("/faults", {"rules": [rule]})
    answer = portal.http.get(f"{portal.base}/files/{file_id}", timeout=90)
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    portal.cloud.delete("/faults")
    assert portal.status(file_id)["status"] == "done"


def question(portal: Portal, file_id: str) -> None:
    portal.http.get(f"{portal.base}/files/{file_id}", timeout=60).raise_for_status()


def stream(portal: Portal, file_id: str) -> None:
    list(portal.events(file_id))


@pytest.mark.parametrize(
    ("step", "ask"),
    [("storage.objects.list", question), ("storage.objects.get", question), ("*signBlob", stream)],
    ids=["list", "get", "sign"],
)
def test_a_kill_of_status_costs_another_question_and_no_more(
    portal: Portal, step: str, ask: Callable[[Portal, str], None]
) -> None:
    file_id = portal.upload("asked.jpg", jpeg(64, 64))
    portal.pipeline.settle()
    rule = {"method": step, "member": TELLER, "kill": True, "times": 1}
    portal.cloud.post("/faults", {"rules": [rule]})
    with pytest.raises(requests.RequestException):
        ask(portal, file_id)
    assert portal.ended(file_id)["status"] == "done"


def test_a_token_that_ends_before_its_time_is_renewed(portal: Portal) -> None:
    rule = {"method": "storage.objects.insert", "code": 401, "times": 1}
    portal.cloud.post("/faults", {"rules": [rule]})
    offers = [portal.offer(f"expired-{number}.jpg", 4, "text/plain") for number in range(8)]
    assert [offer.status_code for offer in offers] == [201] * 8
    for offer in offers:
        assert portal.status(offer.json()["file_id"])["status"] == "waiting"


# What logs hold


def test_no_log_and_no_journal_of_requests_holds_a_key(portal: Portal) -> None:
    before = len(portal.cloud.journal("log"))  # what other tests ask for names such keys
    file_id = portal.upload("private-name.jpg", jpeg(64, 64))
    assert "X-Goog-Signature" in json.dumps(portal.ended(file_id))
    lines = portal.cloud.journal("log")[before:]
    ours = [json.dumps(line) for line in lines if line.get("service") in (UPLOAD, STATUS)]
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
