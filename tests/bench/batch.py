"""Batch: tasks a second and core, and what 10,000 cost in one burst and evenly over a day."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from scripts.cost import PRICES
from tests.batch.deployed import NORMAL, RUN, Batch, deployed, lines
from tests.bench.report import Section
from tests.bench.site import Site
from tests.localcloud.client import ROOT

TASKS, DAY = 10_000, 86_400
KINDS: dict[str, dict[str, Any]] = {
    "a handler that does nothing": {"task_type": "errand"},
    "a table of 1,000 rows, aggregated": {
        "task_type": "data_transformation", "dataset_size": 1000, "transformation": "aggregation",
    },
}  # fmt: skip
# Dollars a second of a worker of 1 vCPU and 1 GiB: jobs are billed for as long as they live.
SECOND = 0.000018 + 0.000002
START_SECONDS = 10.0  # of an execution, inferred: Google says up to a minute
TICKS = os.sysconf("SC_CLK_TCK")


def measure(site: Site, quick: bool) -> Section:
    section = Section("Batch")
    section.text = (
        "A worker takes tasks off its subscription and does four at a time, each in a process of "
        "its own; CPU is that of all its processes, from the first message to the last, and what a "
        "task costs a core. Dollars are those of 10,000 tasks at public prices, without any free "
        "tier: the worker's seconds at one core, and the records' operations. The days are driven: "
        "the worker itself on a clock that is moved on. The recipe's worker never ends, and is "
        "billed for the whole day."
    )
    count = 20 if quick else 300
    with deployed(watched=False) as batch:
        cpu = {kind: worker_cpu(batch, kind, wanted, count) for kind, wanted in KINDS.items()}
    rows = [[kind, f"{1e3 * each:.0f}", f"{1 / each:.1f}"] for kind, each in cpu.items()]
    section.table(["", "CPU ms a task", "tasks a second and core"], rows)
    records = TASKS * (2 * PRICES["class_a"][0] + 4 * PRICES["class_b"][0])
    table = []
    for kind, each in cpu.items():
        burst = TASKS * each + START_SECONDS + 5
        row = [kind, f"${burst * SECOND + records:.2f}"]
        for window in (60, 300):
            share = alive(window, each, 100 if quick else 2500)
            row.append(f"${DAY * share * SECOND + records:.2f}")
        table.append([*row, f"${DAY * SECOND + records:.2f}"])
    head = ["10,000 tasks", "in one burst", "evenly, a window of 60 s", "evenly, of 300 s",
            "the recipe's loop, a day"]  # fmt: skip
    section.table(head, table)
    return section


def worker_cpu(batch: Batch, kind: str, wanted: dict[str, Any], count: int) -> float:
    """Seconds of CPU that a task costs the worker."""
    name = f"bench-{len(kind)}"
    batch.submitted("POST", f"/tasks:batch?batch_id={name}", data=lines(count, **wanted))
    batch.quiet()
    batch.call("POST", f"{RUN}/{batch.place}/jobs/{NORMAL}:run", {})
    while not (running := batch.workers()):
        time.sleep(0.05)
    started = used = 0.0  # seconds until the first one was done, and until now
    while (counts := batch.counts(name))["waiting"]:
        used = max(used, tree_seconds(running[0]["pid"]))
        started = started if counts["done"] else used
        time.sleep(0.2 if counts["done"] else 0.02)
    return (max(used, tree_seconds(running[0]["pid"])) - started) / count


def tree_seconds(pid: int) -> float:
    """Of a process, its descendants, and those that have ended."""
    total, queue = 0.0, [pid]
    while queue:
        one = queue.pop()
        try:
            parts = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            queue += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
        total += sum(map(int, parts[11:15])) / TICKS
    return total


def alive(window: int, seconds: float, tasks: int) -> float:
    """How many workers live on average, starts included, where tasks of so many seconds come as
    evenly as 10,000 over a day."""
    functions = ROOT / "functions"
    own = (ROOT / "tests/functions", functions, *(functions / f for f in ("submit", "worker")))
    sys.path[:0] = [str(folder) for folder in (*own, functions / "processor")]
    import pytest
    from batch_world import World

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime.logs.Log.write", lambda *_, **__: None)
        world, chooser = World(patch, window), random.Random(1)
        world.start_seconds = lambda: START_SECONDS * chooser.uniform(0.5, 1.5)
        world.task_seconds = lambda: seconds
        for _ in range(tasks):
            world.submit()
            world.clock.run(DAY / TASKS)
        return (world.ran_seconds + START_SECONDS * world.attempts) / world.clock.passed
