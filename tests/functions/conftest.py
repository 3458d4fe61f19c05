"""Loads the functions as their zips are laid out: their packages beside main.py on the path."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FUNCTIONS = Path(__file__).parents[2] / "functions"
MANIFEST = json.loads((FUNCTIONS / "contract/schemas/manifest.schema.json").read_bytes())
for folder in (Path(__file__).parent, FUNCTIONS, *(p.parent for p in FUNCTIONS.glob("*/main.py"))):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
sys.path.append(str(FUNCTIONS.parent / "scripts"))


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str]) -> Any:
    """Call it for the log lines written since the last call, as dictionaries."""

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    return read


class Driven:
    """The processor behind its HTTP front, with a fake of Cloud Storage at its back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, logged: Any) -> None:
        from function_fakes import FakeStorage, load

        self.main, self.http = load("processor")
        self.cloud = FakeStorage()
        self.logged = logged
        self._monkeypatch = monkeypatch
        self.configure()

    def configure(self, **changes: str) -> None:
        from function_fakes import PROCESSOR_ENV

        from processor.fence.worker import Unfenced
        from processor.memory import Gate
        from processor.storage import Storage
        from runtime.logs import Log

        config = self.main.Config.from_env(PROCESSOR_ENV | changes)
        storage = Storage(self.cloud, config.results_bucket)
        gate = Gate(config.memory_bytes - self.main.BASE_BYTES)
        log = Log(config.project_id, False)
        self.worker = self.main.Worker(config, storage, gate, log, Unfenced())
        self._monkeypatch.setattr(self.main, "worker", lambda: self.worker)

    def fence(self) -> Any:
        """From here on each file has a process of its own; to be closed."""
        from processor.fence.worker import Fence

        fence = Fence(self.worker.config)
        parts = {name: getattr(self.worker, name) for name in ("config", "storage", "gate", "log")}
        self.worker = self.main.Worker(**parts, fence=fence)
        return fence

    def post(self, resource: dict[str, Any], run: int = 0) -> tuple[int, dict[str, Any]]:
        """Delivers the object's task; gives status and record."""
        from function_fakes import task

        answer = self.http.post("/", json=task(resource, run))
        return answer.status_code, answer.json

    def process(self, data: bytes, **fields: Any) -> dict[str, Any]:
        """Uploads the bytes and delivers their task; gives the record, which must be there."""
        status, record = self.post(self.cloud.put(data, **fields))
        assert status == 200, record
        return record

    def recorded(self, data: bytes, content_type: str | None, folder: str) -> dict[str, Any]:
        """The record of a file under a name of its own; a manifest keeps to its schema."""
        import jsonschema

        name = f"{folder}/{len(self.cloud.uploads)}"
        record = self.process(data, name=name, contentType=content_type)
        if record["status"] == "done":
            jsonschema.validate(record, MANIFEST)
        return record

    def outputs(self, record: dict[str, Any]) -> dict[str, Any]:
        """The pictures that a manifest names."""
        import io

        from PIL import Image

        return {
            output["name"]: Image.open(io.BytesIO(self.cloud.results[output["object"]].data))
            for output in record["outputs"]
        }


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch, logged: Any) -> Driven:
    return Driven(monkeypatch, logged)


@pytest.fixture(scope="module")
def of_kind() -> Iterator[Callable[..., Driven]]:
    """Called with a lane's kind: its processor behind a real fence, one for each test file."""
    patch, made = pytest.MonkeyPatch(), []

    def driven(kind: str, **settings: str) -> Driven:
        driven = Driven(patch, None)
        driven.configure(**{"KIND": kind, "MEMORY_BYTES": str(1 << 30)} | settings)
        made.append(driven.fence())
        return driven

    yield driven
    for fence in made:
        fence.close()
    patch.undo()
