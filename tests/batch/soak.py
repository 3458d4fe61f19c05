"""The long proof of batch, `make soak-batch`: thousands of tasks under every fault at once, and
thousands more by NDJSON without any. SEED= TASKS= PLAIN= replay a run or change its size; the
tests run the same with fewer tasks.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.batch.deployed import WINDOW, Batch, account, deployed
from tests.localcloud.client import ROOT

sys.path.insert(0, str(ROOT / "functions"))

from batch.tasks import TaskId

RATES = {
    "pubsub.duplicate": 0.05,
    "pubsub.lost_ack": 0.05,
    "tasks.duplicate": 0.05,
    "tasks.lost_answer": 0.05,
    "storage.create_only_403": 0.2,
}
MIX = (("nothing", 90), ("raise", 4), ("crash", 3), ("eat", 3))
ENDS = {"nothing": "done", "raise": "handler_failed", "crash": "process_crashed",
        "eat": "out_of_memory"}  # fmt: skip
LINES = 100  # a call
URGENT = 0.1  # of the tasks
LEASE = 660.0  # seconds on the clock, after which what a worker holds comes again


def rules(batch: Batch) -> list[dict[str, Any]]:
    """Calls that fail, or take effect and lose their answer; and deaths at each step."""
    failing = [
        {"method": method, "member": "serviceAccount:*", "rate": 0.01, "after": after}
        for method in ("storage.objects.*", "pubsub.*.publish", "pubsub.*.acknowledge",
                       "cloudtasks.*.create", "run.projects.locations.jobs.run")
        for after in (False, True)
    ]  # fmt: skip
    submit, worker = account(batch, "submit"), account(batch, "batch-worker")
    # The service dies between request, publish and start; workers with all that they hold.
    deaths = [
        {"method": method, "object": name, "member": member, "kill": True, "after": after,
         "rate": rate}
        for method, name, member, rate in (
            ("storage.objects.insert", "*/request.json", submit, 0.0005),
            ("pubsub.*.publish", "*", submit, 0.01),
            ("cloudtasks.*.create", "*", submit, 0.01),
            ("pubsub.*.pull", "*", worker, 0.004),
            ("storage.objects.get", "*/request.json", worker, 0.0005),
            ("storage.objects.insert", "*/outcome.json", worker, 0.0005),
            ("pubsub.*.acknowledge", "*", worker, 0.0005),
        )
        for after in (False, True)
    ]  # fmt: skip
    return failing + deaths


@dataclass
class Report:
    """How a run went. `problems` is empty where the promise was kept."""

    title: str
    tasks: int
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        def table(title: str, counts: Counter[str]) -> list[str]:
            return [f"{title}:", *(f"  {n:6}  {name}" for name, n in sorted(counts.items()))]

        lines = [f"{self.title}: {self.tasks} tasks, {self.seconds:.0f} s", *self.notes]
        lines += table("outcomes", self.outcomes)
        lines += table("faults injected", self.faults) if self.faults else []
        return "\n".join([*lines, *(f"PROBLEM: {problem}" for problem in self.problems[:20])])


BACKLOG = 500  # less than that is done before the urgent tasks' own job has started


def fault_run(batch: Batch, seed: int, tasks: int) -> Report:
    """Two priorities under every fault at once, until every task has ended."""
    report = Report(f"fault run, seed {seed} (SEED={seed} replays it)", tasks)
    cloud, begun, chooser = batch.cloud, time.monotonic(), random.Random(seed)
    does = chooser.choices([name for name, _ in MIX], [weight for _, weight in MIX], k=tasks)
    urgent = int(tasks * URGENT)
    cloud.post("/faults", {"seed": seed, "rates": RATES, "rules": rules(batch)})
    normal = {f"n{n}": name for n, name in enumerate(does[urgent:])}
    submit(batch, "soak-normal", normal, "normal", report)
    later = {f"u{n}": name for n, name in enumerate(does[:urgent])}
    submit(batch, "soak-urgent", later, "urgent", report)
    waiting = batch.counts("soak-normal")["waiting"]
    stalls = [0.6, 0.3]
    for left in left_of(batch, ("soak-normal", "soak-urgent"), tasks):
        if stalls and 1 - left / tasks > stalls[-1]:
            stalls.pop()
            cloud.advance(LEASE)  # workers that stand still for longer than their leases
    report.faults = Counter(cloud.get("/faults")["counts"])
    cloud.delete("/faults")
    report.notes.append(f"{sum(1 for _ in cloud.journal('run.execution'))} executions")
    judge(batch, report, {"soak-normal": normal, "soak-urgent": later})
    rank = middle_rank(batch, "soak-urgent", "soak-normal")
    report.notes.append(f"half of the urgent tasks, submitted last, are among the first {rank:.0%}")
    report.notes.append(f"then {waiting} normal tasks waited")
    if waiting > BACKLOG and rank > 0.5:
        report.problems.append("urgent tasks ended behind the normal ones")
    report.seconds = time.monotonic() - begun
    return report


def plain_run(batch: Batch, tasks: int) -> Report:
    """Tasks by NDJSON, and nothing that fails."""
    report, begun = Report("by NDJSON", tasks), time.monotonic()
    wanted = {f"p{n}": "nothing" for n in range(tasks)}
    submit(batch, "soak-plain", wanted, "normal", report)
    report.notes.append(f"submitted in {time.monotonic() - begun:.0f} s")
    for _ in left_of(batch, ("soak-plain",), tasks):
        pass
    judge(batch, report, {"soak-plain": wanted})
    report.seconds = time.monotonic() - begun
    return report


def submit(batch: Batch, name: str, wanted: dict[str, str], priority: str, report: Report) -> None:
    """As a client does: the same lines again until they are answered for."""
    keys = list(wanted)
    parts = [keys[at : at + LINES] for at in range(0, len(keys), LINES)]
    url = f"{batch.base}/tasks:batch?batch_id={name}"

    def send(part: list[str]) -> int:
        task = {"task_type": "errand", "priority": priority}
        body = "\n".join(json.dumps(task | {"key": key, "does": wanted[key]}) for key in part)
        for tries in range(100):
            try:
                answer = requests.post(url, body, timeout=150)
            except requests.ConnectionError:
                continue
            if answer.status_code == 200:
                assert answer.json()["rejected"] == [], answer.text
                return tries
            time.sleep(0.2)
        raise AssertionError(f"never taken: {answer.text}")

    with ThreadPoolExecutor(2) as pool:
        again = sum(pool.map(send, parts))
    report.notes.append(f"{name}: {len(parts)} calls, {again} sent again")


def left_of(batch: Batch, names: tuple[str, ...], tasks: int) -> Iterator[int]:
    """How many have no outcome, from time to time, until each has one. Time passes whenever no
    worker runs."""
    while True:
        counts = Counter(n.rpartition("/")[2] for name in names for n in listing(batch, name))
        if not (left := counts["request.json"] - counts["outcome.json"]):
            return
        yield left
        until = time.monotonic() + 1 + tasks / 500  # a listing costs what tasks do
        while time.monotonic() < until and batch.workers():
            time.sleep(1)
        if not batch.workers():
            batch.cloud.advance(WINDOW)


def middle_rank(batch: Batch, name: str, other: str) -> float:
    """Where the middle one of a batch's tasks ended, among those of both: 0 first, 1 last."""
    ended = sorted(
        (blob.time_created, which)
        for which in (name, other)
        for blob in batch.client.list_blobs(
            batch.tasks_bucket, prefix=f"tasks/{which}/",
            fields="items(name,timeCreated),nextPageToken",
        )
        if blob.name.endswith("/outcome.json")
    )  # fmt: skip
    ranks = [at for at, (_, which) in enumerate(ended) if which == name]
    return ranks[len(ranks) // 2] / len(ended)


def listing(batch: Batch, name: str) -> list[str]:
    found = batch.client.list_blobs(
        batch.tasks_bucket, prefix=f"tasks/{name}/", fields="items(name),nextPageToken"
    )
    return [blob.name for blob in found]


def judge(batch: Batch, report: Report, wanted: dict[str, dict[str, str]]) -> None:
    """One outcome for each task, the one that it must have; no version was ever replaced."""
    for name, tasks in wanted.items():
        names = listing(batch, name)
        versions = batch.client.list_blobs(
            batch.tasks_bucket, prefix=f"tasks/{name}/", versions=True,
            fields="items(name,generation),nextPageToken",
        )  # fmt: skip
        if sum(1 for _ in versions) != len(names):
            report.problems.append(f"{name}: a record was replaced")
        there = set(names)
        ids = {f"tasks/{name}/{TaskId.new(name, key).id}/": key for key in tasks}
        if strangers := {n.rpartition("/")[0] + "/" for n in there} - set(ids):
            report.problems.append(f"{name}: {len(strangers)} tasks that nobody submitted")
        bucket = batch.client.bucket(batch.tasks_bucket)

        def one(item: tuple[str, str], bucket: Any = bucket, there: set[str] = there) -> str:
            folder, _ = item
            if not {f"{folder}request.json", f"{folder}outcome.json"} <= there:
                return "neither done nor failed"
            outcome = json.loads(bucket.blob(f"{folder}outcome.json").download_as_bytes())
            return str(outcome.get("reason", outcome["status"]))

        with ThreadPoolExecutor(4) as pool:
            for (folder, key), end in zip(ids.items(), pool.map(one, ids.items()), strict=True):
                report.outcomes[end] += 1
                if end not in (ENDS[tasks[key]], "deliveries_exhausted"):
                    report.problems.append(f"{folder}: {end}, and it was to {tasks[key]}")
    until = time.monotonic() + 120
    while batch.workers() and time.monotonic() < until:
        time.sleep(0.5)
    if left := batch.workers():
        report.problems.append(f"executions run after the last task: {left}")


def main() -> int:
    seed = int(os.environ.get("SEED") or secrets.randbelow(10**6))
    tasks, plain = (
        int(os.environ.get(name) or size) for name, size in (("TASKS", 10_000), ("PLAIN", 50_000))
    )
    reports = list[Report]()
    with deployed(watched=False) as batch:
        for number, run in ((tasks, lambda n: fault_run(batch, seed, n)),
                            (plain, lambda n: plain_run(batch, n))):  # fmt: skip
            if number:
                reports.append(run(number))
                sys.stdout.write(f"{reports[-1]}\n")
                sys.stdout.flush()
    return 1 if any(report.problems for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
