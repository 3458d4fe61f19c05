"""Erasing: every generation of an upload, its outputs and its records, and its tasks.

Tasks that wait go first, then the uploads: whatever is still to come finds nothing to work on. Then
work under way is waited for, since its record would name the file; then all that the results hold
of it goes, earlier versions too, and what was asked, decided and published. What is left is a
record that says when and how much, without a name.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core import exceptions as api

from contract.identity import Work, parse_key, shortened
from sweep.restore import TASK_DAYS, replacement

from .approvals import Approvals
from .clients import Clients
from .environment import Environment
from .naming import glob_of
from .problems import Problem
from .work import in_parallel

KINDS = ("files", "attempts", "manifests", "failures")
APPROVED = ("files", "requests", "decisions", "published", "rejected")  # of the published bucket
COUNTED = tuple(dict.fromkeys(KINDS + APPROVED))
OWNER = re.compile(r"-|[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
POLL_SECONDS = 1.0
ON_ITS_WAY = timedelta(minutes=15)  # an upload without a record that is older was lost


@dataclass(frozen=True)
class Scope:
    """What is erased. name: one object; else glob: the names, as matchGlob has them."""

    name: str = ""
    glob: str = ""

    @classmethod
    def of(cls, environment: Environment, target: str, owner: str) -> Scope:
        """target: gs://UPLOADS/NAME or a file_id. Raises Problem."""
        if owner:
            if not OWNER.fullmatch(owner):
                raise Problem(f"{owner} is not an owner: 1 to 64 letters, digits, dots, hyphens")
            return cls(glob=f"*/{owner}/*/*")
        if glob := glob_of(target):
            return cls(glob=glob)
        return cls(name=environment.object_name(target))

    def uploads(self) -> dict[str, str]:
        return {"prefix": self.name} if self.name else {"match_glob": self.glob}

    def results(self, kind: str) -> dict[str, str]:
        if self.name:
            return {"prefix": f"{kind}/{shortened(self.name)}/"}
        return {"match_glob": f"{kind}/{self.glob}/**"}

    def holds(self, result: str) -> bool:
        """Whether an object of the results belongs to it. For one object: <kind>/<name>/<key>…,
        and not to another whose name goes on with a slash."""
        if not self.name:
            return True
        kind, _, rest = result.partition("/")
        ending = {
            "files": r"[1-9]\d{13,19}(-\d+)?/(\d{1,3}/)?[^/]+",
            "attempts": r"[1-9]\d{13,19}(-\d+)?/\d{1,3}(/\d\d?)?",
            "decisions": r"[1-9]\d{13,19}/[\w-]+\.json",
            "requests": r"[1-9]\d{13,19}(-\d+)?/[\w-]+\.json",
        }.get(kind, r"[1-9]\d{13,19}(-\d+)?\.json")
        return bool(re.fullmatch(re.escape(shortened(self.name)) + "/" + ending, rest))


@dataclass
class Found:
    uploads: list[Any] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.uploads or self.results)

    def counts(self) -> dict[str, int]:
        kinds = Counter(blob.name.partition("/")[0] for blob in self.results)
        return {"uploads": len(self.uploads)} | {kind: kinds[kind] for kind in COUNTED}


