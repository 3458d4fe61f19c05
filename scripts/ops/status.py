"""Where one object stands, every generation and run of it; and what has failed, by reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from google.api_core import exceptions as api

from contract.identity import Work, shortened
from sweep.listing import KINDS, RECORD_FIELDS, Generation, Listings, joined, record_of, upload_of

from .approvals import Approvals
from .clients import Clients
from .deadletters import DeadLetters
from .environment import Environment
from .filters import Filter
from .work import in_parallel, item_of

DEAD_LETTERS = 1000  # that are looked through for one object
Json = dict[str, Any]


def status_of(clients: Clients, environment: Environment, name: str) -> Json:
    """{object, generations: [{generation, live, state, run, reason?, detail?, runs, task?, …}]},
    newest generation first. docs/operations.md explains the states. Where there are approvals,
    `approval` of what is done is the record of its end, or null while it has none."""
    generations = _generations(clients, environment, name)
    found = [_describe(clients, environment, name, generation) for generation in generations]
    if any(one["state"] == "pending" for one in found):
        _find_dead_letters(clients, environment, name, found)
    return {"object": f"gs://{environment.uploads}/{name}", "generations": found}


def _generations(clients: Clients, environment: Environment, name: str) -> list[Generation]:
    """All that are there or were recorded, newest first."""
    listings, short = Listings(clients.storage), shortened(name)
    found: dict[str, Generation] = {}
    blobs = listings.blobs(environment.uploads, prefix=name, versions=True)
    for blob in takewhile(lambda blob: blob.name == name, blobs):
        upload = upload_of(environment.uploads, blob)
        found[upload.key] = generation = Generation(upload.key, upload)
        generation.live = blob.time_deleted is None
    for kind in KINDS:
        options = {"prefix": f"{kind}/{short}/", "delimiter": "/", "fields": RECORD_FIELDS}
        for blob in listings.blobs(environment.results, **options):
            record = record_of(kind, blob)
            if record and record.key.rpartition("/")[0] == short:
                found.setdefault(record.key, Generation(record.key)).add(record)
    return sorted(found.values(), key=lambda g: int(g.number), reverse=True)


def _describe(
    clients: Clients, environment: Environment, name: str, generation: Generation
) -> Json:
    attempts = _attempts(clients, environment, generation.key)
    runs = sorted({*generation.manifests, *generation.failures, *attempts})
    described: Json = {
        "generation": generation.number,
        "live": generation.live,
        "state": generation.state,
        "run": max(generation.highest_run, 0),
        "trace": Work(environment.uploads, name, generation.number).trace,
        "uploaded": _text(generation.upload.created) if generation.upload else None,
        "runs": [_run(environment, generation, run, attempts.get(run, 0)) for run in runs],
    }
    if generation.manifests:
        described["run"] = max(generation.manifests)
        written = generation.manifests[described["run"]].object
        if "approvals" in environment.outputs:
            key = written.removeprefix("manifests/").removesuffix(".json")
            described["approval"] = Approvals(clients, environment).end(key)
        manifest = _content(clients, environment, written)
        described["outputs"] = [
            f"gs://{environment.results}/{output['object']}"
            for output in manifest.get("outputs", ())
        ]
        return described
    described["tasks"] = _tasks(clients, environment, name, generation, runs)
    if generation.failures:
        record = generation.failures[generation.highest_run]
        content = _content(clients, environment, record.object)
        described |= {k: content.get(k) for k in ("reason", "detail", "retryable", "attempt")}
        return described
    described["state"] = "pending"
    if generation.upload is None:
        return described
    item = item_of(generation.upload, 0, environment.config)
    if isinstance(item, str):
        described |= {"state": "ignored", "reason": item}
    elif attempts:
        described |= {
            "state": "processing",
            "run": max(attempts),
            "attempt": attempts[max(attempts)],
        }
    elif described["tasks"]:
        described["state"] = "queued"
    elif not environment.config.lanes[item.lane].records:
        described["state"] = "handed_over"
    return described


def _content(clients: Clients, environment: Environment, record: str) -> Json:
    blob = clients.storage.bucket(environment.results).blob(record)
    return dict(json.loads(blob.download_as_bytes()))


def _attempts(clients: Clients, environment: Environment, key: str) -> dict[int, int]:
    """Run → the highest attempt that was claimed."""
    form = re.compile(re.escape(f"attempts/{key}") + r"(?:-([1-9][0-9]*))?/([1-9][0-9]*)")
    # Between these lie attempts/<key>-<run>/<n> and attempts/<key>/<n>.
    bounds = {"start_offset": f"attempts/{key}-", "end_offset": f"attempts/{key}0"}
    found: dict[int, int] = {}
    for blob in Listings(clients.storage).blobs(
        environment.results, prefix=f"attempts/{key}", fields=RECORD_FIELDS, **bounds
    ):
        if match := form.fullmatch(blob.name):
            run = int(match[1] or 0)
            found[run] = max(found.get(run, 0), int(match[2]))
    return found


def _run(environment: Environment, generation: Generation, run: int, attempts: int) -> Json:
    record = generation.manifests.get(run) or generation.failures.get(run)
    state = "processing"
    if record:
        state = "done" if record.kind == "manifests" else "failed"
    return {
        "run": run,
        "state": state,
        "attempts": attempts,
        "record": f"gs://{environment.results}/{record.object}" if record else None,
        "recorded": _text(record.created) if record else None,
    }


def _tasks(
    clients: Clients, environment: Environment, name: str, generation: Generation, runs: list[int]
) -> list[Json]:
    """The tasks that are in the queues now, of the runs that can be there."""
    found = []
    candidates = {max(generation.highest_run, 0), generation.highest_run + 1, *runs}
    for run in sorted(candidates - generation.failures.keys()):
        task_id = Work(environment.uploads, name, generation.number, run).task_id
        queues = [(name, q) for name, lane in environment.config.lanes.items() for q in lane.queues]
        for lane_name, queue in queues:
            try:
                task = clients.tasks.get_task(name=f"{queue}/tasks/{task_id}")
            except api.NotFound:
                continue
            found.append(
                {
                    "run": run,
                    "lane": lane_name,
                    "task": task.name,
                    "dispatches": task.dispatch_count,
                    "next": _text(task.schedule_time) if task.schedule_time else None,
                    "lastAnswer": task.last_attempt.response_status.message or None,
                    "paused": clients.tasks.get_queue(name=queue).state.name == "PAUSED",
                }
            )
    return found


def _find_dead_letters(
    clients: Clients, environment: Environment, name: str, found: list[Json]
) -> None:
    dead = DeadLetters(clients, environment.dead_letters).peek(DEAD_LETTERS)
    works = [letter.notification.work for letter in dead if letter.notification]
    numbers = {work.generation for work in works if work.name == name}
    for one in found:
        if one["state"] == "pending" and one["generation"] in numbers:
            one["state"] = "dead_lettered"


def failed(
    clients: Clients,
    environment: Environment,
    chosen: Filter,
    limit: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Json:
    """{failures, void, cut, groups: [{reason, retryable, count, example}], objects: [...]}.

    void: failure records beside a manifest. cut: there are more than `limit`. An object's `live`
    is false once it was replaced or deleted.
    """
    listings = Listings(clients.storage)

    def candidates() -> Iterator[Generation]:
        records = listings.records(environment.results, "failures", chosen.prefix)
        for generation in joined((), records):
            if chosen.takes(generation.failures[generation.highest_run].created):
                yield generation

    def look(generation: Generation) -> Json | None:
        if Listings(clients.storage).records_of(environment.results, "manifests", generation.key):
            return None
        record = generation.failures[generation.highest_run]
        blob = clients.storage.bucket(environment.results).get_blob(record.object)
        if blob is None:
            return None
        content = json.loads(blob.download_as_bytes())
        source = content.get("source") or {}
        number = source.get("generation")
        upload = clients.storage.bucket(environment.uploads).get_blob(str(source.get("name")))
        return {
            "object": f"gs://{source.get('bucket')}/{source.get('name')}",
            "generation": number,
            "live": upload is not None and str(upload.generation) == number,
            "run": content.get("run"),
            "reason": content.get("reason"),
            "detail": content.get("detail"),
            "retryable": content.get("retryable"),
            "recorded": _text(record.created),
        }

    objects: list[Json] = []
    void, cut = 0, False
    for one in in_parallel(look, candidates()):
        if one is None:
            void += 1
            continue
        if len(objects) == limit:
            cut = True
            break
        objects.append(one)
        progress(len(objects))
    counts = {"failures": len(objects), "void": void, "cut": cut}
    return counts | {"groups": _grouped(objects), "objects": objects}


def _grouped(failures: list[Json]) -> list[Json]:
    """By reason and whether a retry can help, the most frequent first."""
    groups: dict[tuple[Any, Any], Json] = {}
    for one in failures:
        kind = (one["reason"], one["retryable"])
        group = groups.setdefault(
            kind, {"reason": kind[0], "retryable": kind[1], "count": 0, "example": one["object"]}
        )
        group["count"] += 1
    return sorted(groups.values(), key=lambda group: -group["count"])


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
