"""Both functions against their OpenAPI document, by requests that schemathesis makes of it.

Some hundreds in every run; 10,000 of them, seed after seed: make test-portal-api (REQUESTS=).
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from portal_fakes import STATUS_ENV, UPLOAD_ENV, Front
from prepare import environment
from test_status import FILE_ID, KEY, Signing, failure, manifest
from werkzeug.serving import make_server

from tests.conftest import SAYS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "functions/upload/upload/openapi.json"
REQUESTS = int(os.environ.get("REQUESTS", 200))
SEED = 20261126
# Of each operation in a round. Many small rounds: how long Hypothesis searches for examples that
# it has not made yet grows faster than their number.
EXAMPLES = 12 if REQUESTS < 1000 else 100
# What a schema refuses may be too large, besides.
CONFIG = """
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "413", "415", "5xx"]

# A form has text alone: false as an owner is the owner "false".
[[operations]]
include-path = "/upload"
checks.negative_data_rejection.enabled = false
"""
# A schema cannot say which folders there are and what each takes, so what fits it may be refused.
EXCLUDED = "positive_data_acceptance"


@pytest.fixture
def fronts(monkeypatch: pytest.MonkeyPatch) -> tuple[Front, Front]:
    folders = '{"any": {"types": ["*/*"], "max_bytes": 50000000}}'
    upload = Front(monkeypatch, "upload", UPLOAD_ENV | {"FOLDERS": folders})
    status = Front(monkeypatch, "status", STATUS_ENV)
    object.__setattr__(status.status.config, "stream_seconds", 0.1)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    signing = Signing()
    monkeypatch.setattr("status.signing._credentials", lambda client, email: signing)
    status.cloud.results |= {
        f"manifests/{KEY}.json": manifest(),
        f"failures/any/-/{'1' * 32}/x/1.json": failure(),
    }
    return upload, status


def test_the_document_has_the_paths_that_there_are(fronts: tuple[Front, Front]) -> None:
    paths = json.loads(DOCUMENT.read_text())["paths"]
    for path, methods in paths.items():
        front = fronts[path.startswith(("/files/", "/events"))]
        where = path.format(file_id=FILE_ID)
        allowed = front.http.options(where).headers["Allow"].split(", ")
        assert {method.upper() for method in methods if method != "servers"} == set(allowed) - {
            "HEAD",
            "OPTIONS",
        }


def requests_made(
    application: Any, folder: Path, seed: int, *options: str
) -> tuple[subprocess.CompletedProcess[str], int]:
    """What schemathesis says of a WSGI application, and how many requests it made."""
    target, made = ROOT / ".cache/schemathesis", 0
    environment(target, (ROOT / "tests/requirements-schemathesis.txt", ()))

    def counted(environ: dict[str, Any], start: Any) -> Any:
        nonlocal made
        made += 1
        return application(environ, start)

    server = make_server("127.0.0.1", 0, counted, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        (folder / "schemathesis.toml").write_text(CONFIG)
        command = [target / "bin/st", "run", DOCUMENT, "--url", f"http://127.0.0.1:{server.port}"]
        command += ["--seed", str(seed), "--no-color", "--suppress-health-check", "all", *options]
        own = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True)
    finally:
        server.shutdown()
        thread.join()
    return done, made


@pytest.mark.timeout(4 * 3600)
def test_every_answer_is_one_that_the_document_has(
    fronts: tuple[Front, Front],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    record_property: Callable[[str, str], None],
) -> None:
    upload, status = (front.http.application for front in fronts)

    def both(environ: dict[str, Any], start: Any) -> Any:
        path = environ["PATH_INFO"]
        to_status = path.startswith("/files/") or path == "/events"
        return (status if to_status else upload)(environ, start)

    options = ["--max-examples", str(EXAMPLES), "--continue-on-failure"]
    options += ["--exclude-checks", EXCLUDED]
    total, seed, phases = 0, SEED, "examples,coverage,fuzzing"
    while total < REQUESTS:
        done, made = requests_made(both, tmp_path, seed, *options, "--phases", phases)
        capfd.readouterr()  # each request's log line
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert made >= 150, done.stdout
        total, seed, phases = total + made, seed + 1, "fuzzing"
    record_property(SAYS, f"schemathesis: {total:,} requests, each answered as the document says")
