"""What 10,000 files cost, from measured figures and public prices: the table in docs/cost.md.

python3 scripts/cost.py            print it
python3 scripts/cost.py --write    write it into docs/cost.md
python3 scripts/cost.py --check    fail when it is stale there
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs/cost.md"
BEGIN, END = "<!-- Made by scripts/cost.py. -->", "<!-- End of what is made. -->"
FILES = 10_000

# Dollars, region us-central1, without any free tier: (price, page, what was read of it). What was
# read in November 2026 are copies of Google's pages in a search index, not the pages of the day.
PRICES = {
    "cpu_second": (0.000024, "https://cloud.google.com/run/pricing", "a copy"),
    "gib_second": (0.0000025, "https://cloud.google.com/run/pricing", "as others quote it"),
    "request": (0.40 / 1e6, "https://cloud.google.com/run/pricing", "as others quote it"),
    "class_a": (0.005 / 1e3, "https://cloud.google.com/storage/pricing-examples", "a copy"),
    "class_b": (0.0004 / 1e3, "https://cloud.google.com/storage/pricing-examples", "a copy"),
    "gb_month": (0.020, "https://cloud.google.com/storage/pricing", "a copy"),
    "task": (0.40 / 1e6, "https://cloud.google.com/tasks/docs/pricing", "a copy"),
    "pubsub_tib": (40.0, "https://cloud.google.com/pubsub/pricing", "a copy"),
    "log_gib": (0.50, "https://cloud.google.com/stackdriver/pricing", "a copy"),
}

# Printed by python -m tests.programs.measure_cost on 2026-11-27: means of 12 files, one after
# another, on two cores that others used, too. The upload itself is the uploader's operation and not
# counted.
MEASURED: dict[str, dict[str, float]] = {
    "photo of 0.4 MB": {
        "megabytes": 0.45,
        "class_a": 3.0,
        "class_b": 1.0,
        "tasks": 2.0,
        "log_kilobytes": 1.42,
        "bridge_cpu": 0.003,
        "processor_cpu": 0.032,
        "bridge_seconds": 0.011,
        "processor_seconds": 0.046,
    },
    "photo of 4 MB": {
        "megabytes": 3.88,
        "class_a": 3.0,
        "class_b": 1.0,
        "tasks": 2.0,
        "log_kilobytes": 1.42,
        "bridge_cpu": 0.003,
        "processor_cpu": 0.08,
        "bridge_seconds": 0.014,
        "processor_seconds": 0.109,
    },
    "photo of 16 MB": {
        "megabytes": 15.5,
        "class_a": 3.0,
        "class_b": 2.0,
        "tasks": 2.0,
        "log_kilobytes": 1.42,
        "bridge_cpu": 0.003,
        "processor_cpu": 0.262,
        "bridge_seconds": 0.012,
        "processor_seconds": 0.304,
    },
    "other file of 4 MB": {
        "megabytes": 4.0,
        "class_a": 2.0,
        "class_b": 1.0,
        "tasks": 2.0,
        "log_kilobytes": 1.45,
        "bridge_cpu": 0.003,
        "processor_cpu": 0.012,
        "bridge_seconds": 0.007,
        "processor_seconds": 0.025,
    },
}

BRIDGE_CPU, BRIDGE_GIB = 1, 0.5
PROCESSOR_CPU, PROCESSOR_GIB = 2, 2
FULL = 0.7  # how much of its CPU a full instance gets to use
EVENT_KILOBYTES = 2 * 2  # a notification with its attributes, published once and delivered once
PLATFORM_LOG_KILOBYTES = 4 * 1.0  # two requests and two lines of the queue, which Google writes

Figures = dict[str, float]


def price(name: str) -> float:
    return PRICES[name][0]


def operations(of: Figures) -> float:
    """Dollars for one file: storage, tasks, events, requests and logs."""
    return (
        of["class_a"] * price("class_a")
        + of["class_b"] * price("class_b")
        + of["tasks"] * price("task")
        + 2 * price("request")
        + EVENT_KILOBYTES * 1000 / 2**40 * price("pubsub_tib")
        + (of["log_kilobytes"] + PLATFORM_LOG_KILOBYTES) * 1000 / 2**30 * price("log_gib")
    )


def compute(of: Figures, full: bool) -> float:
    """Dollars for one file, on instances that have others to work on as well, or all alone."""

    def seconds(part: str, cpus: int) -> float:
        if full:
            return of[f"{part}_cpu"] / cpus / FULL
        return math.ceil(of[f"{part}_seconds"] * 10) / 10  # billed in steps of 100 ms

    bridge = BRIDGE_CPU * price("cpu_second") + BRIDGE_GIB * price("gib_second")
    processor = PROCESSOR_CPU * price("cpu_second") + PROCESSOR_GIB * price("gib_second")
    return seconds("bridge", BRIDGE_CPU) * bridge + seconds("processor", PROCESSOR_CPU) * processor


def storage(of: Figures) -> float:
    """Dollars to keep one upload for a month; its results are a hundredth of that."""
    return of["megabytes"] / 1000 * price("gb_month")


def total(of: Figures, full: bool) -> float:
    """Dollars for 10,000 files, without keeping them."""
    return FILES * (operations(of) + compute(of, full))


def table() -> str:
    """The table as Markdown, between its marks."""
    head = (
        "10,000 files, each a|MB|Operations|Compute, full|Compute, alone|Together|Kept for a month"
    )
    lines = [BEGIN, "", f"| {head.replace('|', ' | ')} |", "|---|---|---|---|---|---|---|"]
    for name, of in MEASURED.items():
        full, alone = FILES * compute(of, True), FILES * compute(of, False)
        together = f"**${total(of, True):.2f}** – ${total(of, False):.2f}"
        lines.append(
            f"| {name} | {of['megabytes']:.1f} | ${FILES * operations(of):.2f} | ${full:.2f} "
            f"| ${alone:.2f} | {together} | ${FILES * storage(of):.2f} |"
        )
    lines += ["", "| Price | Dollars | Where | Read, November 2026 |", "|---|---|---|---|"]
    lines += [f"| {name} | {value:.9f} | {page} | {read} |"
              for name, (value, page, read) in PRICES.items()]  # fmt: skip
    return "\n".join([*lines, "", END])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not (options.write or options.check):
        print(table())
        return 0
    before = PAGE.read_text(encoding="utf-8")
    start, rest = before.split(BEGIN, 1)
    after = start + table() + rest.split(END, 1)[1]
    if options.write:
        PAGE.write_text(after, encoding="utf-8")
    elif after != before:
        print("stale: docs/cost.md. Write it anew with: python3 scripts/cost.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
