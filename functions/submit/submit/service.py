"""What the paths of the submit service do."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Request, Response

from batch.records import CANCELLED, DONE, FAILED, WAITING, Known, Records, folder
from batch.tasks import Invalid, TaskId, checked, checked_batch
from runtime.logs import Log
from submit.announce import CONFIRM_SECONDS, Announcer
from submit.settings import Config
from web.access import Callers
from web.problems import Problem, reached

MAX_LINES = 1000
MAX_LINES_BYTES = 4 * 1024 * 1024
MAX_LINE_BYTES = 16 * 1024
AT_ONCE = 16  # lines of a batch that are written at the same time
PAGE = 100
CANCEL_SECONDS = 30.0
CLOUD = "Google Cloud"
STATES = (WAITING, DONE, FAILED, CANCELLED)
OPENAPI = Path(__file__).with_name("openapi.json")


@dataclass(frozen=True, slots=True)
class Taken:
    """A task that waits. is_new: whether this call was the first to submit it."""

    task: TaskId
    wanted: dict[str, Any]
    is_new: bool


@dataclass(frozen=True, slots=True)
class Submit:
    config: Config
    records: Records
    announcer: Announcer
    callers: Callers
    log: Log

    def task(self, request: Request) -> Response:
        """POST /submit-task {task_type, …}."""
        return self._submit(request)

    def file_task(self, request: Request) -> Response:
        """POST /submit-file-task {filename, processing_time}: with the recipe's defaults."""
        default = {"filename": "sample.txt", "processing_time": 2}
        return self._submit(request, default, task_type="file_processing")

    def data_task(self, request: Request) -> Response:
        """POST /submit-data-task {dataset_size, transformation}: with the recipe's defaults."""
        return self._submit(request, task_type="data_transformation")

    def many(self, request: Request) -> Response:
        """POST /tasks:batch?batch_id=…: NDJSON, a task on each line, each with a key."""
        self._let_in(request)
        batch = _valid(checked_batch, request.args.get("batch_id"))
        request.max_content_length = MAX_LINES_BYTES
        text = request.get_data(cache=False).split(b"\n")
        lines = [(number, line) for number, line in enumerate(text, 1) if line.strip()]
        if not 1 <= len(lines) <= MAX_LINES:
            detail = f"A batch takes 1 to {MAX_LINES} lines a call; send the rest in further ones."
            raise Problem(413 if lines else 400, "bad_batch", detail, lines=len(lines))
        with ThreadPoolExecutor(AT_ONCE) as pool, reached(CLOUD):
            ends = list(pool.map(lambda line: self._line(batch, line[1]), lines))
            self._announce([(end.task, end.wanted) for end in ends if isinstance(end, Taken)])
        rejected = [
            {"line": number, "detail": end}
            for (number, _), end in zip(lines, ends, strict=True)
            if isinstance(end, str)
        ]
        submitted = sum(isinstance(end, Taken) and end.is_new for end in ends)
        self.log.write(
            "INFO", "batch_submitted", "tasks of a batch were accepted", batch=batch,
            submitted=submitted, rejected=len(rejected),
        )  # fmt: skip
        already = len(ends) - submitted - len(rejected)
        body = {"batch_id": batch, "submitted": submitted, "already": already}
        return _answer(body | {"rejected": rejected}, 200)

    def show(self, request: Request, task_id: str) -> Response:
        """GET /tasks/<id>."""
        self._let_in(request)
        task = _valid(TaskId.parse, task_id, 404)
        with reached(CLOUD):
            wanted = self.records.request(task)
            if wanted is None:
                raise Problem(404, "no_such_task", "There is no task of this id.")
            outcome = self.records.outcome(task)
        about = {"task_id": task_id, "status": WAITING} | (outcome or {}) | {"request": wanted}
        return _answer(about, 200)

    def batch(self, request: Request, batch_id: str) -> Response:
        """GET /batches/<id>: how many of its tasks stand where."""
        self._let_in(request)
        counts = dict.fromkeys(STATES, 0)
        with reached(CLOUD):
            for known in self.records.listed(_valid(checked_batch, batch_id, 404)):
                counts[known.status] += 1
        total = sum(counts.values())
        if not total:
            raise Problem(404, "no_such_batch", "There is no task of this batch.")
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return _answer({"batch_id": batch_id, "total": total} | counts | {"as_of": now}, 200)

    def list_tasks(self, request: Request) -> Response:
        """GET /tasks?batch_id=&status=&page_token=."""
        self._let_in(request)
        batch = request.args.get("batch_id")
        status = request.args.get("status")
        if status is not None and status not in STATES:
            raise _bad(f"status must be one of {', '.join(STATES)}")
        after = request.args.get("page_token", "")
        if not re.fullmatch(r"(tasks/[a-z0-9-]+/[0-9a-f]{32}/request\.json)?", after):
            raise _bad("page_token must be what the page before answered")
        found: list[Known] = []
        last, more = after, False
        with reached(CLOUD):
            for known in self.records.listed(batch and _valid(checked_batch, batch), after):
                if len(found) == PAGE:
                    more = True
                    break
                last = f"{folder(known.task)}request.json"
                if status in (None, known.status):
                    found.append(known)
        tasks = [
            {"task_id": str(k.task), "status": k.status, "created": k.created.isoformat()}
            for k in found
        ]
        return _answer({"tasks": tasks} | ({"next_page_token": last} if more else {}), 200)

    def cancel(self, request: Request, batch_id: str) -> Response:
        """POST /batches/<id>:cancel: what has no outcome yet gets one, and is not begun."""
        self._let_in(request)
        batch = _valid(checked_batch, batch_id, 404)
        until, cancelled, outcome = time.monotonic() + CANCEL_SECONDS, 0, {"status": CANCELLED}
        with reached(CLOUD), ThreadPoolExecutor(AT_ONCE) as pool:
            waiting = (k.task for k in self.records.listed(batch) if k.status == WAITING)
            for some in _groups(waiting, AT_ONCE):
                cancelled += sum(pool.map(lambda t: self.records.conclude(t, outcome), some))
                if time.monotonic() > until:
                    return _answer({"batch_id": batch, "cancelled": cancelled, "more": True}, 200)
        return _answer({"batch_id": batch, "cancelled": cancelled, "more": False}, 200)

    def openapi(self, request: Request) -> Response:
        return Response(OPENAPI.read_bytes(), mimetype="application/json")

    def health(self, request: Request) -> Response:
        return _answer({"status": "ok"}, 200)

    def allowed_origin(self, request: Request) -> str | None:
        """Programs call this, not pages: no foreign page's script may read an answer."""
        return None

    def _let_in(self, request: Request) -> None:
        self.callers.owner(request.headers.get("Authorization"), None)

    def _submit(
        self, request: Request, default: dict[str, Any] | None = None, **fixed: str
    ) -> Response:
        self._let_in(request)
        fields = (default or {}) | _body(request) | fixed
        task = TaskId.new(key=_key(request))
        wanted = _valid(lambda f: checked(f, self.config.names, datetime.now(UTC)), fields)
        with reached(CLOUD):
            if not self.records.accept(task, wanted) and self.records.request(task) != wanted:
                detail = "This Idempotency-Key was used for another task: take a new one."
                raise Problem(409, "key_reused", detail)
            (message,) = self._announce([(task, wanted)])
        self.log.write(
            "INFO", "task_submitted", "a task was accepted", task_id=str(task),
            task_type=wanted["task_type"], priority=wanted["priority"],
        )  # fmt: skip
        body = {"task_id": str(task), "message_id": message, "status": "submitted"}
        return _answer(body, 200)

    def _line(self, batch: str, line: bytes) -> Taken | str | None:
        """What is to be announced; why it is refused; None: it was submitted before, and ended.

        What was kept before and has no outcome is announced again: its message may be what was
        lost. A worker that gets it twice records it once.
        """
        try:
            if len(line) > MAX_LINE_BYTES:
                raise Invalid(f"the line has more than {MAX_LINE_BYTES} bytes")
            fields = _json(line)
            key = fields.get("key") if isinstance(fields, dict) else None
            if not (isinstance(key, str) and 1 <= len(key) <= 200):
                raise Invalid("key is required: 1 to 200 characters, its own within the batch")
            wanted = checked(fields, self.config.names, datetime.now(UTC))
        except Invalid as error:
            return str(error)
        task = TaskId.new(batch, key)
        if self.records.accept(task, wanted):
            return Taken(task, wanted, is_new=True)
        if self.records.request(task) != wanted:
            return "key was used for another task of this batch"
        ended = self.records.outcome(task) is not None
        return None if ended else Taken(task, wanted, is_new=False)

    def _announce(self, tasks: list[tuple[TaskId, dict[str, Any]]]) -> list[str | None]:
        """Publishes them all, then starts their jobs. The messages' ids."""
        futures = [self.announcer.publish(task, wanted) for task, wanted in tasks]
        messages = [future and future.result(CONFIRM_SECONDS) for future in futures]
        now = time.time()
        due = zip(tasks, messages, strict=True)
        for priority in sorted({wanted["priority"] for (_, wanted), message in due if message}):
            self.announcer.start(priority, now)
        return messages


def _groups(tasks: Iterator[TaskId], size: int) -> Iterator[list[TaskId]]:
    group: list[TaskId] = []
    for task in tasks:
        group.append(task)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Invalid("it is not JSON") from None


def _body(request: Request) -> dict[str, Any]:
    data = request.get_data(cache=False)
    fields = _valid(_json, data) if data.strip() else {}
    if not isinstance(fields, dict):
        raise _bad("the body must be a JSON object")
    return fields


def _key(request: Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    try:
        if uuid.UUID(key).version == 4:
            return key.lower()
    except ValueError:
        pass
    raise _bad("Idempotency-Key must be a random UUID (version 4)")


def _valid(check: Any, value: Any, status: int = 400) -> Any:
    try:
        return check(value)
    except Invalid as error:
        raise _bad(str(error), status) from None


def _bad(detail: str, status: int = 400) -> Problem:
    # `error` is the recipe's name for it.
    reason = "not_found" if status == 404 else "bad_request"
    return Problem(status, reason, detail, error=detail)


def _answer(body: dict[str, Any], status: int) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")