class Erasure:
    def __init__(self, clients: Clients, environment: Environment, scope: Scope) -> None:
        self._clients, self._environment, self._scope = clients, environment, scope
        self._runs: dict[tuple[str, str], set[int]] = {}  # name and generation → runs seen
        self._created: dict[tuple[str, str], datetime] = {}
        self._bridged: set[tuple[str, str]] = set()  # whose task was seen
        there = "approvals" in environment.outputs
        self._approvals = Approvals(clients, environment) if there else None

    def find(self) -> Found:
        """Everything there is of it, earlier versions too."""
        environment, scope, client = self._environment, self._scope, self._clients.storage
        listed = client.list_blobs(environment.uploads, versions=True, **scope.uploads())
        uploads = [blob for blob in listed if not scope.name or blob.name == scope.name]
        places = [(environment.results, kind) for kind in KINDS]
        if self._approvals:
            places += [(self._approvals.bucket, kind) for kind in APPROVED]
        results = [
            blob
            for bucket, kind in places
            for blob in client.list_blobs(bucket, versions=True, **scope.results(kind))
            if scope.holds(blob.name)
        ]
        for blob in uploads:
            key = blob.name, str(blob.generation)
            self._runs.setdefault(key, set()).add(0)
            self._created[key] = blob.time_created
        for blob in results:
            self._note(blob.name)
        return Found(uploads, results)

    def _note(self, result: str) -> None:
        kind, _, rest = result.partition("/")
        rest = rest.removesuffix(".json")
        if kind in ("files", "attempts", "decisions", "requests"):
            rest = self._key(rest)
        if key := parse_key(rest):
            name = self._scope.name or key.name
            self._runs.setdefault((name, key.generation), set()).add(key.run)

    def _key(self, text: str) -> str:
        """What of it is a key, which may go on; empty where nothing is."""
        while text and not ((key := parse_key(text)) and len(key.generation) >= 14):
            text = text.rpartition("/")[0]
        return text

    def erase(self, timeout: float, progress: Callable[[str], None]) -> dict[str, int]:
        """Counts of what is gone. Raises Problem where work is under way for longer than that."""
        gone: Counter[str] = Counter()
        deadline = time.monotonic() + timeout
        found = self.find()
        while found:
            progress("tasks")
            self._worked_on()
            progress("uploads")
            self._delete(found.uploads)
            gone["uploads"] += len(found.uploads)
            progress("work under way")
            while waiting := self._under_way():
                if time.monotonic() > deadline:
                    raise Problem(
                        f"work is under way: {waiting}. The uploads are gone; run this again"
                    )
                time.sleep(POLL_SECONDS)
            progress("results")
            results = self.find().results
            self._ask_nobody(results)
            self._delete(results)
            gone.update(blob.name.partition("/")[0] for blob in results)
            found = self.find()  # what came meanwhile
        if gone.total():
            self._record(gone)
        return {"uploads": gone["uploads"]} | {kind: gone[kind] for kind in COUNTED}

    def _ask_nobody(self, results: list[Any]) -> None:
        """Ends the executions that wait for a person: their decisions would name the file."""
        for name in {blob.name for blob in results if blob.name.startswith("requests/")}:
            if self._approvals:
                self._approvals.cancel(name.rpartition("/")[2].removesuffix(".json"))

    def _worked_on(self) -> str:
        """The id of a task that is; empty where none is. Tasks that only wait go."""
        busy = ""
        for task, file in self._tasks():
            self._bridged.add(file)
            last = task.last_attempt
            if last and last.dispatch_time and not last.response_time:
                busy = task.name.rpartition("/")[2]
                continue
            with suppress(api.NotFound):
                self._clients.tasks.delete_task(name=task.name)
        return busy

    def _under_way(self) -> str:
        """What may still write, in words; empty where nothing does."""
        if task := self._worked_on():
            return f"the task {task} is being worked on"
        now = datetime.now(UTC)
        recorded, claimed = set[str](), dict[str, datetime]()
        lanes = self._environment.config.lanes.values()
        longest = timedelta(seconds=max(lane.dispatch_deadline_seconds for lane in lanes))
        for blob in self.find().results:
            kind, _, rest = blob.name.partition("/")
            if kind in ("manifests", "failures"):
                recorded.add(rest.removesuffix(".json"))
            elif kind == "attempts":
                key = self._key(rest)
                claimed[key] = max(claimed.get(key, blob.time_created), blob.time_created)
        for key, at in claimed.items():
            if key not in recorded and now - at < longest:
                return "an attempt was started and has left no record"
        seen = {parse_key(key) for key in recorded | claimed.keys()}
        keys = {(key.name, key.generation) for key in seen if key}
        for file, created in self._created.items():
            known = (shortened(file[0]), file[1]) in keys or file in self._bridged
            if not known and now - created < ON_ITS_WAY:
                return "an upload's event is on its way"
        return ""

    def _tasks(self) -> Iterator[tuple[Any, tuple[str, str]]]:
        """The tasks of every run, the next one's too, in all queues, each with its file."""
        now, ids = datetime.now(UTC), dict[str, tuple[str, str]]()
        days = [now - timedelta(days=days) for days in range(TASK_DAYS + 1)]
        for file, runs in self._runs.items():
            for run in range(max(runs) + 2):
                work = Work(self._environment.uploads, *file, run)
                ids |= dict.fromkeys((work.task_id, *(replacement(work, d) for d in days)), file)
        for queue in self._environment.queues:
            for task in self._clients.tasks.list_tasks(parent=queue):
                if file_of := ids.get(task.name.rpartition("/")[2]):
                    yield task, file_of

    def _delete(self, blobs: list[Any]) -> None:
        def delete(blob: Any) -> None:
            with suppress(api.NotFound):
                blob.bucket.blob(blob.name, generation=blob.generation).delete()

        for _ in in_parallel(delete, blobs):
            pass

    def _record(self, gone: Counter[str]) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        blob = self._clients.storage.bucket(self._environment.results).blob(
            f"erased/{now}-{secrets.token_hex(4)}.json"
        )
        content = {"schema": 1, "erased": now, "files": len(self._runs), "objects": dict(gone)}
        blob.upload_from_string(json.dumps(content), "application/json", if_generation_match=0)
